"""The source of what is loaded, whatever its file says by now."""

import importlib
import sys

import pytest
import torch

import isoflop
from isoflop import sources
from isoflop.user_code import references
from isoflop.user_code.fingerprint import digest_of
from tasks import MLP, mlp_task

MODULE = '''
import torch

SCALE = 2.0


def twice(x):
    """Twice as much."""
    return x * 2


@torch.no_grad()
def frozen(x):
    return twice(x)


class Net:
    kind = "a"
    first = second = 0

    def __init__(self, width=4):
        self.first += width

    @property
    def shape(self):
        def inner(y):
            return y in {"a", "b", "c"}

        return [inner(y) for y in "abc"]
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("_texts", "_loaded", "_trees", "_class_trees"):
        monkeypatch.setattr(sources, name, {})
    monkeypatch.setattr(sources, "_reported", set())
    (tmp_path / "in_use.py").write_text(MODULE)
    importlib.invalidate_caches()
    yield importlib.import_module("in_use")
    sys.modules.pop("in_use", None)


def edit(module, old, new):
    with open(module.__file__) as file:
        text = file.read()
    assert old in text
    with open(module.__file__, "w") as file:
        file.write(text.replace(old, new))


def marks(module):
    return [digest_of(part) for part in (module.twice, module.frozen, module.Net)]


EDITS = [("x * 2", "x * 3"), ('"b"', '"d"'), ("twice(x)\n", "twice(x) + 0\n")]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_an_edit_after_a_task_was_made_changes_nothing(module, old, new):
    sources.remember()
    edit(module, old, new)
    after = marks(module)
    edit(module, new, old)
    sources._trees.clear()
    assert marks(module) == after


def test_code_that_was_edited_before_a_task_was_made_counts_as_what_is_loaded(module, capfd):
    edit(module, "x * 2", "x * 3")
    before = marks(module)
    assert sources.function_tree(module.twice) is None
    assert sources.function_tree(module.Net.__init__) is not None
    sources.report_edits()
    sources.report_edits()
    assert capfd.readouterr().err.count("in_use.py changed after being imported") == 1
    sys.modules.pop("in_use")
    assert marks(importlib.import_module("in_use"))[0] != before[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return x * 2", "    # a remark\n\n    return (x *\n        2)  # more"),
        ("import torch", "\n\n\nimport torch"),
    ],
)
def test_comments_and_layout_do_not_count(module, old, new, capfd):
    before = marks(module)
    edit(module, old, new)
    sources.report_edits()
    assert capfd.readouterr().err == ""
    for known in (sources._texts, sources._trees, sources._class_trees):
        known.clear()
    sys.modules.pop("in_use")
    assert marks(importlib.import_module("in_use")) == before


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("x * 2", "x * 3", [True, True, False]),
        ("return twice(x)", "return twice(x) * 1", [False, True, False]),
        ('kind = "a"', 'kind = "b"', [False, False, True]),
        ("first = second = 0", "first = second = 1", [False, False, True]),
        ('"b"', '"d"', [False, False, True]),
        ("width=4", "width=5", [False, False, True]),
    ],
)
def test_what_code_does_counts(module, old, new, changed):
    before = marks(module)
    edit(module, old, new)
    for known in (sources._texts, sources._trees, sources._class_trees):
        known.clear()
    sys.modules.pop("in_use")
    after = marks(importlib.import_module("in_use"))
    assert [one != other for one, other in zip(before, after, strict=True)] == changed


PACKAGE = {
    "__init__.py": "",
    "layers.py": "def bent(x):\n    return x * 1.0\n",
    "deep.py": "import in_package.layers\n\n\ndef through(x):\n    return in_package.layers.bent(x)\n",
    "late.py": "def through(x):\n    from . import layers\n\n    return layers.bent(x)\n",
    "name.py": "def through(x):\n    from .layers import bent\n\n    return bent(x)\n",
    "missing.py": "def through(x):\n    try:\n        import not_there.at_all\n    except ImportError:\n        return x\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "in_package"
    folder.mkdir()

    def mark(name, gain):
        for file, text in PACKAGE.items():
            (folder / file).write_text(text.replace("1.0", str(gain)))
        for known in [known for known in sys.modules if known.startswith("in_package")]:
            sys.modules.pop(known)
        for known in (sources._texts, sources._trees):
            known.clear()
        importlib.invalidate_caches()
        return digest_of(importlib.import_module(f"in_package.{name}").through)

    for name in ("_texts", "_loaded", "_trees", "_class_trees"):
        monkeypatch.setattr(sources, name, {})
    yield mark
    for known in [known for known in sys.modules if known.startswith("in_package")]:
        sys.modules.pop(known)


@pytest.mark.parametrize("name", ["deep", "late", "name"])
def test_helpers_in_modules_of_a_package_count_however_they_are_imported(name, package):
    assert package(name, 1.0) == package(name, 1.0)
    assert package(name, 1.0) != package(name, 3.0)


def test_a_module_that_is_not_there_counts_for_nothing(package):
    assert package("missing", 1.0) == package("missing", 3.0)


def test_an_import_among_hundreds_of_names_is_found():
    names = "".join(f"    value = name_{k}\n" for k in range(300))
    space = {}
    exec(f"def f():\n{names}    from tasks import MLP, examples\n    return MLP", space)
    code = space["f"].__code__
    assert references._imported(code, "") == {"tasks", "tasks.MLP", "tasks.examples"}


class Frozen(MLP):
    @torch.no_grad()
    def measure(self, x):
        return x

    def forward(self, x):
        return super().forward(x)


def test_a_wrapper_of_a_library_counts_by_its_name_and_what_it_wraps():
    assert isoflop.fingerprint(mlp_task(model=Frozen)) == isoflop.fingerprint(
        mlp_task(model=Frozen)
    )
    assert sources.function_tree(Frozen.forward) is not None

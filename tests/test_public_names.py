import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import isoflop


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.train
def test_every_public_name_exists_and_has_a_docstring():
    for name in isoflop.__all__:
        value = getattr(isoflop, name)
        assert value.__doc__, name


@pytest.mark.train
def test_docstrings_of_public_functions_name_every_argument_and_what_they_raise():
    fields = {field.name for field in dataclasses.fields(isoflop.Task)}  # documented by Task
    for name in isoflop.__all__:
        function = getattr(isoflop, name)
        if inspect.isclass(function):
            continue
        text = inspect.getdoc(function)
        arguments = set(inspect.signature(function).parameters)
        needed = arguments - fields if name == "find_optimal" else arguments
        missing = [each for each in needed if not re.search(rf"\b{each}\b", text)]
        assert missing == [], name
        assert "Raises" in text, name


def test_visible_names_are_the_public_ones():
    assert set(isoflop.__all__) <= set(dir(isoflop))


def test_type_checkers_see_the_names_that_are_imported_on_first_use():
    tree = ast.parse(Path(isoflop.__file__).read_text())
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    ]
    seen = {
        alias.asname: node.module.removeprefix("isoflop.")
        for node in block.body
        for alias in node.names
    }
    assert seen == isoflop._HOMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        isoflop.trian  # noqa: B018


def test_importing_isoflop_loads_neither_torch_nor_matplotlib_nor_numpy():
    heavy = "import isoflop, sys; print(*[m for m in ('torch', 'matplotlib', 'numpy', 'pandas') if m in sys.modules])"
    assert run_python(heavy) == []


def test_fitting_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys, isoflop.fitting.fit, isoflop.answers.predict, isoflop.storage.directory, isoflop.storage.tables, "
        "isoflop.runs, isoflop.task; print(*[m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    assert run_python(code) == []

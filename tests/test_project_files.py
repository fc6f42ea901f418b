"""Files beside the code agree with it: versions, checks, and what is installed for them."""

import re
import tomllib
from pathlib import Path

import pytest

import isoflop

ROOT = Path(__file__).parent.parent
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONFIGURATION["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
BOUND = re.compile(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)")
HOOK = re.compile(r"^ +entry: (.+)$", re.MULTILINE)


def recipe(target):
    """Commands of a target of the Makefile."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].splitlines()
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines]


def bounds(*extras):
    """Lowest versions of what is always installed, and of extras."""
    optional = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    lines = [*PROJECT["dependencies"], *optional]
    return dict(BOUND.match(line).groups() for line in lines if ">=" in line)


def pinned(file):
    """Versions of a file of constraints."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


def parts(version):
    """A version's numbers; zeros at the end say nothing."""
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    return numbers[: max((place for place, part in enumerate(numbers, 1) if part), default=1)]


def test_the_version_is_the_same_everywhere():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert PROJECT["version"] == isoflop.__version__ == cited


def test_pre_commit_runs_what_make_check_runs():
    assert HOOK.findall((ROOT / ".pre-commit-config.yaml").read_text()) == recipe("check")


def test_ci_runs_the_targets_of_the_makefile_on_every_python_that_is_named():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    called = re.findall(r"run: make ([\w-]+)", workflow)
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert {"check", "test", "docs", "test-light", "dist"} == set(called)
    assert all(recipe(target) for target in called)
    matrices = [re.findall(r"[\d.]+", found) for found in re.findall(r"python: \[(.+)\]", workflow)]
    assert matrices == [classified] * 2
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_the_tree_of_contributing_names_what_is_on_disk_in_the_order_of_the_layers():
    """docs/architecture.md includes the same tree."""
    lines = re.search(r"<!-- tree -->(.+?)<!-- end", (ROOT / "CONTRIBUTING.md").read_text(), re.S)[
        1
    ]
    entry = re.compile(r"^([│ ]*)[├└]── ([\w./]+) +\S.+$")
    entries = [entry.match(line).groups() for line in lines.splitlines() if "──" in line]
    top = [name.strip("/").removesuffix(".py") for indent, name in entries if not indent]
    listed, folder = [], ""
    for indent, name in entries:
        folder = folder if indent else name
        listed.append(f"{folder}{name}" if indent else name)
    source = ROOT / "src/isoflop"
    folders = [f"{path.parent.relative_to(source)}/" for path in source.rglob("*/__init__.py")]
    modules = [path.name for path in source.glob("*.py") if path.name != "__init__.py"]
    assert sorted(listed) == sorted([*folders, *modules])
    contract = CONFIGURATION["tool"]["importlinter"]["contracts"][0]["layers"]
    layers = [
        {name.strip().removeprefix("isoflop.") for name in row.split("|")} for row in contract
    ]
    depth = {name: row for row, names in enumerate(layers) for name in names}
    assert depth.keys() == set(top)
    assert [depth[name] for name in top] == sorted(depth.values())


def test_the_lowest_versions_are_those_of_pyproject():
    pins = pinned("requirements.lowest")
    lowest = bounds("train", "test")
    assert lowest
    assert [name for name, low in lowest.items() if parts(pins[name]) != parts(low)] == []


def test_the_versions_tested_together_are_allowed():
    pins = pinned("requirements.lock")
    allowed = bounds(*PROJECT["optional-dependencies"])
    compared = [name for name in allowed if name in pins]
    assert len(compared) > 25
    assert [name for name in compared if parts(pins[name]) < parts(allowed[name])] == []


def test_configurations_are_valid_yaml():
    yaml = pytest.importorskip("yaml")
    files = [*ROOT.glob(".*.yaml"), *(ROOT / ".github").rglob("*.yml")]
    assert len(files) == 6
    assert all(yaml.safe_load(path.read_text()) for path in files)

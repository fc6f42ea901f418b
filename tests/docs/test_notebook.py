"""The quick start's notebook runs from top to bottom, on a budget of a second."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
TINY = 'budgets, target, store = [1e8, 2e8], 1e9, "runs/tiny"'


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def parameters_of(notebook):
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


@pytest.mark.slow
# Kernel clients leave sockets and event loops to the garbage collector.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_gives_an_answer_with_a_size_to_build(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (cell,) = parameters_of(notebook)
    cell.source = TINY
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "Compute-optimal at 1e+09 FLOPs" in printed
    assert "size to build" in printed
    assert (tmp_path / "report.html").exists()


def test_the_notebook_is_kept_without_outputs(notebook):
    assert all(
        not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells
    )


def test_the_notebook_scales_the_network_of_the_quick_start(notebook):
    program = (NOTEBOOK.parents[1] / "docs" / "programs" / "quickstart.py").read_text()
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    shown, quick = definitions(code.replace("%matplotlib inline", "")), definitions(program)
    assert quick.keys() == {"ByteNet", "loss", "windows"}
    assert shown == quick


def definitions(code):
    """The classes and functions of a program, however they are laid out."""
    found = [
        node for node in ast.parse(code).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    return {node.name: ast.dump(node) for node in found}

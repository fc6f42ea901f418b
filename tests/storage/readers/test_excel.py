import sys

import numpy as np
import pandas as pd
import pytest

from isoflop.errors import DataError, InstallError
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import check, check_answer, sweep

openpyxl = pytest.importorskip("openpyxl", reason="needs isoflop[excel]")


def frame(recorded):
    return pd.DataFrame(
        {
            "params": [one.params for one in recorded],
            "tokens (B)": [one.tokens / 1e9 for one in recorded],
            "loss": [one.loss for one in recorded],
            "note": [None, *("text" for _ in recorded[1:])],
        }
    )


def test_a_workbook_is_read_as_any_table(tmp_path):
    recorded = sweep()
    frame(recorded).to_excel(tmp_path / "runs.xlsx", index=False)
    runs = read_runs(tmp_path / "runs.xlsx")

    check(runs, recorded, curves=False)
    check_answer(runs)


def test_the_first_sheet_is_read_or_the_one_that_is_named(tmp_path):
    first, second = sweep((1e18, 1e19)), sweep((2e18, 2e19))
    path = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(path) as writer:
        frame(first).to_excel(writer, sheet_name="old", index=False)
        frame(second).to_excel(writer, sheet_name="new runs", index=False)
        pd.DataFrame().to_excel(writer, sheet_name="empty", index=False)
    table = read_table(path)

    check(table.runs, first, curves=False)
    assert [note for note in table.notes if note.code == "table-sheet"] == [
        "The sheet 'old' was read, and not 'new runs'."
    ]
    check(read_runs(f"{path}#new runs"), second, curves=False)
    with pytest.raises(DataError, match="has no sheet 'newer'; it has 'old' and 'new runs'"):
        read_runs(f"{path}#newer")


def test_rows_are_named_by_their_number_in_the_sheet(tmp_path):
    book = openpyxl.Workbook()
    for row in ([], ["params", "tokens", "loss"], [1e7, 2e8, 3.5], [], [2e7, -2e8, 3.4]):
        book.active.append(row)
    book.active["E4"] = None
    book.save(tmp_path / "runs.xlsx")
    with pytest.raises(DataError, match=r"row 5 of runs\.xlsx has -2"):
        read_runs(tmp_path / "runs.xlsx")


def test_formulas_have_the_values_that_were_stored(tmp_path):
    book = openpyxl.Workbook()
    for row in (["params", "tokens", "loss"], [1e7, 2e8, 3.5], ["=A2*2", 2e8, 3.4]):
        book.active.append(row)
    book.save(tmp_path / "runs.xlsx")  # without values, as Excel would have stored them
    first, second = read_runs(tmp_path / "runs.xlsx")

    assert first.status == "completed"
    assert (second.status, np.isnan(second.num_params)) == ("failed", True)


@pytest.mark.parametrize("content", [b"", b"no workbook", b"PK\x03\x04broken"])
def test_a_file_that_is_no_workbook_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "runs.xlsx").write_bytes(content)
    with pytest.raises(Exception, match=r"runs\.xlsx cannot be read") as caught:
        read_runs(tmp_path / "runs.xlsx")
    assert len(str(caught.value)) < 300


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    frame(sweep()).to_excel(tmp_path / "runs.xlsx", index=False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InstallError, match=r"pip install 'isoflop\[excel\]'"):
        read_runs(tmp_path / "runs.xlsx")

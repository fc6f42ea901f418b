"""Signs between thousands and before decimals: decided for a column as a whole, or refused."""

import numpy as np
import pandas as pd
import pytest

from isoflop.errors import DataError
from isoflop.storage import sheet
from isoflop.storage.tables import read_runs, read_table


@pytest.fixture
def write(tmp_path):
    def write(text, name="runs.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def params_of(path, **options):
    return [run.num_params for run in read_runs(path, **options)]


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        read_runs(path, **options)
    assert len(str(caught.value)) <= 300
    return str(caught.value)


def test_a_thousands_sign_does_not_take_a_cell_out_of_its_columns_unit(write):
    header = 'params (M),tokens,loss\n350,2e10,2.91\n760,2e10,2.85\n"1,300",2e10,2.75\n'
    assert params_of(write(header)) == [3.5e8, 7.6e8, 1.3e9]
    stated = header.replace("params (M)", "n")
    assert params_of(write(stated), columns={"params": "n * 1e6"}) == [3.5e8, 7.6e8, 1.3e9]


def test_only_a_letter_takes_a_cell_out_of_its_columns_unit(write):
    assert params_of(
        write("params (M),tokens,loss\n350,2e10,3.1\n1.3B,2e10,2.8\n7e2,2e10,2.9\n")
    ) == [
        3.5e8,
        1.3e9,
        7e8,
    ]


def test_a_full_count_in_a_column_of_millions_is_refused_with_its_row(write):
    message = refusal(
        write('params (M),tokens,loss\n350,2e10,2.91\n760,2e10,2.8\n"1,300,000,000",2e10,2.7\n')
    )
    assert (
        "'params (M)' is in units of 1e+06, which makes row 4 of runs.csv 1.3e+15 params" in message
    )


@pytest.mark.parametrize(
    "others", ["1e6;2e10;2.91\n", "350000;2e10;2.91\n", "1000000.0;2e10;2.91\n"]
)
def test_one_count_with_a_point_before_three_digits_is_refused_among_plain_ones(write, others):
    message = refusal(write(f"params;tokens;loss\n{others}200.000;2e10;2.8\n"))
    assert message == (
        "params has '200.000' in row 3 of runs.csv, which may be 200 or 200,000; write the column without signs between "
        "thousands, as in 1300 or 1.3e3."
    )


def test_points_between_thousands_are_read_where_the_table_has_decimal_commas_and_said(write):
    table = read_table(
        write("params;tokens;loss\n200.000;4.000.000;3,45\n1.300.000;26.000.000;3,1\n")
    )
    assert [(run.num_params, run.num_tokens, run.loss) for run in table.runs] == [
        (2e5, 4e6, 3.45),
        (1.3e6, 2.6e7, 3.1),
    ]
    assert table.notes == (
        "Numbers of the table were read as follows: '1.300.000' in params as 1,300,000, '4.000.000' in tokens as 4,000,000, "
        "'3,45' in loss as 3.45.",
    )


def test_a_column_of_millions_to_three_decimals_is_one_where_the_table_has_decimal_points(write):
    table = read_table(write("params (M);tokens;loss\n124.440;2e10;3.1\n354.871;2e10;2.95\n"))
    assert [run.num_params for run in table.runs] == [124_440_000, 354_871_000]


@pytest.mark.parametrize("first", ["350", "12.5", "1'300"])
def test_a_column_of_millions_with_one_thousand_and_three_hundred_is_refused(write, first):
    text = f"params (M);tokens;loss\n{first};2e10;2.9\n1.300;2e10;2.8\n"
    assert "'1.300' in row 3 of runs.csv, which may be 1.3 or 1,300" in refusal(write(text))


def test_a_column_whose_shortest_decimals_are_three_is_read_and_said(write):
    table = read_table(write("params (M),tokens,loss\n124.4,2e10,3.1\n354.871,2e10,2.95\n"))
    assert [run.num_params for run in table.runs] == [124_400_000, 354_871_000]
    assert "'354.871' in params (M) as 354.871" in table.notes[-1]


def test_a_column_in_two_notations_is_refused_with_a_row_of_each(write):
    message = refusal(write("params;tokens;loss\n1.300.000;2e10;2.9\n1300000.5;2e10;2.8\n"))
    assert "params must have one sign before decimals" in message
    assert "'1300000.5' in row 3 and '1.300.000' in row 2" in message


@pytest.mark.parametrize(
    "cell",
    [
        "1 300 000",
        "1_300_000",
        "1'300'000",
        "1\u00a0300\u00a0000",
        "1\u202f300\u202f000",
        "1’300’000",
        "1.3e6 ",
    ],
)
def test_signs_that_part_nothing_but_thousands_are_read(write, cell):
    assert params_of(write(f"params,tokens,loss\n{cell},2e10,2.9\n")) == [1.3e6]


@pytest.mark.parametrize(
    "cell", ["1_3", "1,30,000", "1.2.3", "~70M", "70 B params", "5%", "$5", "1,,3", "1/3", "True"]
)
def test_what_is_no_number_sets_its_row_aside(write, cell):
    text = f'params,tokens,loss\n1e6,2e7,4.5\n2e6,2e7,4.4\n"{cell}",2e7,4.3\n'
    assert [run.status for run in read_runs(write(text))] == ["completed", "completed", "failed"]


def test_a_minus_of_typographers_is_one(write):
    assert "must be a finite number above 0" in refusal(
        write("params,tokens,loss\n1e6,2e7,4\n−5,2e7,4\n")
    )


def test_unicode_text_of_spreadsheets_is_read(write):
    assert params_of(
        write("params\ttokens\tloss\r\n1300000\t2e7\t4,5\r\n", "runs.txt", "utf-16")
    ) == [1.3e6]


def test_frames_of_words_are_held_to_the_same(write):
    frame = pd.DataFrame(
        {"params (M)": ["350", "1,300"], "tokens": [2e10, 2e10], "loss": ["2.91", "2.8"]}
    )
    assert params_of(frame) == [3.5e8, 1.3e9]
    assert "may be 200 or 200,000" in refusal(frame.assign(**{"params (M)": ["350", "200.000"]}))


def test_a_whole_number_of_400_digits_is_refused(write):
    params = pd.Series([1e6, 10**400], dtype=object)
    frame = pd.DataFrame({"params": params, "tokens": [2e7, 2e7], "loss": [4.5, 4.4]})
    assert "must be a finite number above 0" in refusal(frame)


def test_a_long_file_is_read_in_chunks_that_hold_the_needed_columns_alone(write, monkeypatch):
    monkeypatch.setattr(sheet, "HEAD", 10)
    monkeypatch.setattr(sheet, "CHUNK", 25)
    rows = [f"{1e6 + k!r},{2e7 + k!r},x{k},4.{k % 7 + 1},\n" for k in range(95)]
    path = write("params,tokens,name,loss,note\n" + "\n".join(rows))  # every second row is blank
    held, collected = [], sheet._collected

    def spy(layout, chunks, names):
        chunks = [chunk for chunk in chunks if held.append((len(chunk), tuple(names))) is None]
        return collected(layout, chunks, names)

    monkeypatch.setattr(sheet, "_collected", spy)
    table = read_table(path)
    assert held[0] == (10, ("params", "tokens", "name", "loss", "note"))
    assert {names for _, names in held[1:]} == {("params", "tokens", "loss")}
    assert max(number for number, _ in held[1:]) == 25
    assert [run.num_params for run in table.runs] == (1e6 + np.arange(95)).tolist()


def test_rows_of_a_long_file_are_named_as_people_count_them(write, monkeypatch):
    monkeypatch.setattr(sheet, "HEAD", 3)
    monkeypatch.setattr(sheet, "CHUNK", 2)
    assert "row 9 of runs.csv has 0" in refusal(
        write("params,tokens,loss\n" + "1e6,2e7,4\n\n" * 3 + "2e6,2e7,4\n0,2e7,4\n")
    )

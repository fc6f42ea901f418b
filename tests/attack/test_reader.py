"""Tables that were spoilt, and tables in other notations: an answer with its notes, or one sentence."""

import json
import math

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isoflop
from attack import rule
from attack.made_tables import (
    FIELDS,
    NOTATIONS,
    UNITS,
    WILD,
    Made,
    decimal_comma,
    numbers,
    plain,
    spoilt,
)
from isoflop.cli import app as cli
from isoflop.errors import IsoflopError
from isoflop.storage.tables import read_table

SHORT = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=1500)


def answer(source, columns=None):
    """What the command line does with a table: read, fit, predict."""
    table = read_table(source, columns=columns)
    fitted = isoflop.fit(table.runs, resamples=20)
    return isoflop.predict(fitted, flops=10 * fitted.largest)


def check(source):
    found = rule.outcome(lambda: answer(source))
    if not isinstance(found, IsoflopError):
        rule.check_answer(found)


def check_spoilt(made, folder):
    check(made.write(folder))


@SHORT
@given(made=spoilt())
def test_a_spoilt_table_is_answered_or_refused_in_a_sentence(made, tmp_path_factory):
    check_spoilt(made, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@LONG
@given(made=spoilt())
def test_1500_spoilt_tables_are_answered_or_refused_in_a_sentence(made, tmp_path_factory):
    check_spoilt(made, tmp_path_factory.getbasetemp())


def cell(text):
    """A cell as a data frame may hold it."""
    if text in ("True", "None"):
        return {"True": True, "None": None}[text]
    try:
        return float(text) if len(text) % 2 else text
    except ValueError:
        return text


def check_frame(made):
    width = len(made.header)
    rows = [[cell(text) for text in row] for row in made.rows if len(row) == width]
    check(pd.DataFrame(rows, columns=made.header))


@SHORT
@given(made=spoilt())
def test_a_spoilt_frame_is_answered_or_refused_in_a_sentence(made):
    check_frame(made)


@pytest.mark.slow
@LONG
@given(made=spoilt())
def test_1500_spoilt_frames_are_answered_or_refused_in_a_sentence(made):
    check_frame(made)


@st.composite
def rewritten(draw):
    """A sound table, the same in other notations, and the numbers in it."""
    runs = numbers(draw(st.integers(0, 5)))
    fields = draw(
        st.permutations(
            draw(st.sampled_from([FIELDS, FIELDS[:3] + FIELDS[4:], ("params", "tokens", "loss")]))
        )
    )
    is_comma = draw(st.booleans())
    columns = {
        field: draw(column_of(field, [run[field] for run in runs], is_comma)) for field in fields
    }
    delimiter = draw(st.sampled_from([";", "\t"] if is_comma else [",", ";", "\t"]))
    newline, encoding = (
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
    )
    rows = [list(row) for row in zip(*(cells for _, cells in columns.values()), strict=True)]
    return runs, Made([name for name, _ in columns.values()], rows, delimiter, encoding, newline)


@st.composite
def column_of(draw, field, values, is_comma):
    """The name and the cells of a column, each in one notation or all in one, some cells with a letter of their own."""
    if field == "loss":
        return field, [decimal_comma(repr(value)) if is_comma else repr(value) for value in values]
    unit = draw(st.sampled_from([*UNITS])) if field != "compute_budget" else ""
    writers = draw(st.lists(st.sampled_from(sorted(NOTATIONS)), min_size=1, max_size=2))
    digits = draw(st.sampled_from([".12g", ".3f", ".1f"]))
    cells = []
    for place, value in enumerate(values):
        scaled, write = value / UNITS[unit], NOTATIONS[writers[place % len(writers)]]
        if "letters" in writers[place % len(writers)]:
            cells.append(write(value))
        elif scaled == round(scaled) and scaled >= 1:
            cells.append(write(scaled))
        else:
            cells.append(
                f"{scaled:{digits}}" if float(f"{scaled:{digits}}") == scaled else repr(scaled)
            )
    return f"{field}{unit}", [
        decimal_comma(text) for text in cells
    ] if is_comma and "dots" not in writers else cells


def check_rewritten(case, folder):
    """The same runs, or a refusal; other numbers only with a note that names one."""
    runs, made = case
    found = rule.outcome(lambda: read_table(made.write(folder)))
    if isinstance(found, IsoflopError):
        return
    for run, expected in zip(found.runs, runs, strict=True):
        if run.status != "completed":
            continue
        read = {"params": run.num_params, "tokens": run.num_tokens, "loss": run.loss}
        for field, value in read.items():
            is_same = math.isclose(value, expected[field], rel_tol=1e-9)
            assert is_same or any(
                "Numbers of the table were read as follows" in note for note in found.notes
            ), (
                f"{field} is {value:g}, not {expected[field]:g}: {made.header} {made.rows[:3]} {made.delimiter!r}"
            )


@settings(SHORT, max_examples=150)
@given(case=rewritten())
def test_another_notation_gives_the_same_runs_or_a_refusal(case, tmp_path_factory):
    check_rewritten(case, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@settings(SHORT, max_examples=5000)
@given(case=rewritten())
def test_5000_other_notations_give_the_same_runs_or_a_refusal(case, tmp_path_factory):
    check_rewritten(case, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("wild", WILD, ids=range(len(WILD)))
def test_one_wild_cell_in_any_column_is_read_set_aside_or_refused(wild, tmp_path):
    sound = plain(numbers(), ("params", "tokens", "loss"))
    for column in range(3):
        rows = [[*row] for row in sound.rows]
        rows[4][column] = wild
        path = Made(sound.header, rows).write(tmp_path)
        found = rule.outcome(lambda path=path: read_table(path))
        assert isinstance(found, IsoflopError) or len(found.runs) == len(rows)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n\n\n", b"params\n", b"params,tokens,loss", b"\xff\xfe", b"\xfe\xff\x00", b"\x00" * 100, b'"' * 99,
        b"params,tokens,loss\n" + b"1e6,2e7," + b"4" * 200_000, b"params;tokens;loss\n1;2\n",
        b"params,tokens,loss\n" + b'1e6,2e7,"' + b"x" * 200_000, ("p," * 5000 + "loss\n").encode(),
        (",".join(f"c{k}" for k in range(5000)) + "\n" + ",".join(["1"] * 5000) + "\n").encode(),
        ("x" * 200_000 + ",tokens,loss\n1e6,2e7,4\n").encode(), b"params,tokens,loss\n\n\n,,\n",
        "params,tokens,loss\n1e6,2e7,4\n".encode("utf-32"), b"params,tokens,loss\n1e6,2e7,4\n\x80",
    ],
    ids=range(17),
)  # fmt: skip
@pytest.mark.parametrize("name", ["runs.csv", "runs.tsv", "runs.parquet", "x" * 200 + ".csv"])
def test_a_file_that_is_hardly_a_table_is_refused_in_a_sentence(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert isinstance(rule.outcome(lambda: read_table(path)), IsoflopError)


@pytest.mark.parametrize(
    "path", ["x" * 5000 + ".csv", "\0.csv", "", ".", "/dev", "runs.csv/inside.csv", "\x1b[2J.csv"]
)
def test_a_path_that_is_none_is_refused_in_a_sentence(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(rule.outcome(lambda: read_table(path)), IsoflopError)


@SHORT
@given(
    made=spoilt(),
    columns=st.dictionaries(
        st.sampled_from(["params", "tokens", "loss", "flops", "acc", "", "x" * 400, "\x1b"]),
        st.sampled_from(["params", "params * 1e6", "params * 1.2.3", "params * 0", "params * 1e999", "log(loss)", "",
                         "\x1b", "x" * 400, "loss * 2", "log(log(loss))", "tokens*-1"]),
    ),
)  # fmt: skip
def test_columns_that_are_named_oddly_are_understood_or_refused(made, columns, tmp_path_factory):
    path = made.write(tmp_path_factory.getbasetemp())
    rule.outcome(lambda: read_table(path, columns=columns))


def command(path, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fit", str(path), "--json"])
    out, err = capsys.readouterr()
    return exit_.value.code or 0, out, err


@settings(SHORT, max_examples=12)
@given(made=spoilt())
def test_on_the_command_line_a_spoilt_table_is_answered_or_refused_with_exit_code_2(
    made, tmp_path_factory, capsys
):
    code, out, err = command(made.write(tmp_path_factory.getbasetemp()), capsys)
    assert code in (0, 2)
    assert "Traceback" not in err
    if code == 0:
        json.loads(out)

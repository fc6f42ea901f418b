"""Words of others in tables: every form shows them as words, and no program that reads the form obeys them."""

import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from isoflop.display.format import LONG, align_columns, format_bullets, one_line
from isoflop.reporting.status import status_text
from isoflop.reporting.tables import runs_table, to_csv, to_html, to_latex, to_markdown, to_text
from isoflop.runs import Run, RunSpec
from isoflop.storage.status import StageStatus
from isoflop.storage.tables import read_runs
from isoflop.training.executors.stored_work import failed_run

SIGNS = (
    r"=+-@[]*_`~^\|<>&%$#{}()!'\";,:. /"
    + "\n\r\t\x00\x1b\x07\x7f\x9b\u202e\u2028\xa0\ufeff\ud800é字😀－＝"
    + "a1e5"
)
NAUGHTY = (
    "=1+1", "=cmd|'/c calc'!A0", "@SUM(A1)", "-2+3", "+1", "-5", "-5e-3", "[x](javascript:alert(1))", "![x](http://x)",
    "<script>alert(1)</script>", "<!--", "&lt;", "**bold**", "a|b", "\\", "\\input{/etc/passwd}", "100 %", "$x^2$",
    "[", "*", "a--b", "`code`", "~~gone~~", "two\nlines", "two\r\nlines", "\x1b[2J", "\x1b]0;title\x07", "a,=1+1", "_i_",
    "<http://x.y>", "```", "# title", "- item", "=" * 500, " =1", "\t=1", "＝1+1", '"', "a,b",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(NAUGHTY),
    st.text(st.sampled_from(SIGNS), min_size=1, max_size=12),
    st.text(min_size=1),
)
"""Names as people and attackers give them."""

TRY = settings(max_examples=80, derandomize=True, deadline=None, database=None)
LONG_TRY = settings(max_examples=3000, deadline=None, database=None)


def runs_with(words):
    """A run for each of some words, which are its size, group and error, and the name of a metric."""
    return [
        Run(
            spec=RunSpec(num_params=1e6 * (k + 1), num_tokens=2e7, flops=1.2e14, size=word),
            status="failed",
            error=word,
            loss=4.5,
            group=word,
            metrics={word: -0.5},
            num_tokens=2e7,
            flops=1.2e14,
        )
        for k, word in enumerate(words)
    ]


def check_text(table):
    heads, *rows = to_text(table).split("\n")
    assert len(rows) == len(table.rows)
    assert all(line.isprintable() for line in (heads, *rows))


def check_csv(table):
    written = to_csv(table)
    assert all(line.isprintable() for line in written.split("\n"))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    values = [table.names(), *table.values()]
    assert [len(row) for row in rows] == [len(row) for row in values]
    for found, expected in zip(rows, values, strict=True):
        for cell, value in zip(found, expected, strict=True):
            if isinstance(value, str):
                words = one_line(value, 10 * LONG)
                assert cell in (words, f"'{words}")
                assert not re.match(r"\s*[=+\-@＝＋－＠]", cell) or re.fullmatch(
                    r"[+-]?[\d.]+(e[+-]?\d+)?", cell, re.I
                )
            else:
                assert cell == ("" if value is None else str(value))


def check_markdown(table):
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(to_markdown(table))
    assert set(re.findall(r"<(/?\w+)", html)) <= {
        f"{end}{tag}" for end in ("", "/") for tag in ["table", "thead", "tbody", "tr", "th", "td"]
    }
    check_cells(html, table)


def check_html(table):
    check_cells(to_html(table), table)


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.cells, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        self.inside = tag in ("td", "th")
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def check_cells(html, table):
    """The cells that a browser shows are the table's."""
    parser = _Cells()
    parser.feed(html)
    shown = [" ".join(cell.split()) for cell in parser.cells]
    assert shown == [
        " ".join(cell.split()) for row in (table.headings(), *table.cells()) for cell in row
    ]


LATEX = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"$\pm$": "±", r"$\infty$": "∞",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", "{}": "", "{[}": "[", "{*}": "*",
    **{rf"\{sign}": sign for sign in "&%$#_{}"},
}  # fmt: skip
TOKEN = re.compile(
    "|".join(map(re.escape, LATEX))
    + r"|\$[\d.]+ \\times 10\^\{-?\d+\}\$|\$10\^\{-?\d+\}\$|[^\\&%$#_{}^~]"
)


def check_latex(table):
    lines = to_latex(table).split("\n")
    rows = [lines[2], *lines[4:-2]]
    assert len(rows) == 1 + len(table.rows)
    for row, cells in zip(rows, (table.headings(), *table.cells()), strict=True):
        assert row.endswith(r" \\")
        assert not re.match(r"\s*[\[*]", row)
        found = re.split(r"(?<!\\) & ", f"{row[:-3]} ")
        shown = [TOKEN.findall(cell) for cell in found]
        assert ["".join(parts) for parts in shown] == found, "a sign is not escaped"
        assert not any("--" in cell for cell in found)
        plain = [cell for cell in cells if not re.search(r"\d", cell)]
        read = ["".join(LATEX.get(part, part) for part in parts).strip() for parts in shown]
        assert [cell.strip() for cell in plain] == [
            cell for cell, was in zip(read, cells, strict=True) if was in plain
        ]


CHECKS = (check_text, check_csv, check_markdown, check_html, check_latex)


@TRY
@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_words_in_tables_are_shown_as_words(words):
    for check in CHECKS:
        check(runs_table(runs_with(words)))


@pytest.mark.slow
@LONG_TRY
@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_any_words_in_tables_are_shown_as_words(words):
    for check in CHECKS:
        check(runs_table(runs_with(words)))


@pytest.mark.parametrize("word", NAUGHTY)
def test_each_naughty_word_is_shown_as_one(word):
    for check in CHECKS:
        check(runs_table(runs_with([word])))


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("-5", "-5"),
        ("-5e-3", "-5e-3"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("a,=1", '"a,=1"'),
        ('"', '""""'),
        ("\t=1", r"\t=1"),
        (-0.25, "-0.25"),
    ],
)
def test_formulas_are_defused_in_csv_and_numbers_stay_numbers(cell, written):
    from isoflop.display.table import Column, Table

    assert to_csv(Table((Column("a", "a", str),), ((cell,),))) == f"a\n{written}\n"


def test_a_csv_of_naughty_names_is_read_back_with_its_numbers(tmp_path):
    runs = [
        Run(
            spec=RunSpec(num_params=1e6 * (k + 1), num_tokens=2e7, flops=1.2e14 * (k + 1)),
            status="completed",
            loss=4.5,
            num_tokens=2e7,
            flops=1.2e14 * (k + 1),
            group=word,
        )
        for k, word in enumerate(NAUGHTY)
    ]
    path = tmp_path / "runs.csv"
    path.write_text(to_csv(runs_table(runs)))
    again = read_runs(path)
    assert [(run.num_params, run.num_tokens, run.loss) for run in again] == [
        (run.num_params, 2e7, 4.5) for run in runs
    ]
    assert again[0].group == "'=1+1"


@TRY
@given(words=WORDS)
def test_words_on_a_terminal_move_nothing_there(words):
    run = runs_with([words])[0]
    stage = StageStatus(words, (), (run,), ((run.spec, "somebody"),), (), words)
    shown = [
        status_text([stage]),
        format_bullets([words, f"A note of {words}."]),
        align_columns([[words, "b"]]),
        repr(run),
    ]
    assert all(line.isprintable() for text in shown for line in text.split("\n"))
    assert len(shown[0].split("\n")) == 3
    assert len(repr(run)) < 400


@pytest.mark.train
@pytest.mark.parametrize("size", [10, 10**6])
def test_what_an_error_says_is_cut_and_made_visible_in_its_record(size):
    try:
        raise RuntimeError("\x1b[2J" + "x" * size)
    except RuntimeError as error:
        run = failed_run(RunSpec(num_params=1, num_tokens=1, flops=1), error)
    assert run.error.startswith(r"RuntimeError: \x1b[2Jx")
    assert run.error.isprintable()
    assert len(run.error) < 1200
    assert math.isnan(run.loss)

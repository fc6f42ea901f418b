import math

import pytest

from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_change,
    format_count,
    format_flops,
    format_html,
    format_interval,
    format_memory,
    format_money,
    format_number,
    format_percent,
    format_replacement,
    join_words,
    one_line,
    quoted,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (73.2e9, "73.2B"),
        (1.31e12, "1.31T"),
        (999_999, "1.00M"),
        (950, "950"),
        (12_345, "12.3k"),
        (2.5, "2.50"),
        (4e15, "4.00e+15"),
        (0, "0"),
        (math.inf, "∞"),
        (math.nan, "unknown"),
    ],
)
def test_a_count_is_written_with_a_letter_for_its_power_of_a_thousand(value, written):
    assert format_count(value) == written


@pytest.mark.parametrize(
    ("num_bytes", "written"),
    [(950, "950 B"), (4.4e3, "4.4 kB"), (80e9, "80 GB"), (1.2e12, "1.2 TB")],
)
def test_memory_is_written_in_its_unit(num_bytes, written):
    assert format_memory(num_bytes) == written


@pytest.mark.parametrize(
    ("value", "written"), [(5.76e23, "5.76e+23"), (1e21, "1e+21"), (3.1e9, "3.1e+09")]
)
def test_flops_carry_an_exponent_and_no_idle_zeros(value, written):
    assert format_flops(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(2.3101, "2.31"), (0.01254, "0.0125"), (4.5e-7, "4.50e-07"), (-0.5, "-0.500")],
)
def test_a_number_keeps_its_significant_digits(value, written):
    assert format_number(value) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (0, "$0.00"),
        (0.00175, "less than $0.01"),
        (0.5, "$0.50"),
        (99.999, "$100.00"),
        (1440.2, "$1,440"),
        (1e300, "$1.00e+300"),
    ],
)
def test_money_is_written_to_the_cent_where_it_is_small_and_with_an_exponent_where_it_is_huge(
    amount, written
):
    assert format_money(amount) == written
    assert format_money(amount, "€") == written.replace("$", "€")


def test_shares_and_intervals_read_as_prose():
    assert format_percent(0.0213) == "2.1 %"
    assert format_interval(61e9, 88.4e9) == "61.0B to 88.4B"


@pytest.mark.parametrize(
    ("words", "prose"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_a_list_of_words_reads_as_prose_and_counts_what_it_leaves_out(words, prose):
    assert join_words(words) == prose


def test_columns_are_aligned_without_blanks_at_line_ends():
    assert (
        align_columns([["N", "73.2B", ""], ["tokens", "1.31T", "x"]])
        == "N       73.2B\ntokens  1.31T  x"
    )


def test_bullets_wrap_long_sentences_under_their_dash():
    lines = format_bullets(["word " * 40]).splitlines()
    assert lines[0].startswith("  - word")
    assert lines[1].startswith("    word")


def test_html_escapes_every_word():
    shown = format_html("<h>", [[("<a>", "1 & 2")], []], ["<script>"])

    assert shown.startswith("<p><b>&lt;h&gt;</b></p><table><tr><td")
    assert "1 &amp; 2" in shown
    assert "<ul><li>&lt;script&gt;</li></ul>" in shown
    assert shown.count("<table>") == 1
    assert "<ul>" not in format_html("h", [])


def test_changes_are_percents_while_they_can_be_read_as_such_and_factors_beyond():
    shares = (0.387, -0.123, -0.9, 2.1, 7381.08, 1e9, -1.0, math.inf)
    written = [
        "+39 %",
        "-12 %",
        "÷10",
        "x3.1",
        "x7,400",
        "more than x1,000,000",
        "unknown",
        "unknown",
    ]
    assert [format_change(share) for share in shares] == written
    assert format_replacement(75.9e9, 124e9) == "75.9B instead of 124B, -39 %"
    assert format_replacement(math.inf, 124e9) == "undetermined"
    assert format_replacement(75.9e9, 0.0) == "75.9B"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("as it is", "as it is"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("right\u202eleft", r"right\u202eleft"),
        ("1\xa0300", "1 300"),
        ("a" * 200_000, "a" * 119 + "…"),
        ("\x00" * 200, r"\x00" * 29 + r"\x0…"),
    ],
    ids=["plain", "line break", "escape", "direction", "hard space", "long", "zeros"],
)
def test_words_of_others_are_one_short_line_without_control_characters(words, shown):
    assert one_line(words) == shown
    assert len(shown) <= 120
    assert shown.isprintable()


class _Unwritable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("70B", "'70B'"),
        (None, "None"),
        ("x" * 100, "'" + "x" * 58 + "…"),
        (10**5000, "a value of type int"),
        (_Unwritable(), "a value of type _Unwritable"),
        (len, "a value of type builtin_function_or_method"),
    ],
    ids=["text", "None", "long text", "huge number", "no repr", "function"],
)
def test_values_are_quoted_as_code_or_by_their_type(value, shown):
    assert quoted(value) == shown

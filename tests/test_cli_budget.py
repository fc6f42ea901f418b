import json
from functools import partial

import pytest

from isoflop.compute.phrases import parse_compute

PHRASE = "8xH100 for 3 days at 40% MFU"


@pytest.fixture
def run(run):
    """Exit code, stdout and stderr of `isoflop budget` with arguments."""
    return partial(run, "budget")


def rows(out, heading="accelerators"):
    """Rows of the table under the heading, by the name in front."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(heading))
    return {line.split("  ")[0]: line for line in lines[first + 1 :] if not line.startswith("  ")}


def test_hours_become_flops_with_the_peak_and_its_source(run):
    code, out, err = run(PHRASE)
    assert (code, err) == (0, "")
    assert out.startswith("8.21e+20 FLOPs\n")
    assert "H100 SXM: 989.4e12 FLOP/s in bf16 (dense), 80 GB" in out
    assert "white paper" in out


def test_flops_become_hours_on_every_accelerator(run):
    table = rows(run("1e21", "--mfu", "40%")[1])
    assert "701.9" in table["H100 SXM"]  # 1e21 / (.4 x 989.4e12) / 3600
    assert "29 days" in table["H100 SXM"]
    assert len(table) == 23


def test_flops_become_days_and_money_on_named_accelerators(run):
    table = rows(
        run("1e21", "--on", "64xH100 at 40% MFU", "--on", "64xA100 at 50% MFU", "--price", "2.5")[1]
    )
    assert list(table) == ["64x H100 SXM", "64x A100 80GB"]
    assert "11 h" in table["64x H100 SXM"]
    assert "$1,755" in table["64x H100 SXM"]


def test_the_mfu_of_the_phrase_holds_elsewhere_and_its_price_only_on_the_same_accelerator(run):
    table = rows(run(f"{PHRASE} at $2.50/H100-hour", "--on", "64xH100", "--on", "64xA100")[1])
    assert "40 %" in table["64x A100 80GB"]
    assert "$1,440" in table["64x H100 SXM"]
    assert "$" not in table["64x A100 80GB"]


def test_an_assumed_mfu_is_noted_once(run):
    assert run("8xH100 for 3 days", "--on", "64xA100")[1].count("No MFU was given") == 1


def test_accelerators_without_the_precision_are_left_out(run):
    assert set(rows(run("1e21", "--precision", "tf32")[1])) < set(rows(run("1e21")[1]))


def test_a_precision_is_taken_in_any_case(run):
    assert run("1e21", "--precision", "FP8") == run("1e21", "--precision", "fp8")
    assert "H100 SXM" in rows(run("1e21", "--precision", "FP8")[1])


def test_a_bare_number_names_the_accelerator_to_tell_it_for(run):
    assert list(rows(run("1e21", "--on", "4090")[1])) == ["RTX 4090"]


def test_small_money_and_huge_hours_fit_their_cells(run):
    assert "less than $0.01" in run("1e15", "--on", "H100", "--price", "2.5")[1]
    assert max(map(len, rows(run("1e45", "--mfu", "40%")[1]).values())) < 100


def test_json_holds_the_same_numbers_as_python(run):
    values = json.loads(run(PHRASE, "--price", "2.5", "--on", "64xH100", "--json")[1])
    found = parse_compute(PHRASE, price=2.5)
    assert values["flops"] == found.flops
    assert (values["device_hours"], values["seconds"], values["money"]) == (
        576,
        found.seconds,
        found.money,
    )
    assert values["on"][0]["seconds"] == pytest.approx(found.seconds / 8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("8xH10 for 3 days",), "is it H100 SXM?"),
        (("1e21", "--on", "3 days"), "Hardware is written as"),
        (("1e21", "--mfu", "40"), "MFU must be a share of the peak"),
        (
            ("1e21", "--precision", "fp64"),
            "known in bf16, fp16, tf32, fp32 and fp8, but got precision 'fp64'",
        ),
        (("1e21", "--price", "0"), "price per hour must be above 0"),
        (("8xH100 for 1e500 days",), "positive, finite duration"),
        (("a lot",), "A budget is written as"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_exit_code_2(run, arguments, sentence):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1

"""Hostile words on the command line: exit code 0, or 2 with one sentence; never a traceback."""

import os
import random
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attack import hostile, rule
from isoflop.cli import app as cli

SEED = 20_261_128
TABLE = "runs.csv"
COMMANDS = {
    "predict": (
        ["predict", TABLE, "--flops", "1e22"],
        ("--flops", "--params", "--tokens", "--loss", "--served-tokens", "--unique-tokens", "--device-memory",
         "--approach", "--prior", "--level", "--keep", "--column", "--metric", "--format", "--task", "--export"),
    ),
    "fit": (["fit", TABLE], ("--target", "--approach", "--prior", "--level", "--keep", "--column", "--task")),
    "budget": (["budget", "8xH100 for 3 days"], ("--on", "--mfu", "--price", "--precision")),
    "compare": (["compare", TABLE, TABLE, "--target", "1e21"], ("--target", "--approach", "--level", "--column")),
    "holdout": (["holdout", TABLE], ("--budgets", "--approach", "--column")),
    "plan": (
        ["plan", "nowhere:task", "--budget", "1e6"],
        ("--budget", "--target", "--spend", "--runs", "--hardware", "--design"),
    ),
    "train": (
        ["train", "nowhere:task", "--store", "store", "--budget", "1e6"],
        ("--budget", "--target", "--spend", "--processes", "--executor", "--hardware", "--design", "--page"),
    ),
    "tune": (["tune", "nowhere:task", "--store", "store", "--budget", "1e6"], ("--budget", "--share", "--executor")),
    "status": (["status", "store"], ()),
    "rerun": (["rerun", "store"], ()),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory):
    before, path = os.getcwd(), [*sys.path]
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    rows = [
        f"{run.num_params},{run.num_tokens},{run.flops},{run.loss},{run.budget}"
        for run in hostile.runs()
    ]
    Path(TABLE).write_text("\n".join(["params,tokens,flops,loss,compute_budget", *rows]))
    yield
    os.chdir(before)
    sys.path[:] = path


def words() -> list[str]:
    """What people might write behind an option."""
    return [
        *hostile.TEXTS,
        *(str(number) for number in hostile.NUMBERS if not isinstance(number, int)),
    ]


def keeps_the_rule(arguments: list[str]) -> None:
    out, err = StringIO(), StringIO()

    def call() -> int:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                cli.main(arguments)
            except SystemExit as ended:
                return int(ended.code or 0)
        return 0

    code = rule.outcome(call)
    assert code in (0, 2), f"{arguments!r:.200} ended with {code}: {err.getvalue()[-500:]}"
    said = err.getvalue()
    assert "Traceback" not in said
    if code == 2 and not said.startswith("Usage:"):
        rule.check_sentence(said.removeprefix("isoflop: ").rstrip("\n"))
    if code == 0:
        assert " nan" not in out.getvalue().lower()


def cases() -> list[list[str]]:
    """Every option of every command with every word."""
    optional = [
        [*given, option, word]
        for given, options in COMMANDS.values()
        for option in options
        for word in words()
    ]
    return [*optional, *([command, word] for command in COMMANDS for word in words())]


def test_words_behind_options_are_taken_or_refused_in_a_sentence():
    for arguments in random.Random(SEED).sample(cases(), 40):
        keeps_the_rule(arguments)


@pytest.mark.slow
def test_every_word_behind_every_option():
    for arguments in random.Random(SEED).sample(cases(), 600):
        keeps_the_rule(arguments)


@pytest.mark.slow
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_random_words_behind_several_options(data):
    given_, options = COMMANDS[data.draw(st.sampled_from(sorted(COMMANDS)))]
    told = data.draw(
        st.lists(st.tuples(st.sampled_from([*options, "--json"]), st.text(max_size=12)), max_size=3)
    )
    keeps_the_rule([*given_, *(part for pair in told for part in pair)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", TABLE, "--params", "70B"], "Compute-optimal at"),
        (["predict", TABLE, "--flops", "1e22", "--level", "80%"], "80 % intervals"),
        (["fit", TABLE, "--approach", "Kriging"], "Kriging"),
    ],
)
def test_words_whose_meaning_is_plain_are_taken(arguments, says, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert not ended.value.code
    assert says in capsys.readouterr().out

import re
from dataclasses import replace

import pytest
from golden_tables import path_of, runs_of
from golden_task import task

import isoflop


@pytest.fixture(scope="module")
def fits():
    return {name: isoflop.fit(runs_of(name)) for name in ("plain", "hard")}


def test_the_print_of_a_sweep_stays(golden):
    sweep = isoflop.plan(task(), budgets=[1e6, 3e6, 1e7], hardware="8xH100 at 40% MFU at $2/hour")
    golden(
        "print-sweep.txt", without_notes(str(replace(sweep, seconds={}, mfu={})))
    )  # times are the machine's


@pytest.mark.parametrize("name", ["plain", "hard"])
def test_the_print_of_a_fit_stays(golden, fits, name):
    golden(f"print-fit-{name}.txt", without_notes(str(fits[name])))


@pytest.mark.parametrize("name", ["plain", "hard"])
def test_the_print_of_an_answer_stays(golden, fits, name):
    golden(f"print-answer-{name}.txt", without_notes(str(isoflop.predict(fits[name], flops=1e21))))


def test_the_print_of_several_answers_stays(golden, fits):
    golden(
        "print-answers.txt", without_notes(str(isoflop.predict(fits["plain"], flops=[1e21, 1e22])))
    )


def test_the_print_of_an_answer_that_is_served_stays(golden, fits):
    answer = isoflop.predict(fits["plain"], flops=1e21, served_tokens=1e12, unique_tokens=5e9)
    golden("print-answer-served.txt", without_notes(str(answer)))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fit", ["fit", "TABLE", "--target", "1e21"]),
        ("predict", ["predict", "TABLE", "--flops", "1e21", "--flops", "1e22"]),
        ("budget", ["budget", "8xH100 for 3 days at 40% MFU"]),
    ],
)
def test_what_the_command_line_prints_stays(golden, run, name, arguments):
    code, out, err = run(
        *(str(path_of("plain")) if argument == "TABLE" else argument for argument in arguments)
    )
    assert (code, err) == (0, "")
    golden(f"cli-{name}.txt", without_notes(out))


def without_notes(text):
    """What is printed but its notes, which have tests of their own."""
    return re.sub(r"^ +- .*\n(?:    .*\n)*", "", f"{text.rstrip()}\n", flags=re.MULTILINE)

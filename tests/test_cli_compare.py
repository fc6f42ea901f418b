"""isoflop compare, holdout and tune, and sentences in the words of the command line."""

import json

import numpy as np
import pytest

import isoflop
from isoflop.cli.words import json_with_options, with_options
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.compare import compare
from isoflop.fitting.holdout import holdout
from isoflop.notes.note import Note
from isoflop.recipe import PowerRule
from isoflop.reporting.json_output import to_json
from isoflop.storage.tables import read_runs


def write_table(path, floor):
    rows = ["params,tokens,loss,compute_budget"]
    for budget in (1e17, 3e17, 1e18, 3e18):
        for size in ((budget / 6) ** 0.5 * np.geomspace(1 / 3, 3, 7)).tolist():
            tokens = budget / 6 / size
            rows.append(
                f"{size!r},{tokens!r},{floor + 400 / size**0.34 + 400 / tokens**0.34!r},{budget!r}"
            )
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def tables(tmp_path):
    return write_table(tmp_path / "first.csv", 1.8), write_table(tmp_path / "second.csv", 1.7)


def test_compare_shows_and_gives_what_the_function_does(run, tables):
    code, out, _ = run("compare", *tables, "--target=1e19")
    found = json.loads(run("compare", *tables, "--target=1e19", "--json")[1])
    expected = compare(*(read_runs(table) for table in tables), flops=1e19)

    assert code == 0
    assert out.strip() == str(expected)
    assert found["loss"]["value"] == expected.loss.value == pytest.approx(-0.1, abs=0.002)
    assert found["paired"] == 1


def test_holdout_shows_and_gives_the_errors_of_each_budget(run, tables):
    code, out, _ = run("holdout", tables[0], "--budgets=2", "--approach=isoflop")
    found = json.loads(run("holdout", tables[0], "--budgets=2", "--approach=isoflop", "--json")[1])
    expected = holdout(read_runs(tables[0]), IsoFLOP(), budgets=2)

    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [
        ["1e+18", "3.3x"],
        ["3e+18", "10x"],
    ]
    assert [held["num_params"] for held in found["budgets"]] == [
        held.num_params for held in expected.budgets
    ]


def test_holdout_needs_budgets(run, tables):
    code, _, err = run("holdout", tables[0], "--budgets=3")

    assert code == 2
    assert "add budgets" in err


@pytest.mark.train
def test_tune_ends_with_the_recipe_that_it_found(run, monkeypatch):
    from isoflop.training import tuning_search

    monkeypatch.setattr(tuning_search, "MOST_SEEDS", 1)
    arguments = (
        "tune",
        "owned.py:task",
        "--store=runs",
        "--budget=1e7",
        "--budget=3e7",
        "--share=0.3",
        "--packed",
    )
    code, out, _ = run(*arguments)
    found = json.loads(run(*arguments, "--json")[1])
    recipe = eval(out.splitlines()[-1].removeprefix("recipe="), {"isoflop": isoflop})

    assert code == 0
    assert recipe.lr == PowerRule(**found["lr"]["rule"])
    assert 0 < found["flops"] <= found["allowance"]
    assert any("packed" in one.versions for one in isoflop.read_runs("runs"))


@pytest.mark.parametrize(
    ("python", "options"),
    [
        (
            "A plan needs budgets=[...], or target= with spend=;",
            "A plan needs --budget, or --target with --spend;",
        ),
        (
            "say columns={'params': 'x * 1'} (--column 'params=x * 1').",
            "say --column 'params=x * 1'.",
        ),
        ("fit with Kriging() or IsoFLOP().", "fit with --approach kriging or --approach isoflop."),
        ("isoflop.tune(batch=True) finds the rule", "isoflop tune --batch finds the rule"),
        ("allow share=0.25 or more", "allow --share 0.25 or more"),
        ("the one that train(store=...) wrote", "the one that `isoflop train --store` wrote"),
        ("leave failed runs out of runs=.", "leave failed runs out of --runs."),
        ("say so with allow_far=True.", "say so with --allow-far."),
        ("pass Task(loss=...)", "pass Task(loss=...)"),
        ('fit(..., keep="all") uses it.', "--keep all uses it."),
        ("as in columns={'loss': 'log(ppl)'}, and", "as in --column 'loss=log(ppl)', and"),
        (
            "as in isoflop.read_groups(table, by='arch'); within",
            "as in `isoflop fit --by arch`; within",
        ),
        ("such as Parametric(), or a", "such as --approach parametric, or a"),
        (
            "such as Parametric(), or IsoFLOP() where",
            "such as --approach parametric, or --approach isoflop where",
        ),
        (
            "at a time: Processes().\n  - Read with read_runs(...,\n    vocabulary=50_257), and well-\n    known.",
            "at a time: --processes.\n  - Read with --vocabulary 50_257, and well-known.",
        ),
    ],
)
def test_sentences_name_options_where_python_users_read_arguments(python, options):
    assert with_options(python) == options


def test_notes_name_options_in_json_too(run):
    note = Note("table-columns", "name another with columns=.")
    (told,) = json.loads(json_with_options([note]))

    assert told["text"] == "name another with --column."
    assert "`--column`" in told["remedy"]
    assert "columns=" in json.loads(to_json([note]))[0]["text"]


@pytest.mark.train
def test_a_refusal_and_a_plan_speak_of_options(run):
    refused = run("plan", "owned.py:task")[2]

    assert (
        refused
        == "isoflop: A plan needs --budget, or --target with --spend; give the FLOPs that the sweep may cost.\n"
    )

import csv
import json

import numpy as np
import pytest

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.laws.additive import ChinchillaLaw
from isoflop.storage.tables import read_runs

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
QUESTIONS = [
    {"params": 3e9},
    {"tokens": 1e11},
    {"loss": 2.2},
    {"loss": 2.2, "served-tokens": 1e12},
    {"flops": 1e22, "served-tokens": 1e12},
    {"flops": 1e22, "unique-tokens": 1e10},
]


@pytest.fixture
def run(run):
    """Stdout of a command that succeeds."""

    def call(*arguments):
        code, out, _ = run(*arguments)
        assert code == 0
        return out

    return call


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["params", "tokens", "loss", "compute_budget"])
        for budget in (1e18, 1e19, 1e20):
            for factor in (0.25, 0.5, 1, 2, 4):
                N = LAW.optimum(budget)[0] * factor
                rows.writerow([N, budget / 6 / N, LAW.loss(N, budget / 6 / N), budget])
    return path


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_the_command_answers_each_question_as_predict_does(run, table, question):
    options = [f"--{name}={value}" for name, value in question.items()]
    out = json.loads(run("predict", table, "--approach=parametric", "--json", *options))
    names = {"params": "num_params", "tokens": "num_tokens"}
    asked = {names.get(name, name.replace("-", "_")): value for name, value in question.items()}
    best = predict(fit(read_runs(table), Parametric()), **asked)
    assert out["flops"] == best.flops
    assert out["num_params"]["value"] == best.num_params.value
    if best.serving is not None:
        assert out["serving"]["overtraining"]["high"] == best.serving.overtraining.high
    if best.repetition is not None:
        assert out["repetition"]["epochs"]["value"] == best.repetition.epochs.value


@pytest.mark.parametrize("option", ["--params", "--tokens", "--loss"])
def test_several_values_of_any_question_give_a_table(run, table, option):
    values = {"--params": (1e9, 2e9), "--tokens": (1e10, 2e10), "--loss": (2.5, 2.4)}[option]
    out = run(
        "predict",
        table,
        "--approach=parametric",
        "--format=csv",
        *(f"{option}={value}" for value in values),
    )
    assert out.splitlines()[0].startswith("flops,flops_low,flops_high,params,")
    assert len(out.split()) == 3


def test_fit_answers_for_several_targets_in_one_table(run, table):
    out = run("fit", table, "--approach=parametric", "--target=1e21", "--target=1e22")
    last = out.split("\n\n")[-1].splitlines()
    assert last[0].split()[:2] == ["FLOPs", "params"]
    assert [line.split()[0] for line in last[1:3]] == ["1e+21", "1e+22"]
    told = json.loads(
        run("fit", table, "--approach=parametric", "--target=1e21", "--target=1e22", "--json")
    )
    assert [one["flops"] for one in told["optimum"]] == [1e21, 1e22]


def test_a_metric_of_the_runs_is_expected_too(run, table):
    text = table.read_text().replace("compute_budget", "compute_budget,acc", 1)
    head, *rows = text.splitlines()
    shares = [0.3 + 0.6 / (1 + np.exp(3 * (float(row.split(",")[2]) - 2.8))) for row in rows]
    table.write_text(
        "\n".join([head, *(f"{row},{share}" for row, share in zip(rows, shares, strict=True))])
    )
    options = (
        "--approach=parametric",
        "--flops=1e20",
        "--column=accuracy=acc",
        "--metric=accuracy",
    )
    told = json.loads(run("predict", table, "--json", *options))
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(
        0.3 + 0.6 / (1 + np.exp(3 * (told["loss"]["value"] - 2.8))), abs=1e-3
    )
    assert "\n  accuracy " in run("predict", table, *options)

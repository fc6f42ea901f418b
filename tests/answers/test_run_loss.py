"""The expected loss of a run of given params and tokens."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))

from as_people_have_them import a_table, public
from sweeps import LAW

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.fit import fit
from isoflop.fitting.metrics import fit_metric
from isoflop.storage.tables import read_runs


@pytest.fixture(scope="module")
def fitted():
    return fit(read_runs(a_table(budgets=np.geomspace(1e18, 1e20, 4), noise=0.001)), resamples=200)


def test_the_loss_of_a_run_is_the_laws_with_an_interval(fitted):
    run = predict(fitted, num_params="500M", num_tokens="20B")
    true = LAW.loss(5e8, 2e10)
    assert run.loss.value == pytest.approx(true, rel=0.005)
    assert run.loss.low < true < run.loss.high
    assert run.flops == pytest.approx(6e19)
    assert run.extrapolation == 0
    assert "A run of 500M params on 20.0B tokens" in str(run)


def test_several_runs_are_a_table(fitted):
    runs = predict(fitted, num_params=[1e8, 5e8], num_tokens=[2e9, 2e10])
    assert len(runs) == 2
    assert runs[1] == predict(fitted, num_params=5e8, num_tokens=2e10) or runs[1].loss.value > 0
    assert runs.table().cells()[0][0] == "100M"
    along = predict(fitted, num_params=1e8, num_tokens=[1e9, 2e9, 4e9])
    losses = [run.loss.value for run in along]
    assert losses == sorted(losses, reverse=True)


def test_lists_of_unequal_length_are_refused(fitted):
    with pytest.raises(DataError, match="as many values, but got 2 and 3"):
        predict(fitted, num_params=[1e8, 2e8], num_tokens=[1e9, 2e9, 3e9])


def test_conditions_are_refused(fitted):
    with pytest.raises(DataError, match="has no conditions"):
        predict(fitted, num_params=1e8, num_tokens=1e9, served_tokens="1T")


def test_a_ratio_far_outside_the_runs_is_a_note_and_widens_the_interval(fitted):
    inside, outside = (predict(fitted, num_params=1e8, num_tokens=D) for D in (4e9, 4e11))
    assert "ratio-outside-runs" in {note.code for note in outside.notes}
    assert "ratio-outside-runs" not in {note.code for note in inside.notes}
    width = [(run.loss.high - run.loss.low) / run.loss.value for run in (inside, outside)]
    assert width[1] > 3 * width[0]


def test_a_metric_follows_from_the_loss_of_a_run():
    table = a_table(noise=0.001).assign(acc=lambda rows: 1 / (1 + np.exp(4 * (rows.loss - 3))))
    fitted = fit(read_runs(table, columns={"acc": "acc"}), resamples=50)
    run = predict(fitted, num_params=1e8, num_tokens=2e9).with_metric(fit_metric(fitted, "acc"))
    expected = 1 / (1 + np.exp(4 * (run.loss.value - 3)))
    assert run.metrics["acc"].value == pytest.approx(expected, abs=0.01)
    assert "acc" in str(run)
    assert "acc" in run.table().headings()


def test_approach_2_gives_the_loss_off_its_valley():
    runs = read_runs(a_table(budgets=np.geomspace(1e18, 1e20, 5), noise=0.0005))
    found = predict(fit(runs, "isoflop", resamples=50), num_params=2e8, num_tokens=1e10)
    assert found.loss.value == pytest.approx(LAW.loss(2e8, 1e10), rel=0.01)


@pytest.mark.parametrize(
    ("name", "is_held_out"),
    [
        ("farseer.csv", lambda run: run.flops > 5.8e21),
        ("olmo_ladder.csv", lambda run: run.num_params > 5e9),
    ],
)
def test_public_runs_that_were_held_out_lie_in_their_intervals(name, is_held_out):
    runs = read_runs(public(name))
    held = [run for run in runs if is_held_out(run)]
    fitted = fit([run for run in runs if not is_held_out(run)])
    found = predict(
        fitted,
        num_params=[run.num_params for run in held],
        num_tokens=[run.num_tokens for run in held],
    )
    errors = [each.loss.value / run.loss - 1 for each, run in zip(found, held, strict=True)]
    assert np.median(np.abs(errors)) < 0.004
    inside = [
        each.loss.low <= run.loss <= each.loss.high for each, run in zip(found, held, strict=True)
    ]
    assert sum(inside) >= 0.9 * len(inside)


def test_a_run_far_below_the_others_says_so(fitted):
    run = predict(fitted, num_params=1e5, num_tokens=1e6)
    assert run.extrapolation == pytest.approx(math.log10(run.flops / fitted.smallest))
    assert "of the FLOPs of the smallest run" in str(run)
    assert "below-runs" in {note.code for note in run.notes}

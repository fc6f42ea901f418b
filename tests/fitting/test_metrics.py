import dataclasses
import math

import numpy as np
import pytest
from sweeps import LAW, a_sweep

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import fit
from isoflop.fitting.metrics import fit_metric
from isoflop.fitting.solve.sigmoid import SigmoidLaw, fit_sigmoid

TRUTH = SigmoidLaw(worst=0.25, best=0.9, steepness=4.0, middle=2.8)


def measured(noise=0.0, truth=TRUTH.metric, seed=0):
    """A sweep whose runs carry an accuracy that follows from their loss."""
    random, runs = np.random.default_rng(seed), a_sweep()
    return [
        dataclasses.replace(
            run, metrics={"accuracy": float(truth(run.loss) + noise * random.standard_normal())}
        )
        for run in runs
    ]


def test_a_known_sigmoid_is_found_again():
    found = fit_metric(measured(), "accuracy", resamples=20).law
    for name in ("worst", "best", "steepness", "middle"):
        assert getattr(found, name) == pytest.approx(getattr(TRUTH, name), rel=2e-3), name


def test_every_weighting_is_fitted_by_itself():
    losses, random = np.linspace(2, 3.5, 30), np.random.default_rng(0)
    metrics = TRUTH.metric(losses) + 0.02 * random.standard_normal(30)
    weights = random.gamma(1.0, size=(3, 30))
    box = ((0.0, 1.0), (0.0, 1.0))
    together = fit_sigmoid(losses, metrics, weights, box)
    for row in range(3):
        alone = fit_sigmoid(losses, metrics, weights[row : row + 1], box)
        assert alone.metric(2.1) == pytest.approx(together.metric(2.1)[row])


def test_ends_that_are_known_are_held_and_shares_stay_between_0_and_1():
    runs = measured(noise=0.02)
    held = fit_metric(runs, "accuracy", worst=0.25, best=1.0, resamples=20)
    assert (held.law.worst, held.law.best) == (0.25, 1.0)
    assert (held.resamples.worst == 0.25).all()
    free = fit_metric(runs, "accuracy", resamples=50)
    assert (free.resamples.best <= 1).all()
    assert (free.resamples.worst >= 0).all()


def test_a_metric_that_is_no_share_and_falls_with_better_runs_is_fitted_too():
    def errors(loss):
        return 120 - 80 / (1 + np.exp(4 * (loss - 2.8)))

    found = fit_metric(measured(truth=errors), "accuracy", resamples=20)
    assert (found.law.worst, found.law.best) == (
        pytest.approx(120, rel=2e-3),
        pytest.approx(40, rel=1e-2),
    )


@pytest.mark.parametrize("noise", [0.003, 0.02])
def test_ninety_percent_intervals_hold_the_metric_of_a_new_run_about_as_often(noise):
    hits, losses, random = [], (2.45, 2.7, 3.0, 3.3), np.random.default_rng(10_000)
    for seed in range(30):
        found = fit_metric(measured(noise, seed=seed), "accuracy", resamples=200)
        for loss in losses:
            told = found.predict(loss)
            hits.append(
                told.low <= TRUTH.metric(loss) + noise * random.standard_normal() <= told.high
            )
            assert told.low <= told.value <= told.high
    assert 0.83 <= np.mean(hits) <= 0.97


def test_the_noise_around_the_sigmoid_is_what_was_put_there():
    found = fit_metric(measured(noise=0.02), "accuracy", resamples=20)
    assert found.residual == pytest.approx(0.02, rel=0.3)
    assert found.explained > 0.95
    assert found.notes == ()


def test_a_prediction_carries_the_doubt_of_the_loss():
    found = fit_metric(measured(noise=0.003), "accuracy", resamples=500)
    sure, unsure = found.predict(2.4), found.predict(Estimate(2.4, 2.3, 2.5))
    assert unsure.value == sure.value
    assert unsure.high - unsure.low > 5 * (sure.high - sure.low)
    assert unsure.low == pytest.approx(TRUTH.metric(2.5), abs=0.02)


def test_an_answer_says_what_accuracy_to_expect():
    runs = measured(noise=0.005)
    fitted = fit(runs, Parametric(), resamples=100, level=0.8)
    stage = fit_metric(fitted, "accuracy")
    best = predict(fitted, flops=10 * fitted.largest)
    told = stage.predict(best)
    assert stage.level == 0.8
    assert told.low <= TRUTH.metric(LAW.loss(*LAW.optimum(best.flops))) <= told.high


def test_answers_carry_the_metric_in_print_and_table():
    runs = measured(noise=0.3)
    fitted = fit(runs, Parametric(), resamples=50)
    stage = fit_metric(fitted, "accuracy", resamples=50)
    answers = predict(fitted, flops=[1e20, 1e21]).with_metric(stage)
    assert answers[1].metrics["accuracy"] == stage.predict(answers[1])
    assert answers[1].notes[-1] == stage.notes[-1]
    assert any(line.startswith("  accuracy") for line in str(answers[0]).splitlines())
    assert answers.to_frame()["accuracy_low"][1] == answers[1].metrics["accuracy"].low


def test_an_answer_without_a_loss_is_refused():
    best = dataclasses.replace(
        predict(fit(a_sweep(), IsoFLOP(), resamples=20), flops=1e21), loss=None
    )
    with pytest.raises(DataError, match="the answer has no loss to follow"):
        fit_metric(measured(), "accuracy", resamples=20).predict(best)


def test_a_loss_that_does_not_tell_the_metric_is_a_note():
    (note,) = fit_metric(measured(noise=0.3), "accuracy", resamples=20).notes
    assert "of the variance of accuracy among the runs" in note


def test_a_shape_that_is_not_the_runs_own_is_a_note():
    bumps = measured(truth=lambda loss: TRUTH.metric(loss) + 0.05 * math.sin(8 * loss))
    assert any(
        "Neighbouring runs err alike" in note
        for note in fit_metric(bumps, "accuracy", resamples=20).notes
    )


def test_a_middle_that_no_run_has_passed_is_a_note():
    early = SigmoidLaw(worst=0.25, best=0.9, steepness=4.0, middle=2.0)
    (note,) = fit_metric(measured(truth=early.metric), "accuracy", resamples=20).notes
    assert (
        "lies below every run's: how it goes on there is a guess; give best= where it is known"
        in note
    )


def test_runs_without_the_metric_are_left_out_with_a_note_and_too_few_are_refused():
    runs = measured()
    some = [*runs[:20], *(dataclasses.replace(run, metrics={"recall": 0.5}) for run in runs[20:])]
    found = fit_metric(some, "accuracy", resamples=20)
    assert len(found.runs) == 20
    assert f"{len(runs) - 20} runs without accuracy were left out." in found.notes
    with pytest.raises(
        DataError,
        match="at least 6 runs of different loss with the metric 'f1', but got 0; the runs ",
    ):
        fit_metric(runs, "f1")


def test_it_prints_its_numbers_with_intervals_and_its_noise():
    found = fit_metric(measured(noise=0.02), "accuracy", resamples=50)
    lines = str(found).splitlines()
    assert lines[0] == "accuracy as a sigmoid of the loss (90 % intervals)"
    assert [line.split()[0] for line in lines[1:]] == [
        "worst", "best", "steepness", "middle", "residual", "explained"
    ]  # fmt: skip
    assert found.to_frame()["number"].tolist() == ["worst", "best", "steepness", "middle"]

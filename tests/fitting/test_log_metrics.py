"""A metric as a direct law of compute."""

import dataclasses
import math

import numpy as np
import pytest
from sweeps import a_sweep, data_folder

import isoflop
from isoflop.errors import DataError
from isoflop.fitting.log_metrics import fit_log_metric

ALPHA, GAMMA = 0.12, 0.05


def truth(run):
    """Accuracy above a chance of 1/4."""
    C, ratio = run.flops, run.num_tokens / run.num_params
    return 0.25 + 0.75 * math.exp(-2.0 * (C / 1e20) ** -ALPHA * ratio**GAMMA)


def measured(noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    return [
        dataclasses.replace(
            run, metrics={"acc": float(truth(run) + noise * random.standard_normal())}
        )
        for run in a_sweep()
    ]


def test_a_known_law_is_found_again():
    found = fit_log_metric(measured(), "acc", worst=0.25)
    assert found.coefficients[1:] == pytest.approx((-ALPHA, GAMMA))
    (run, *_) = a_sweep()
    told = found.predict(num_params=run.num_params, num_tokens=run.num_tokens, flops=run.flops)
    assert told.value == pytest.approx(truth(run))
    assert "(D/N)^0.05" in str(found)


def test_intervals_hold_the_metric_of_a_new_run_about_as_often():
    random, hits = np.random.default_rng(1), []
    for seed in range(60):
        found = fit_log_metric(measured(0.01, seed), "acc", worst=0.25)
        for run in a_sweep()[::7]:
            told = found.predict(
                num_params=run.num_params, num_tokens=run.num_tokens, flops=run.flops
            )
            hits.append(told.low <= truth(run) + 0.01 * random.standard_normal() <= told.high)
    assert 0.83 <= np.mean(hits) <= 0.97


def test_at_one_ratio_there_is_no_power_of_it():
    runs = [
        isoflop.Run(
            spec=isoflop.RunSpec(num_params=N, num_tokens=20 * N, flops=120 * N**2),
            status="completed",
            loss=3.0 - 0.1 * k,
            num_tokens=20 * N,
            flops=120 * N**2,
            metrics={"acc": math.exp(-2.0 * (120 * N**2 / 1e18) ** -0.1)},
        )
        for k, N in enumerate(np.geomspace(1e8, 1e10, 8).tolist())
    ]
    found = fit_log_metric(runs, "acc")
    assert found.coefficients[1:] == pytest.approx((-0.1,))
    assert "at one ratio" in str(found)


def test_what_is_no_share_is_left_out_or_refused():
    runs = measured()
    runs[0] = dataclasses.replace(runs[0], metrics={"acc": 0.2})
    assert "1 runs whose acc is not between" in fit_log_metric(runs, "acc", worst=0.25).notes[0]
    with pytest.raises(DataError, match="needs at least 6 runs with 'f1'"):
        fit_log_metric(runs, "f1")
    with pytest.raises(DataError, match="must differ"):
        fit_log_metric(runs, "acc", worst=1.0)


@pytest.mark.parametrize(
    ("metric", "direct", "by_loss"),
    [("hellaswag_acc", 0.05, 0.012), ("arc_easy_acc", 0.006, 0.07)],
)
def test_neither_law_of_accuracy_is_better_everywhere(metric, direct, by_loss):
    """From OLMo's 30 ladder runs to its 7B and 13B models, 13 and 31 times beyond."""
    path = data_folder() / "olmo_ladder.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine; ISOFLOP_DATA names its folder")
    runs = isoflop.read_runs(path, columns={"loss": "c4", "m": metric})
    small = [run for run in runs if run.flops < 1e23]
    law = fit_log_metric(small, "m", worst=0.25)
    sigmoid, fitted = isoflop.fit_metric(small, "m", resamples=100), isoflop.fit(small)
    for run in runs:
        if run.flops >= 1e23:
            N, D = run.num_params, run.num_tokens
            told = law.predict(num_params=N, num_tokens=D, flops=run.flops)
            loss = isoflop.predict(fitted, num_params=N, num_tokens=D)
            assert abs(told.value - run.metrics["m"]) < direct
            assert abs(sigmoid.predict(loss).value - run.metrics["m"]) < by_loss

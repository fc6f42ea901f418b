import math

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep, published

from isoflop.errors import DataError
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.compare import compare
from isoflop.laws.additive import ChinchillaLaw

BETTER = ChinchillaLaw(E=1.75, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
BUDGETS = np.geomspace(1e18, 1e21, 5)


def both(noise=0.0, law=BETTER, shared=True):
    """The same runs in two systems, whose noise is shared or not."""
    first = a_sweep(budgets=BUDGETS, noise=noise, seed=1)
    noisy = first if shared else a_sweep(budgets=BUDGETS, noise=noise, seed=2)
    factors = [r.loss / LAW.loss(r.num_params, r.num_tokens) for r in noisy]
    second = [
        a_run(
            r.num_params,
            r.num_tokens,
            float(law.loss(r.num_params, r.num_tokens)) * factor,
            budget=r.budget,
        )
        for r, factor in zip(first, factors, strict=True)
    ]
    return first, second


def test_a_noise_free_difference_is_found_exactly():
    found = compare(*both(), flops=1e21, resamples=50)
    assert found.loss.value == pytest.approx(-0.05, abs=1e-5)
    assert found.num_params.value == pytest.approx(1.0, rel=1e-3)
    needed = found.gain.value * 1e21
    assert LAW.optimal_loss(needed) == pytest.approx(BETTER.optimal_loss(1e21), rel=1e-5)
    assert found.paired == 1.0


def test_noise_that_both_systems_share_hardly_widens_the_difference():
    paired = compare(*both(noise=0.01), flops=1e21, resamples=200)
    apart = compare(*both(noise=0.01, shared=False), flops=1e21, resamples=200)
    assert paired.loss.high - paired.loss.low < 0.5 * (apart.loss.high - apart.loss.low)
    assert apart.num_params.low < 1 < apart.num_params.high
    assert paired.loss.high < 0


def test_a_system_against_itself_has_no_difference():
    runs = a_sweep(budgets=BUDGETS, noise=0.01)
    found = compare(runs, runs, flops=1e21, resamples=50)
    assert found.loss.low == found.loss.high == 0
    assert found.gain.value == pytest.approx(1.0)


def test_a_loss_that_the_first_never_reaches_is_an_infinite_gain():
    better = ChinchillaLaw(E=1.2, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    found = compare(*both(law=better), flops=1e22, resamples=20)
    assert found.gain.value == math.inf
    assert "∞" in str(found)


def test_sweeps_without_a_common_configuration_and_far_targets_are_said_so():
    first, second = a_sweep(budgets=BUDGETS), a_sweep(BETTER, budgets=BUDGETS * 1.1)
    found = compare(first, second, flops=1e23, approach=IsoFLOP(), resamples=20)
    assert found.paired == 0
    assert found.notes[0].startswith("No configuration was trained in both systems")
    assert found.notes[1] == "The target is 100 times the largest run of the smaller sweep."


def test_the_comparison_prints_what_differs():
    lines = str(compare(*both(noise=0.005), flops=1e21, resamples=50)).splitlines()
    assert lines[0] == "Second against first at 1e+21 FLOPs (90 % intervals)"
    assert [line.split("  ")[1] for line in lines[1:]] == ["best size", "tokens", "loss", "gain"]


def test_porians_steps_differ_in_size_by_what_their_own_fits_say():
    first, last = (published(f"porian_rw_{name}.csv") for name in ("3_warmup", "5_tuned"))
    found = compare(first, last, flops=1e19, approach=IsoFLOP(), resamples=100)
    assert found.num_params.value == pytest.approx(3.28 / 3.92, rel=0.1)
    assert found.loss.high < 0


def test_an_approach_without_a_law_for_the_loss_is_refused():
    with pytest.raises(DataError, match="compare needs an approach that has a law for the loss"):
        compare(*both(), flops=1e21, approach=Envelope())


def test_the_default_is_one_law_through_all_runs():
    assert compare(*both(), flops=1e21, resamples=20) == compare(
        *both(), flops=1e21, resamples=20, approach=Parametric()
    )

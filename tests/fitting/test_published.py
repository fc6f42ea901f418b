"""What a correct fit of public measurements gives (the numbers are those of each set's authors)."""

import math

import numpy as np
import pytest
from sweeps import published

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit


def test_chinchilla_gives_the_converged_digits_of_besiroglu_et_al():
    found = fit(published("chinchilla_epoch.csv"), Parametric(delta=1e-3))
    law = found.law
    assert (law.E, law.alpha, law.beta) == pytest.approx((1.817235, 0.347313, 0.367183), rel=5e-5)
    assert (law.A, law.B) == pytest.approx((477.842, 2143.864), rel=5e-4)  # noqa: SIM300
    assert found.objective == pytest.approx(0.00101827, rel=1e-5)
    best = predict(found, flops=5.76e23)
    assert best.num_params.value == pytest.approx(7.32e10, rel=2e-3)
    assert best.num_tokens.value == pytest.approx(1.31e12, rel=2e-3)


def test_chinchilla_bootstrap_errors_are_near_the_published_ones():
    resamples = fit(
        published("chinchilla_epoch.csv"), Parametric(delta=1e-3), resamples=400
    ).resamples
    errors = np.std([resamples.alpha, resamples.beta, resamples.E], axis=1)
    assert errors == pytest.approx([0.0154, 0.0206, 0.0257], rel=0.25)


def test_all_245_chinchilla_points_give_another_answer_and_the_five_that_move_it_are_named():
    found = fit(published("chinchilla_epoch.csv", outliers=True), Parametric(delta=1e-3))
    assert found.law.beta == pytest.approx(0.453, abs=1e-3)
    assert predict(found, flops=5.76e23).num_params.value == pytest.approx(1.19e11, rel=5e-3)


@pytest.mark.parametrize("approach", [Parametric(), None])
def test_the_five_chinchilla_points_that_move_a_law_are_named_whatever_the_approach(approach):
    best = predict(fit(published("chinchilla_epoch.csv", outliers=True), approach), flops=5.76e23)
    five = (
        "6.80B params on 245M",
        "2.98B params on 516M",
        "2.64B params on 616M",
        "2.28B params on 703M",
        "2.01B params on 812M",
    )
    (note,) = [note for note in best.notes if "standard deviations off" in note]
    assert note.startswith("5 runs lie")
    assert all(run in note for run in five)
    assert ("75.9B instead of 124B, -39 %" if approach else "the same within 2 %") in note


PORIAN = {
    "porian_rw_1_kaplan_repro.csv": 0.8353,
    "porian_rw_2_lastlayer.csv": 0.7065,
    "porian_rw_3_warmup.csv": 0.6020,
    "porian_rw_4_cosine.csv": 0.5715,
    "porian_rw_5_tuned.csv": 0.4969,
}


def test_the_five_steps_from_kaplan_to_chinchilla_have_porians_exponents_in_falling_order():
    found = [fit(published(name), IsoFLOP()).law.num_params.exponent for name in PORIAN]
    assert found == pytest.approx(list(PORIAN.values()), abs=0.03)
    assert found == sorted(found, reverse=True)


def test_xlstm_llama_has_the_published_power_laws_to_four_digits():
    law = fit(published("xlstm_llama_ctx8192.csv"), IsoFLOP(window=None)).law
    assert law.num_params.exponent == pytest.approx(0.574909, abs=5e-6)
    assert law.num_params.coefficient == pytest.approx(0.002281, rel=3e-4)
    assert law.num_tokens.exponent == pytest.approx(0.424271, abs=5e-6)
    assert law.num_tokens.coefficient == pytest.approx(58.460, rel=3e-4)


def test_gemstones_has_the_published_surface_to_three_digits():
    law = fit(published("gemstones_hot.csv"), Parametric(delta=1e-3)).law
    assert (law.E, law.alpha, law.beta) == pytest.approx((2.14312, 0.2928687, 0.7128722), rel=5e-4)


def test_marins_own_optimal_runs_are_predicted_within_1_2_percent():
    law = fit(published("marin_comma.csv"), Parametric(delta=1e-3)).law
    for run in published("marin_comma_validation_optimal.csv"):
        if 6e18 <= run.budget <= 1e20:
            assert law.loss(run.num_params, run.num_tokens) == pytest.approx(run.loss, rel=0.012)


def test_gadres_largest_run_is_predicted_within_3_percent_from_runs_below_1e20():
    runs = published("gadre_rpj.csv")
    law = fit([run for run in runs if run.flops < 1e20], Parametric(delta=1e-3)).law
    largest = max(runs, key=lambda run: run.num_params)
    assert largest.num_params > 6e9
    assert law.loss(largest.num_params, largest.num_tokens) == pytest.approx(largest.loss, rel=0.03)


@pytest.mark.parametrize("delta", [None, math.inf])
def test_cs336s_noise_free_law_is_recovered_exactly(delta):
    found = fit(published("cs336_isoflops.csv"), Parametric(delta=delta))
    law = found.law
    assert (law.E, law.alpha, law.beta) == pytest.approx((2.69, 0.34, 0.36), rel=1e-6)
    assert (law.A, law.B) == pytest.approx((1606.4, 3210.7), rel=1e-5)  # noqa: SIM300
    best = predict(found, flops=1e23)
    assert best.num_params.value == pytest.approx(9.189e10, rel=1e-3)
    assert best.num_tokens.value == pytest.approx(1.814e11, rel=1e-3)

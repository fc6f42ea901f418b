import math
import re

import numpy as np
import pytest

import isoflop
from isoflop.answers.possible import EXACT_NOTE
from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.laws.cost import counted_cost, interpolated_cost
from known_law import LAW, a_wide_sweep


@pytest.fixture(scope="module")
def exact():
    return fit(a_wide_sweep(), Parametric(), resamples=50)


@pytest.fixture(scope="module")
def noisy():
    return fit(a_wide_sweep(noise=0.005), Parametric(), resamples=200)


def test_a_noise_free_sweep_predicts_the_true_optimum_with_no_doubt(exact):
    best = predict(exact, flops=1e22)
    N, D = LAW.optimum(1e22)
    assert best.num_params.value == pytest.approx(N, rel=1e-4)
    assert best.num_tokens.value == pytest.approx(D, rel=1e-4)
    assert best.loss.value == pytest.approx(LAW.loss(N, D), rel=1e-6)
    assert best.regret.value < 1e-6
    assert best.extrapolation == pytest.approx(1.0)
    assert best.notes == (EXACT_NOTE,)


def test_noise_gives_intervals_around_the_values_that_widen_with_the_distance(noisy):
    near, far = predict(noisy, flops=1e21), predict(noisy, flops=1e24)
    for estimate in (near.num_params, near.num_tokens, near.loss, near.regret):
        assert estimate.low <= estimate.value <= estimate.high
    assert far.num_params.high / far.num_params.low > near.num_params.high / near.num_params.low
    assert far.regret.value > near.regret.value
    assert near.extrapolation == 0


def test_expected_waste_is_half_the_exponents_times_the_variance_of_the_log_size(noisy):
    best = predict(noisy, flops=1e22)
    spread = np.var(np.log(noisy.resamples.optimum(1e22)[0]))
    assert best.regret.value == pytest.approx(0.5 * 0.72 * spread, rel=0.3)


@pytest.mark.parametrize("approach", [Parametric(), IsoFLOP()])
def test_the_ends_of_the_band_cost_one_percent_more_compute(approach):
    best = predict(fit(a_wide_sweep(), approach, resamples=50), flops=1e21)
    goal = LAW.optimal_loss(1e21)
    for end in best.band:
        assert LAW.loss(end, 1.01e21 / (6 * end)) == pytest.approx(goal, rel=3e-4)
    assert best.band[0] < best.num_params.value < best.band[1]


def test_a_level_of_half_gives_narrower_intervals():
    wide, narrow = (
        predict(fit(a_wide_sweep(noise=0.01), resamples=200, level=level), flops=1e22).num_params
        for level in (0.9, 0.5)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("approach", [Parametric(), IsoFLOP()])
@pytest.mark.parametrize("question", ["num_params", "num_tokens", "loss"])
def test_the_inverse_questions_lead_back_to_the_same_compute(approach, question):
    found = fit(a_wide_sweep(), approach, resamples=20)
    best = predict(found, flops=3e21)
    assert predict(found, **{question: getattr(best, question).value}).flops == pytest.approx(
        3e21, rel=1e-6
    )


def test_the_answer_to_an_inverse_question_has_intervals_on_what_was_not_given(noisy):
    given_size = predict(noisy, num_params=1e10)
    assert given_size.num_params.high / given_size.num_params.low == pytest.approx(1, abs=1e-6)
    assert given_size.num_tokens.low < given_size.num_tokens.value < given_size.num_tokens.high
    assert (
        given_size.flops_needed.low
        < given_size.flops
        == given_size.flops_needed.value
        < given_size.flops_needed.high
    )
    assert str(given_size).splitlines()[1].startswith("  FLOPs")
    assert predict(noisy, flops=1e22).flops_needed is None


def test_resamples_that_never_reach_a_loss_are_counted(noisy):
    nearly = float(noisy.law.E) + 0.003
    best = predict(noisy, loss=nearly)
    assert any(
        "of the resamples never reach it; the intervals are of the others" in note
        for note in best.notes
    )


def test_a_loss_below_the_irreducible_one_is_refused(exact):
    with pytest.raises(DataError, match=r"no compute gives loss 1\.70; the law goes from 1\.80 to"):
        predict(exact, loss=1.7)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "one question at a time .* but got none"),
        ({"flops": 1e20, "loss": 2.0}, "one question at a time .* but got flops and loss"),
        ({"flops": -1.0}, "flops must be above 0 and finite, but got -1"),
        ({"num_params": math.inf}, "num_params must be above 0 and finite, but got inf"),
    ],
)
def test_predict_wants_exactly_one_possible_question(exact, question, message):
    with pytest.raises(DataError, match=message):
        predict(exact, **question)


def test_a_far_target_is_answered_with_a_note(exact):
    assert predict(exact, flops=1e23).notes == (
        "The target is 100 times the largest run (1e+21 FLOPs); beyond 30 times, published laws have often failed.",
        EXACT_NOTE,
    )


def test_flops_that_the_runs_count_dearer_than_6nd_are_the_ones_that_are_spent():
    found = fit(a_wide_sweep(dearer=lambda N: 1.3), Parametric(), resamples=20)
    best = predict(found, flops=1e22)
    assert 6 * 1.3 * best.num_params.value * best.num_tokens.value == pytest.approx(1e22, rel=1e-3)
    assert any(
        "FLOPs are counted as the runs record them, 1.3 times 6ND" in note for note in best.notes
    )


def test_a_cost_between_sizes_is_interpolated_and_beyond_them_its_ratio_is_held():
    cost = interpolated_cost([1e9, 1e7], [6e9, 12e7])
    assert cost(np.array([1e7, 1e9, 1e10])) == pytest.approx([12e7, 6e9, 6e10])
    assert cost(np.array(1e8)) == pytest.approx(6e8 * math.sqrt(2))


def widths(*sizes, unit="byte", **fields):
    """Widths d with 100 d^2 params, 20 % dearer than 6N."""
    return isoflop.Family(list(sizes), cost=lambda d: (100 * d**2, 720 * d**2), unit=unit, **fields)


def test_with_a_family_the_answer_is_one_of_its_sizes_and_spends_its_flops(exact):
    family = widths(*range(1000, 100_000, 20), loss_unit="nats/byte", bytes_per_token=1.0)
    best = predict(exact, flops=1e22, task=family)
    assert best.size_num_params == 100 * best.size**2
    assert best.size_num_params == pytest.approx(best.num_params.value, rel=1e-2)
    assert best.size_num_tokens * 7.2 * best.size_num_params == pytest.approx(1e22)
    assert best.num_tokens.value * 7.2 * best.num_params.value == pytest.approx(1e22, rel=1e-6)
    assert best.unit == "byte"
    assert f"size to build    {best.size}" in str(best)


def test_a_best_size_that_cannot_be_built_is_told_with_what_the_nearest_wastes(exact):
    every = widths(*range(1000, 100_000, 20))
    best = predict(exact, flops=1e22, task=every).num_params.value
    half = round(math.sqrt(best / 200))
    task = widths(half, 10 * half)

    (note,) = (
        note
        for note in predict(exact, flops=1e22, task=task).notes
        if note.startswith("The nearest size")
    )

    assert f"{half}, has" in note
    wasted = float(re.search(r"0.50 times the best, and wastes ([\d.]+) % of the compute", note)[1])
    assert (
        15 < wasted < 22
    )  # half the size costs 21 % more compute by the law of Chinchilla: 17 % of it


def test_with_a_family_serving_is_paid_by_the_flops_of_the_size_that_is_built(exact):
    task = widths(*range(1000, 100_000, 20))
    best = predict(exact, flops=1e22, served_tokens=1e12, task=task)
    assert 7.2 * best.size_num_params * (best.size_num_tokens + 1e12 / 3) == pytest.approx(1e22)
    assert best.serving.serving.value == pytest.approx(2.4 * best.num_params.value * 1e12, rel=1e-6)


def test_the_loss_of_text_is_told_in_bits_per_byte_too(exact):
    task = widths(*range(1000, 100_000, 20), loss_unit="nats/token", bytes_per_token=4.2)
    best = predict(exact, flops=1e22, task=task)
    bits = best.bits_per_byte
    assert bits.value == pytest.approx(best.loss.value / (4.2 * math.log(2)))
    assert bits.high == pytest.approx(best.loss.high / (4.2 * math.log(2)))
    rows = {line[2:].split("  ")[0]: line.split()[-3] for line in str(best).splitlines()[1:]}
    assert rows["bits/byte"] == f"{bits.low:.4f}"
    assert "loss, nats/token" in rows
    assert best.to_frame()["bits_per_byte"][0] == bits.value
    assert predict(exact, flops=1e22).bits_per_byte is None


def test_an_optimum_prints_as_a_table_to_act_on(noisy):
    lines = str(predict(noisy, flops=1e23)).splitlines()
    assert lines[0] == "Compute-optimal at 1e+23 FLOPs (90 % intervals)"
    assert [line.split("  ")[1] for line in lines[1:7]] == [
        "params",
        "tokens",
        "loss",
        "near-optimal",
        "expected waste",
        "extrapolation",
    ]
    assert lines[7].startswith(
        "  held-out check: budget 1e+21 (10x beyond the rest): params off by"
    )
    assert lines[8].startswith("  - ")


def test_beyond_the_sizes_that_were_counted_a_token_costs_more_as_the_runs_do():
    runs = a_wide_sweep(dearer=lambda N: 1.5 * N**-0.1)
    sizes = np.array([1e9, 2e9])
    cost = counted_cost(sizes, 10 * sizes**0.9, runs)
    low, high = (end(run.num_params for run in runs) for end in (min, max))
    assert low < 1e9 < 2e9 < high
    for N in (low, *sizes, high):
        assert float(cost(np.array(N))) == pytest.approx(10 * N**0.9, rel=1e-6)
    assert float(cost(np.array(2 * high))) == pytest.approx(2 * float(cost(np.array(high))))


def test_runs_at_6ND_tell_nothing_beyond_the_sizes_that_were_counted():
    cost = counted_cost([1e9, 2e9], [7e9, 14e9], a_wide_sweep())
    assert float(cost(np.array(1e8))) == pytest.approx(7e8)

"""Reasons to doubt: each is given where it holds, and clean sweeps are left alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.display.format import format_flops
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.lines import loss_law, power_law
from isoflop.fitting.approaches.parametric import Parametric, single_law
from isoflop.fitting.doubt.breaks import breaks
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.fitting.screening.screen import screen
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.other_laws import KaplanLaw

BUDGETS = np.geomspace(1e18, 1e21, 5)
FINE = np.geomspace(1e17, 1e21, 7)


def changed(runs, change):
    return [a_run(r.num_params, r.num_tokens, r.loss * change(r), budget=r.budget) for r in runs]


def notes_of(runs, approach=None):
    return fit(runs, approach or Parametric(), resamples=100).notes


def told(notes, start):
    return any(note.startswith(start) for note in notes)


def test_clean_sweeps_are_seldom_doubted():
    doubted = sum(
        bool(notes_of(a_sweep(budgets=BUDGETS, sizes=8, noise=0.003, seed=seed)))
        for seed in range(40)
    )
    assert doubted <= 6


def test_a_parametric_fit_says_too_which_budget_is_not_bracketed():
    runs = [
        r
        for r in a_sweep(budgets=BUDGETS)
        if r.budget < 1e21 or r.num_params < LAW.optimum(1e21)[0]
    ]
    assert told(notes_of(runs), "Budget 1e+21 has its lowest loss at the largest size")


def test_a_budget_that_noise_hides_is_called_flat():
    runs = a_sweep(budgets=BUDGETS, sizes=8, reach=2, noise=0.02, seed=1)
    assert any(
        "is flat: its curve rises by less than twice the scatter" in note for note in notes_of(runs)
    )


def test_misfit_that_neighbours_share_is_told_from_noise():
    wavy = changed(
        a_sweep(budgets=BUDGETS, sizes=10), lambda r: 1 + 0.01 * np.sin(2 * np.log(r.num_params))
    )
    assert told(notes_of(wavy), "Neighbouring runs miss the law in the same direction")


def test_one_run_with_much_leverage_is_named():
    far = a_run(2e10, 1e9, float(LAW.loss(2e10, 1e9)) * 1.04)
    notes = notes_of(
        [*a_sweep(budgets=(1e18, 3e18, 1e19), noise=0.003), far], Parametric(delta=math.inf)
    )
    assert told(
        notes,
        "One run moves the answer by itself: without 20.0B params on 1.00B tokens the best size at",
    )


def test_a_law_that_changes_with_scale_is_told():
    def tilt(run):
        return 1 + 0.04 * np.log(run.num_params / LAW.optimum(run.budget)[0]) * (run.budget < 2e17)

    runs = changed(a_sweep(budgets=np.geomspace(1e16, 1e21, 7), noise=0.001), tilt)
    assert told(notes_of(runs), "The law changes with scale: from the budgets of")


def a_broken_sweep(small, large, at, *, seed=0):
    """Runs of one law below a budget and of another from there on."""
    sides = [a_sweep(law, FINE, sizes=8, noise=0.003, seed=seed) for law in (small, large)]
    return [one if one.budget < at else other for one, other in zip(*sides, strict=True)]


def breaks_of(runs, approach=None):
    points = screen(runs).points
    return [*breaks(points, single_law(points, (approach or Parametric()).solve(points)))]


@pytest.mark.parametrize("approach", [Parametric(), Kriging(), IsoFLOP()])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_the_budget_at_which_losses_jump_is_named_whatever_the_approach(number, approach):
    raised = ChinchillaLaw(1.8 * 1.03, 480.0 * 1.03, 2100.0 * 1.03, 0.35, 0.37)
    (note,) = breaks_of(a_broken_sweep(LAW, raised, FINE[number]), approach)
    assert note.startswith(
        f"The law breaks at the budget {format_flops(FINE[number])}: the runs from there on follow"
    )


def test_the_budget_from_which_on_size_counts_more_is_named_in_the_notes():
    steeper = ChinchillaLaw(1.8, 480.0 * 1e9**0.08, 2100.0, 0.43, 0.37)
    assert told(
        notes_of(a_broken_sweep(LAW, steeper, FINE[3])), "The law breaks at the budget 1e+19"
    )


def jittered(random):
    return changed(a_sweep(budgets=FINE, sizes=8), lambda r: np.exp(0.003 * random.standard_t(3)))


def noisier_when_small(random):
    return changed(
        a_sweep(budgets=FINE, sizes=8),
        lambda r: np.exp(0.003 * (1e19 / r.budget) ** 0.25 * random.standard_normal()),
    )


def with_bad_runs(random):
    runs = a_sweep(budgets=FINE, sizes=8, noise=0.003, seed=int(random.integers(1000)))
    return changed(runs, lambda r: 1 + 0.05 * (random.random() < 0.06))


def of_another_law(random):
    law = KaplanLaw(6.4e13, 1.8e13, 0.076, 0.103)
    return a_sweep(law, FINE, sizes=8, noise=0.003, seed=int(random.integers(1000)))


def few_of_them(random):
    budgets = np.geomspace(1e18, 1e20, 4)
    return a_sweep(budgets=budgets, sizes=6, noise=0.005, seed=int(random.integers(1000)))


@pytest.mark.parametrize(
    "made", [jittered, noisier_when_small, with_bad_runs, of_another_law, few_of_them]
)
def test_sweeps_without_a_break_are_told_none(made):
    random = np.random.default_rng(0)
    assert not any(breaks_of(made(random)) for _ in range(60))


def test_noise_free_runs_have_no_break():
    with np.errstate(all="ignore"):
        assert not breaks_of(a_sweep(budgets=FINE, sizes=8))


def test_approaches_that_differ_by_more_than_their_intervals_are_told():
    runs = a_sweep(budgets=BUDGETS, sizes=12, reach=16, noise=0.001)
    bent = changed(runs, lambda r: 1.04 if r.num_params < LAW.optimum(r.budget)[0] / 4.5 else 1.0)
    assert told(notes_of(bent, Parametric(delta=math.inf)), "Approach 2 puts the best size at")


def test_an_undetermined_irreducible_loss_is_told():
    assert told(
        notes_of(a_sweep(budgets=(1e16, 3e16, 1e17), noise=0.02, seed=2)),
        "The irreducible loss is hardly determined",
    )


def test_an_undetermined_irreducible_loss_is_told_of_small_losses_too():
    runs = a_sweep(budgets=(1e16, 3e16, 1e17), noise=0.02, seed=2)
    small = [replace(run, loss=1e-3 * run.loss) for run in runs]
    lowest = min(run.loss for run in small)
    assert any(f"while the lowest loss is {lowest:.5f})" in note for note in notes_of(small))


def test_an_exponent_above_one_is_told():
    steep = ChinchillaLaw(1.8, 3e9, 2100.0, 1.3, 0.37)
    assert told(notes_of(a_sweep(steep)), "alpha is 1.30, above 1")


def test_a_frontier_whose_best_size_shrinks_with_compute_is_told():
    def loss(N, budget):
        return (
            2
            + 0.05 * np.log(N / (1e9 * (1e18 / budget) ** 0.2)) ** 2
            - 0.01 * np.log(budget / 1e18)
        )

    runs = [
        a_run(N, C / (6 * N), float(loss(N, C)), budget=C)
        for C in (1e18, 1e19, 1e20)
        for N in np.geomspace(1e8, 4e9, 9)
    ]
    assert told(
        notes_of(runs, IsoFLOP()),
        "The best number of params grows with FLOPs to the power -0.20, outside (0, 1)",
    )


def test_power_laws_skip_what_a_resample_lacks_and_are_nan_with_one_point():
    log_C = np.log([1e18, 1e19, 1e20])
    usable = np.array([[True, True, True], [True, False, True], [False, True, False]])
    law = power_law(log_C, np.where(usable, 0.5 * log_C, np.nan), usable)
    assert law.exponent[:2] == pytest.approx([0.5, 0.5])
    assert np.isnan(law.exponent[2])


def test_the_loss_of_the_optimum_has_an_offset_where_budgets_determine_it():
    log_C = np.log(np.geomspace(1e18, 1e22, 6))
    loss = 1.8 + 60 * np.exp(-0.1 * log_C)
    law = loss_law(log_C, loss[None], np.ones((1, 6), dtype=bool))
    assert law(1e24)[0] == pytest.approx(1.8 + 60 * 1e24**-0.1, rel=2e-3)
    assert loss_law(log_C[:3], loss[None, :3], np.ones((1, 3), dtype=bool)).offset == 0

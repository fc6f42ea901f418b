"""Runs that cannot be trusted are found, and no others."""

import math
from dataclasses import replace

import numpy as np
import pytest

import isoflop
from isoflop.fitting.screening.collapse import curve_distance
from isoflop.fitting.screening.validity import invalid
from isoflop.reporting.figures.collapse import collapsed

SIZES = np.geomspace(1e6, 1e8, 7)


def loss_of(num_params, num_tokens):
    return 1.7 + 480 * num_params**-0.35 + 2100 * num_tokens**-0.37


def run_of(num_params, budget, seed, noise=0.003):
    """A run whose curve falls with the tokens seen, and faster while its rate decays."""
    num_tokens = budget / (6 * num_params)
    share = np.linspace(0.01, 1, 100)
    draw = np.random.default_rng([seed, round(num_params), round(math.log(budget) * 1e6)])
    held_back = 0.06 * (num_params / 1e7) ** 0.1 * (1 - share) ** 1.4
    scale = np.exp(noise * draw.normal())
    losses = (
        scale
        * loss_of(num_params, num_tokens * share)
        * (1 + held_back)
        * np.exp(5 * noise * draw.normal(size=100))
    )
    spec = isoflop.RunSpec(
        num_params=num_params, num_tokens=num_tokens, flops=budget, budget=budget, lr=1e-3, batch=8,
        tokens_per_example=64, seed=seed,
    )  # fmt: skip
    return isoflop.Run(
        spec=spec, status="completed", loss=float(scale * loss_of(num_params, num_tokens)), num_tokens=num_tokens,
        flops=budget, curve=tuple(zip((num_tokens * share).tolist(), losses.tolist(), strict=True)),
    )  # fmt: skip


def sweep(seed=0):
    return [run_of(float(size), budget, seed) for budget in (1e17, 3e17, 1e18) for size in SIZES]


def changed(runs, index, **changes):
    return [replace(run, **changes) if k == index else run for k, run in enumerate(runs)]


def test_clean_sweeps_raise_no_alarm():
    assert [dict(invalid(sweep(seed))) for seed in range(40)] == [{}] * 40


def test_a_run_short_of_its_tokens_is_found():
    run = sweep()[3]
    short = replace(run, num_tokens=0.6 * run.num_tokens)
    assert invalid([short])[run.id].startswith("it trained ")
    batch = run.spec.batch * run.spec.tokens_per_example
    assert invalid([replace(run, num_tokens=run.num_tokens - batch)]) == {}


def test_a_run_whose_curve_stops_at_60_percent_of_the_tokens_it_claims_is_found():
    runs = sweep()
    stopped = changed(runs, 9, curve=runs[9].curve[:60])
    assert invalid(stopped) == {
        runs[9].id: "its training curve ends at 60 % of its tokens, so its schedule did not end"
    }


def test_a_curve_that_was_logged_seldom_is_no_reason():
    runs = sweep()
    assert invalid([replace(run, curve=run.curve[:90:20]) for run in runs]) == {}


def test_a_standard_error_that_is_no_number_is_unknown():
    assert invalid(changed(sweep(), 4, loss_stderr=math.nan)) == {}


def test_a_curve_with_a_hole_in_its_numbers_is_found():
    runs = sweep()
    points = list(runs[2].curve)
    points[50] = (points[50][0], math.nan)
    assert (
        invalid(changed(runs, 2, curve=tuple(points)))[runs[2].id]
        == "its training curve is not finite"
    )


@pytest.mark.parametrize("index", [0, 6, 10, 14, 20])
def test_a_spike_at_the_end_is_found(index):
    runs = sweep()
    points = [
        (tokens, loss * (1.15 if k >= 96 else 1))
        for k, (tokens, loss) in enumerate(runs[index].curve)
    ]
    spiked = changed(runs, index, curve=tuple(points), loss=runs[index].loss * 1.15)
    found = invalid(spiked)
    assert list(found) == [runs[index].id]
    assert "standard deviations from the others' shape, and its loss" in found[runs[index].id]


def test_a_beaten_learning_rate_is_found_and_one_as_good_is_kept():
    runs = sweep()
    run = runs[4]
    slow, same = (
        replace(run, spec=replace(run.spec, lr=lr), loss=run.loss * worse, curve=())
        for lr, worse in ((1e-4, 1.05), (2e-3, 1.004))
    )
    assert invalid([*runs, slow, same]) == {
        slow.id: "another learning rate did better at the same size and tokens"
    }


def bent(run, by=0.12):
    """The same run with a curve of another shape, and the same loss at its end."""
    share = np.array([tokens for tokens, _ in run.curve]) / run.num_tokens
    losses = np.array([loss for _, loss in run.curve]) * (1 + by * (1 - share) * (share < 0.8))
    return replace(
        run, curve=tuple(zip((share * run.num_tokens).tolist(), losses.tolist(), strict=True))
    )


def worse(run, by=0.03):
    """The same run with a curve of another shape, and a higher loss at its end."""
    run = bent(run)
    curve = tuple((tokens, loss * (1 + by)) for tokens, loss in run.curve)
    return replace(run, curve=curve, loss=run.loss * (1 + by))


def is_set_aside(runs, index, run):
    return bool(invalid([*runs[:index], run, *runs[index + 1 :]]))


def test_a_shape_of_its_own_speaks_against_no_run_among_the_best_of_its_budget():
    runs = sweep()
    by_loss = sorted(range(7, 14), key=lambda k: runs[k].loss)
    set_aside = [is_set_aside(runs, k, worse(runs[k], 0.003)) for k in by_loss]
    assert set_aside[:3] == [False] * 3
    set_aside = [is_set_aside(runs, k, worse(runs[k])) for k in by_loss]
    assert set_aside[3:] == [True] * 4
    free = [replace(run, spec=replace(run.spec, budget=None)) for run in runs]
    assert not is_set_aside(free, by_loss[0], worse(free[by_loss[0]], 0.003))
    assert is_set_aside(free, by_loss[-1], worse(free[by_loss[-1]]))


def test_a_shape_of_its_own_speaks_against_no_run_whose_loss_is_that_of_the_others():
    runs = sweep()
    for k in range(7, 14):
        assert not is_set_aside(runs, k, worse(runs[k], -0.003))


def test_a_shape_is_only_as_strange_as_seeds_of_one_run_differ():
    runs = sweep()
    seeds = [run_of(runs[3].num_params, 1e17, seed) for seed in range(1, 5)]
    unsteady = [bent(run, by) for run, by in zip(seeds, (-0.12, -0.06, 0.06, 0.12), strict=True)]
    spoilt = worse(runs[6])
    bad = changed(runs, 6, curve=spoilt.curve, loss=spoilt.loss)
    assert list(invalid([*bad, *seeds])) == [runs[6].id]
    assert curve_distance([*bad, *unsteady])[6] < 2.5
    assert invalid([*bad, *unsteady]) == {}


def test_what_the_answer_would_be_with_the_runs_set_aside_is_told_and_they_can_be_kept():
    runs = sweep()
    spoilt = changed(runs, 20, loss=runs[20].loss * 1.15, curve=bent(runs[20]).curve)
    found, kept = (
        isoflop.fit(spoilt, isoflop.Parametric(), resamples=20, keep=keep)
        for keep in ("sound", "all")
    )
    sizes = [isoflop.predict(each, flops=1e20).num_params.value for each in (found, kept)]
    assert [item.run.id for item in found.set_aside] == [runs[20].id]
    (note,) = [
        note for note in isoflop.predict(found, flops=1e20).notes if "set aside for how" in note
    ]
    assert note == (
        f"With the run set aside for how it was trained, the best size at 1e+20 FLOPs would be "
        f'{isoflop.display.format.format_replacement(*sizes[::-1])}; fit(..., keep="all") uses it.'
    )
    assert not kept.set_aside
    assert len(kept.runs) == len(runs)
    with pytest.raises(isoflop.DataError, match="keep must be 'sound' or 'all', but got 'none'"):
        isoflop.fit(runs, keep="none")


def test_the_page_names_the_runs_that_the_fit_sets_aside():
    runs = sweep()
    spoilt = changed(runs, 20, loss=runs[20].loss * 1.15, curve=bent(runs[20]).curve)
    found = isoflop.fit(spoilt, isoflop.Parametric(), resamples=20)
    strange = collapsed(spoilt).strange
    assert [spoilt[row].id for row in np.flatnonzero(strange)] == [
        item.run.id for item in found.set_aside
    ]


def test_curves_of_few_runs_or_other_schedules_are_not_compared():
    runs = sweep()
    assert not curve_distance(runs[:7]).any()
    kinds = [
        replace(run, spec=replace(run.spec, schedule=f"kind {k % 4}")) for k, run in enumerate(runs)
    ]
    assert not curve_distance(kinds).any()
    assert curve_distance([replace(run, curve=()) for run in runs]).tolist() == [0.0] * len(runs)


def test_a_fit_sets_them_aside_with_the_reason():
    runs = sweep()
    fit = isoflop.fit(
        changed(runs, 9, curve=runs[9].curve[:60]), isoflop.Parametric(), resamples=20
    )
    assert [(aside.run.id, aside.reason) for aside in fit.set_aside] == [
        (runs[9].id, "its training curve ends at 60 % of its tokens, so its schedule did not end")
    ]
    assert any("1 run set aside (its training curve ends" in note for note in fit.notes)

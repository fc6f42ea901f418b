"""What a check of the batches shows, and what it does to a fit, from losses of a known law."""

import math
from dataclasses import replace

import numpy as np
import pytest

import isoflop
from isoflop import Run, RunSpec
from isoflop.fitting.checked_batches import find_batches
from isoflop.fitting.checked_rates import find_rates
from isoflop.runs import TrainedRuns

LAW = isoflop.ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
CURVATURE, NOISE = 0.02, 0.002
SMALL, LARGE, LENGTH = 1e7, 4e7, 5e8
"""Params and tokens of the check, as of a plan's: its larger size is trained on fewer per param."""
BUDGETS = (1e18, 3e18, 1e19, 3e19)
FOUND, LEFT_ALONE = 0.9, 0.1
LR, TOKENS = 0.01, 1024


def best(num_tokens):
    """Examples in the best batch."""
    return 0.02 * num_tokens**0.5


def times(factor):
    """A rule that is so many times off."""
    return lambda num_tokens: factor * best(num_tokens)


def fixed(num_tokens):
    """A batch that is right in the check, and ever smaller than the best one in longer runs."""
    return best(LENGTH)


def a_run(N, D, planned, random, factor=1.0, budget=None, lr=LR, seed=0, **checked):
    """A run whose batch is `factor` times the planned one, with the rate that goes with it."""
    batch = max(1, round(factor * round(planned(D))))
    off = math.log(batch / best(D))
    loss = LAW.loss(N, D) * math.exp(CURVATURE / 2 * off**2 + NOISE * random.standard_normal())
    if factor != 1:
        lr, checked["checked_batch"] = lr * factor**0.5, round(planned(D))
    spec = RunSpec(
        num_params=N, num_tokens=D, flops=6 * N * D, budget=budget, lr=lr, size=N, batch=batch,
        tokens_per_example=TOKENS, seed=seed, fingerprint="task", **checked,
    )  # fmt: skip
    return Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=6 * N * D)


def checks(planned, seed=0, factors=(0.5, 1, 2)):
    random = np.random.default_rng(seed)
    sizes = [(N, LENGTH) for N in (SMALL, LARGE)]
    batches = [
        a_run(N, D, planned, random, factor, seed=k, checked_lr=LR)
        for N, D in sizes
        for factor in factors
        for k in range(2)
    ]
    rates = [
        a_run(N, D, planned, random, lr=factor * LR, seed=k, checked_lr=LR)
        for N, D in sizes
        for factor in (0.5, 2)
        for k in range(2)
    ]
    return [*batches, *rates]


def sweep(planned, seed=1):
    random = np.random.default_rng(seed)
    return [
        a_run(N, C / (6 * N), planned, random, budget=C)
        for C in BUDGETS
        for N in LAW.optimum(C)[0] * np.geomspace(1 / 4, 4, 7)
    ]


def specs(planned):
    return [run.spec for run in sweep(planned)]


def verdicts(planned, **options):
    own = specs(planned)
    found = [find_batches(checks(planned, seed, **options), own) for seed in range(40)]
    return [one.verdict for one in found]


def share(found, verdict):
    return np.mean([one == verdict for one in found])


def test_a_right_rule_is_left_alone():
    found = verdicts(times(1))
    assert share(found, "wrong") <= LEFT_ALONE
    assert share(found, "holds") >= FOUND


@pytest.mark.parametrize(("factor", "words"), [(6, "too large"), (1 / 6, "too small")])
def test_a_wrong_rule_is_found(factor, words):
    assert share(verdicts(times(factor)), "wrong") >= FOUND
    note = find_batches(checks(times(factor)), specs(times(factor))).note
    assert note.code == "batches-wrong"
    assert f"times {words}, which costs" in note
    assert "isoflop.tune(batch=True)" in note
    assert ("smaller batches take longer" in note) == (factor > 1)
    batch = round(times(factor)(LENGTH))
    other = round(batch / 2 if factor > 1 else batch * 2)
    assert f"batch of {other} in place of {batch} lowers the loss at size {SMALL}" in note.replace(
        "A batch", "batch"
    )


def test_a_batch_that_does_not_grow_with_the_tokens_is_too_small_for_the_longest_runs():
    assert share(verdicts(fixed), "holds") <= LEFT_ALONE
    found = find_batches(checks(fixed), specs(fixed))
    assert "times too small" in found.note
    checked = a_run(LARGE, LENGTH, fixed, np.random.default_rng(0)).spec
    assert found.mean_lost(checked) < 0.002
    assert found.lost[0] > 0.01


def test_where_the_loss_begins_to_rise_is_not_where_it_is_lowest():
    found = find_batches(checks(times(6), factors=(1, 2)), specs(times(6)))
    assert found.verdict == "holds"
    assert "half of it is fewer examples than the recipe allows" in found.note
    assert share(verdicts(times(1 / 6), factors=(1, 2)), "wrong") >= FOUND


def test_losses_that_batches_do_not_move_beyond_noise_leave_the_check_open():
    random = np.random.default_rng(0)
    flat = [
        replace(run, loss=3.0 * math.exp(0.05 * random.standard_normal()))
        for run in checks(times(1))
    ]
    assert find_batches(flat, specs(times(1)), noise=0.05).verdict == "open"


def test_batches_are_not_taken_for_rates_nor_rates_for_batches():
    runs = checks(times(6))
    of_rates = [run for run in runs if run.spec.checked_batch is None]
    assert find_rates(runs, LARGE).offsets.offset(LARGE) == find_rates(
        of_rates, LARGE
    ).offsets.offset(LARGE)
    assert find_batches(of_rates, specs(times(6))) is None


def test_checks_of_other_lengths_add_to_what_one_shows():
    random = np.random.default_rng(5)
    longer = [
        a_run(N, 4 * LENGTH, times(1), random, factor, seed=k, checked_lr=LR)
        for N in (SMALL, LARGE)
        for factor in (0.5, 1, 2)
        for k in range(2)
    ]
    own = specs(times(1))
    alone, both = (
        find_batches(runs, own) for runs in (checks(times(1)), checks(times(1)) + longer)
    )
    assert len(both.sizes) == 2 * len(alone.sizes)
    assert both.lost[1] < alone.lost[1]


def test_runs_that_diverged_or_failed_show_nothing_of_batches():
    runs, own = checks(times(1)), specs(times(1))
    for status in ("failed", "diverged"):
        lost = [replace(run, status=status, loss=math.nan) for run in runs]
        assert find_batches(lost, own) is None
    assert find_batches([], own) is None
    assert find_batches(runs, [replace(spec, batch=None) for spec in own]) is None


def test_a_wrong_rule_widens_the_answer_and_corrects_no_loss():
    runs = sweep(fixed)
    plain = isoflop.predict(isoflop.fit(runs), flops=1e21)
    fit = isoflop.fit(TrainedRuns(runs, checks(fixed)))
    answer = isoflop.predict(fit, flops=1e21)

    def width(one):
        return math.log(one.num_params.high / one.num_params.low)

    codes = {note.code for note in answer.notes}
    assert {"batches-wrong", "batches-widened", "rates-holds"} <= codes
    assert answer.num_params.value == plain.num_params.value
    assert width(answer) > width(plain)
    assert "batches-holds" in {
        note.code for note in isoflop.fit(TrainedRuns(sweep(times(1)), checks(times(1)))).notes
    }

"""What a check of the learning rates shows, and what it does to a fit, from losses of a known law."""

import math
from dataclasses import replace

import numpy as np
import pytest

import isoflop
from isoflop import Run, RunSpec
from isoflop.fitting.checked_rates import find_rates
from isoflop.runs import TrainedRuns

LAW = isoflop.ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
CURVATURE, NOISE = 0.04, 0.002
SMALL, LARGE, TOP = 1e7, 1e8, 1e9
BUDGETS = (1e18, 3e18, 1e19, 3e19)
FOUND, LEFT_ALONE = 0.9, 0.1


def rate(num_params):
    return 0.3 * num_params**-0.31


def a_run(N, D, lr, best, random, budget=None, checked_lr=None, seed=0):
    off = math.log(lr / best(N))
    loss = LAW.loss(N, D) * math.exp(CURVATURE / 2 * off**2 + NOISE * random.standard_normal())
    spec = RunSpec(
        num_params=N, num_tokens=D, flops=6 * N * D, budget=budget, lr=lr, size=N,
        checked_lr=checked_lr, seed=seed, fingerprint="task",
    )  # fmt: skip
    return Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=6 * N * D)


def checks(planned, best, seed=0, large=1):
    random = np.random.default_rng(seed)
    return [
        a_run(N, 5 * N, planned(N) * factor, best, random, checked_lr=planned(N), seed=k)
        for N, seeds in ((SMALL, 3), (LARGE, large))
        for factor in (0.5, 1, 2)
        for k in range(seeds)
    ]


def too_high(num_params, times=4):
    """The right rate at the smallest size, and so many times it at TOP."""
    return rate(num_params) * times ** (math.log(num_params / SMALL) / math.log(TOP / SMALL))


def far_too_high(num_params):
    return too_high(num_params, times=10)


def verdicts(planned, best=rate):
    found = [find_rates(checks(planned, best, seed), TOP) for seed in range(60)]
    return [one.verdict for one in found]


def test_a_wrong_rule_is_found_and_a_right_one_left_alone():
    assert np.mean([one == "wrong" for one in verdicts(too_high)]) >= FOUND
    assert np.mean([one == "wrong" for one in verdicts(rate)]) <= LEFT_ALONE


@pytest.mark.parametrize(("off", "expected"), [(2.2, "holds"), (4.0, "wrong")])
def test_a_rate_that_is_wrong_at_the_small_size_alone_counts_where_it_is_grossly_so(off, expected):
    def planned(num_params):  # right at TOP
        return rate(num_params) * off ** (math.log(TOP / num_params) / math.log(TOP / SMALL))

    assert np.mean([one == expected for one in verdicts(planned)]) >= FOUND


def shifted(runs, shared, deviation=0.01, seed=0):
    """Runs whose losses a seed shifts: alike at all rates of a size, or apart where none is shared."""
    random, by = np.random.default_rng(1000 + seed), {}
    changed = []
    for k, run in enumerate(runs):
        key = (run.num_params, run.spec.seed) if shared else k
        shift = by.setdefault(key, deviation * random.standard_normal())
        spec = run.spec if shared else replace(run.spec, seed=k)
        changed.append(replace(run, spec=spec, loss=run.loss * math.exp(shift)))
    return changed


def shifted_verdicts(planned, shared):
    found = [
        find_rates(shifted(checks(planned, rate, seed, large=2), shared, seed=seed), TOP)
        for seed in range(60)
    ]
    return [one.verdict for one in found]


def test_what_a_seed_adds_at_every_rate_hides_no_wrong_rule():
    assert np.mean([one == "wrong" for one in shifted_verdicts(too_high, shared=True)]) >= FOUND
    assert np.mean([one == "holds" for one in shifted_verdicts(rate, shared=True)]) >= FOUND


def test_rates_with_seeds_of_their_own_are_as_uncertain_as_their_seeds():
    assert np.mean([one == "wrong" for one in shifted_verdicts(rate, shared=False)]) <= LEFT_ALONE


@pytest.mark.parametrize("noise", [0.004, 0.02, 0.05])
def test_the_doubt_of_an_offset_is_as_large_as_its_error(noise):
    """Also where the losses of three seeds happen to be near each other."""
    random, errors = np.random.default_rng(0), []
    for seed in range(60):
        runs = [
            replace(run, loss=run.loss * math.exp(noise * random.standard_normal()))
            for run in checks(too_high, rate, seed, large=3)
        ]
        offset, deviation = find_rates(runs, TOP).offsets.offset(TOP)
        errors.append((offset - math.log(4)) / deviation)
    assert np.mean(np.abs(errors) > 2) <= 0.1
    assert 0.4 < math.sqrt(np.mean(np.square(errors))) < 1.3


@pytest.mark.parametrize(("off", "words"), [(3.0, "halving"), (1 / 3, "doubling")])
def test_the_words_say_which_way_the_loss_falls(off, words):
    note = find_rates(checks(lambda N: off * rate(N), rate), TOP).note
    assert note.code == "rates-wrong"
    assert f"{words} the rate lowers the loss at size {SMALL:g}" in note.lower().replace(
        "10000000.0", "1e+07"
    )
    assert "isoflop.tune" in note


def test_a_right_rule_holds_with_the_sizes_by_name():
    note = find_rates(checks(rate, rate), LARGE).note
    assert note.code == "rates-holds"
    assert "params the rates may cost" in note


def test_losses_that_rates_do_not_move_leave_the_check_open():
    random = np.random.default_rng(0)
    flat = [
        replace(run, loss=3.0 * math.exp(0.02 * random.standard_normal()))
        for run in checks(rate, rate)
    ]
    assert find_rates(flat, TOP, noise=0.02).verdict == "open"


def test_a_planned_rate_that_diverges_is_wrong():
    runs = [
        replace(run, status="diverged", loss=math.nan)
        if run.num_params == LARGE and run.spec.lr > 0.9 * rate(LARGE)
        else run
        for run in checks(rate, rate)
    ]
    found = find_rates(runs, TOP)
    assert found.verdict == "wrong"
    assert "diverges at size" in found.note


@pytest.mark.parametrize("sizes", [(SMALL,), (LARGE,), (SMALL, LARGE)])
def test_a_size_that_diverges_at_all_rates_is_wrong(sizes):
    runs = [
        replace(run, status="diverged", loss=math.nan) if run.num_params in sizes else run
        for run in checks(rate, rate)
    ]
    assert find_rates(runs, TOP).verdict == "wrong"


def test_failed_runs_and_losses_that_no_law_takes_show_nothing():
    failed = [replace(run, status="failed", loss=math.nan) for run in checks(rate, rate)]
    negative = [replace(run, loss=-run.loss) for run in checks(rate, rate)]
    assert find_rates(failed, TOP) is None
    assert find_rates(negative, TOP) is None


def test_checks_of_other_lengths_or_settings_add_to_what_one_shows():
    first = checks(rate, rate)
    longer = [
        replace(run, loss=0.8 * run.loss, spec=replace(run.spec, num_tokens=20 * run.num_params))
        for run in checks(rate, rate, seed=1)
    ]
    batches = [
        replace(run, loss=1.2 * run.loss, spec=replace(run.spec, batch=64))
        for run in checks(rate, rate, seed=2)
    ]
    alone = find_rates(first, TOP).offsets.offset(TOP)[1]
    for others in (longer, batches):
        assert find_rates([*first, *others], TOP).offsets.offset(TOP)[1] < 0.9 * alone


def test_twice_a_good_rate_may_diverge():
    runs = [
        replace(run, status="diverged", loss=math.nan)
        if run.spec.lr > 1.5 * run.spec.checked_lr
        else run
        for run in checks(rate, rate)
    ]
    assert find_rates(runs, LARGE).verdict != "wrong"


def test_runs_of_no_check_show_nothing():
    assert find_rates([], TOP) is None


def sweep(planned, seed=1):
    random = np.random.default_rng(seed)
    return [
        a_run(N, C / (6 * N), planned(N), rate, random, budget=C)
        for C in BUDGETS
        for N in LAW.optimum(C)[0] * np.geomspace(1 / 4, 4, 7)
    ]


def test_no_run_of_a_check_is_a_point_of_the_law():
    runs = sweep(rate)
    with_checks = isoflop.fit([*runs, *checks(rate, rate)])
    assert len(with_checks.runs) == len(runs)
    assert with_checks.law.optimum(1e21) == isoflop.fit(runs).law.optimum(1e21)
    assert "rates-holds" in {note.code for note in with_checks.notes}


def test_a_list_of_trained_runs_brings_its_checks():
    assert ([] + TrainedRuns([], checks(rate, rate))).checks
    both = TrainedRuns(sweep(rate)[:7], checks(rate, rate)) + TrainedRuns(sweep(rate)[7:])
    assert isoflop.fit(both).rates.finding.verdict == "holds"


@pytest.mark.parametrize(
    ("planned", "code"), [(far_too_high, "rates-corrected"), (too_high, "rates-widened")]
)
def test_wrong_rates_widen_the_interval_and_are_corrected_for_where_they_are_surely_so(
    planned, code
):
    runs = sweep(planned)
    plain = isoflop.predict(isoflop.fit(runs), flops=1e21)
    fit = isoflop.fit(TrainedRuns(runs, checks(planned, rate)))
    answer = isoflop.predict(fit, flops=1e21)
    truth = LAW.optimum(1e21)[0]

    def miss(one):
        return abs(math.log(one.num_params.value / truth))

    def width(one):
        return math.log(one.num_params.high / one.num_params.low)

    assert {"rates-wrong", code} <= {note.code for note in answer.notes}
    if code == "rates-corrected":
        assert miss(answer) < miss(plain) / 2
    assert width(answer) > width(plain)
    assert answer.num_params.low < truth < answer.num_params.high


def test_runs_longer_than_those_of_a_check_are_less_sure():
    found = find_rates(checks(rate, rate), TOP)
    deviations = [found.offsets_on(D).offset(TOP)[1] for D in (found.num_tokens, 1e10, 1e12)]
    assert deviations[0] == pytest.approx(found.offsets.offset(TOP)[1])
    assert deviations == sorted(deviations)


def test_checks_of_another_schedule_are_no_evidence():
    others = [
        replace(run, spec=replace(run.spec, schedule="constant")) for run in checks(rate, rate)
    ]
    assert isoflop.fit(TrainedRuns(sweep(rate), others)).rates is None


def test_what_the_rates_add_to_the_waste_keeps_its_interval_in_order():
    answer = isoflop.predict(
        isoflop.fit(TrainedRuns(sweep(too_high), checks(too_high, rate))), flops=1e21
    )
    assert answer.regret.low <= answer.regret.value <= answer.regret.high


def test_checks_of_another_rule_are_no_evidence():
    runs = TrainedRuns(sweep(rate), checks(lambda N: 3 * rate(N), rate))
    assert isoflop.fit(runs).rates is None

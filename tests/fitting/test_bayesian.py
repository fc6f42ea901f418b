"""The default answer: what its evidence is, how its doubt grows, and what it says of odd tables."""

import math

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep, published

import isoflop
from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.bayesian.evidence import gather
from isoflop.fitting.bayesian.law import PathLaw
from isoflop.fitting.bayesian.minima import find_minima
from isoflop.fitting.bayesian.prior import Prior
from isoflop.fitting.bayesian.regression import integrated, regress, weighted_median
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.points import Points

BUDGETS = tuple(np.geomspace(1e18, 1e20, 5))


def answer(runs, flops, **options):
    return predict(fit(runs, **options), flops=flops)


def half_width(found):
    """Of the interval of log N."""
    return math.log(found.num_params.high / found.num_params.low) / 2


def holds(found, flops, law=LAW):
    N = law.optimum(flops)[0]
    loss = law.optimal_loss(flops)
    return (
        found.num_params.low <= N <= found.num_params.high
        and found.loss.low <= loss <= found.loss.high
    )


# -- tables as people have them ------------------------------------------------------------------


def test_one_budget_is_refused():
    with pytest.raises(DataError, match="2 or more budgets"):
        fit(a_sweep(budgets=(1e19,)))


def test_two_budgets_are_answered_with_a_width_that_grows_with_distance():
    runs = a_sweep(budgets=(1e18, 1e19), noise=0.002)
    near, far = (answer(runs, C) for C in (1e20, 1e22))
    assert holds(near, 1e20)
    assert holds(far, 1e22)
    assert 0.15 < half_width(near) < half_width(far) < 1


def test_three_budgets_are_answered_about_as_honestly_as_public_sweeps_ask():
    runs = a_sweep(budgets=(1e18, 3e18, 1e19), noise=0.002)
    found = answer(runs, 1e20)
    assert holds(found, 1e20)
    assert 0.15 < half_width(found) < 0.45


def test_runs_without_budgets_are_answered_from_the_law_within_their_range():
    runs = [
        a_run(r.num_params, r.num_tokens, r.loss) for r in a_sweep(budgets=BUDGETS, noise=0.002)
    ]
    found = answer(runs, 1e21)
    assert holds(found, 1e21)
    assert 0.1 < half_width(found) < 0.5


@pytest.mark.parametrize("sides", [(1.2, 10), (0.1, 0.8)])
def test_one_sided_valleys_are_answered_with_more_doubt(sides):
    def one_sided(low, high):
        return [
            a_run(N, C / 6 / N, float(LAW.loss(N, C / 6 / N)) * math.exp(0.002 * noise), budget=C)
            for C in (1e18, 3e18, 1e19, 3e19)
            for N, noise in zip(
                LAW.optimum(C)[0] * np.geomspace(low, high, 7),
                np.random.default_rng(int(C % 97)).standard_normal(7),
                strict=True,
            )
        ]

    found, whole = answer(one_sided(*sides), 3e20), answer(one_sided(0.25, 4), 3e20)
    assert holds(found, 3e20)
    assert half_width(found) > half_width(whole)
    assert any("not bracketed" in note for note in found.notes)


def test_a_law_without_a_floor_is_answered_and_that_is_said():
    law = ChinchillaLaw(0.0, 62.0, 152.0, 0.35, 0.37)
    runs = a_sweep(law, (1e9, 1e10, 1e11, 1e12), noise=0.002)
    found = answer(runs, 1e13)
    assert holds(found, 1e13, law)
    assert any("no irreducible loss" in note for note in found.notes)


def test_three_bad_runs_of_forty_move_little_and_are_named():
    runs = a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=3)
    bad = [
        a_run(
            r.num_params, r.num_tokens, r.loss * (1.05 if k in (11, 20, 29) else 1), budget=r.budget
        )
        for k, r in enumerate(runs)
    ]
    clean, found = answer(runs, 1e21), answer(bad, 1e21)
    assert math.log(found.num_params.value / clean.num_params.value) == pytest.approx(0, abs=0.05)
    assert holds(found, 1e21)
    assert any("far off the curve of their budget" in note for note in found.notes)


def test_a_ladder_of_one_tokens_per_param_ratio_is_refused():
    runs = [a_run(N, 20 * N, float(LAW.loss(N, 20 * N))) for N in np.geomspace(1e7, 1e9, 9)]
    with pytest.raises(DataError, match="tokens follow from the params"):
        fit(runs)


def test_a_rising_loss_is_refused():
    runs = [a_run(r.num_params, r.num_tokens, 9 / r.loss) for r in a_sweep()]
    with pytest.raises(DataError, match="fit needs a loss, which falls with compute"):
        fit(runs)


# -- what it is worth ------------------------------------------------------------------------------


def test_the_published_73_billion_lie_within_a_factor_of_two_of_chinchilla_s_points():
    found = answer(published("chinchilla_epoch.csv"), 5.76e23)
    assert found.num_params.low < 7.3e10 < found.num_params.high
    assert half_width(found) < math.log(2)


def test_seven_budgets_of_proteins_give_ten_times_beyond_within_a_factor_of_two():
    found = answer(published("protein_clm.csv"), 3.4e22)
    assert half_width(found) < math.log(2)
    assert (
        found.num_params.low < 1.68e9 * 34**0.58 < found.num_params.high
    )  # its last minimum, its slope


def test_held_out_budgets_of_a_public_sweep_lie_within_its_intervals():
    runs = [run for run in published("porian_rw_5_tuned.csv") if run.budget]
    budgets = sorted({run.budget for run in runs})
    fitted = fit([run for run in runs if run.budget < 1e18], resamples=400)
    minima = {v.budget: v for v in isoflop.valleys(runs) if v.interior}
    inside = [
        found.num_params.low <= minima[C].num_params <= found.num_params.high
        for C in budgets
        if C > 1e18 and C in minima
        for found in (predict(fitted, flops=C),)
    ]
    assert len(inside) >= 4
    assert np.mean(inside) > 0.7


def test_a_bent_path_is_followed_where_a_straight_law_covers_nothing():
    """An exponent that falls with size, as in broken neural scaling laws (Caballero et al. 2023)."""

    class Bent(ChinchillaLaw):
        def loss(self, N, D):
            bend = (1 + (np.asarray(N) / 1e8) ** 1.5) ** (0.12 / 1.5)
            return self.E + self.A / N**self.alpha * bend + self.B / D**self.beta

    law = Bent(1.8, 480.0, 2100.0, 0.35, 0.37)

    def best(C):
        N = np.geomspace(1e5, 1e13, 100_001)
        return float(N[np.argmin(law.loss(N, C / 6 / N))])

    hits = {"default": 0, "straight": 0}
    for seed in range(6):
        random = np.random.default_rng(seed)
        runs = [
            a_run(N, C / 6 / N, float(law.loss(N, C / 6 / N)) * math.exp(0.002 * noise), budget=C)
            for C in np.geomspace(1e16, 1e22, 7)
            for N, noise in zip(
                best(C) * np.geomspace(0.25, 4, 7), random.standard_normal(7), strict=True
            )
        ]
        for name, approach in (("default", None), ("straight", isoflop.Parametric())):
            found = predict(fit(runs, approach, resamples=300), flops=1e23).num_params
            hits[name] += found.low <= best(1e23) <= found.high
    assert hits["default"] >= 3
    assert hits["straight"] == 0


def test_clean_sweeps_are_covered_and_their_size_is_right():
    found = [
        answer(a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=seed), 1e21)
        for seed in range(10)
    ]
    errors = [math.log(one.num_params.value / LAW.optimum(1e21)[0]) for one in found]
    assert all(holds(one, 1e21) for one in found)
    assert np.median(np.abs(errors)) < 0.04
    assert np.median([half_width(one) for one in found]) < math.log(1.25)


def test_where_the_law_holds_the_loss_ten_times_beyond_is_not_off():
    errors = [
        answer(a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=seed), 1e21).loss.value
        / LAW.optimal_loss(1e21)
        - 1
        for seed in range(10)
    ]
    assert abs(np.mean(errors)) < 0.003


# -- the prior -------------------------------------------------------------------------------------


def test_a_user_who_knows_the_slope_gets_a_narrower_answer_and_a_flat_prior_a_wider_one():
    runs = a_sweep(budgets=(1e18, 3e18, 1e19), noise=0.005)
    sure, usual, flat = (
        half_width(answer(runs, 1e22, prior=prior))
        for prior in (Prior(slope=(0.51, 0.02)), None, Prior.flat())
    )
    assert sure < usual < flat


def test_a_prior_of_the_slope_moves_the_answer_towards_it():
    runs = a_sweep(budgets=(1e18, 3e18, 1e19), noise=0.005)
    low, high = (
        answer(runs, 1e22, prior=Prior(slope=(mean, 0.02))).num_params.value for mean in (0.4, 0.6)
    )
    assert math.log(high / low) == pytest.approx(0.2 * math.log(1000), rel=0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"slope": (0.5, 0.0)},
        {"slope": 0.5},
        {"slope": ((0.5, 0.5, 0.1), (0.5, 0.5, -1.0))},
        {"scatter": (0.0, 1.0)},
        {"sharpness": (0.7,)},
        {"slope_drift": 0.0},
        {"decay_reach": math.inf},
        {"floor": (math.nan, 0.1)},
        {"unsettled": (1.0, 1e6)},
    ],
)
def test_a_prior_with_impossible_numbers_is_refused(arguments):
    (name,) = arguments
    with pytest.raises(DataError, match=f"Prior: {name} must"):
        Prior(**arguments)


def test_losses_of_small_models_may_go_on_as_they_are_and_those_of_large_ones_not():
    assert Prior().share_unsettled(1e5) == 2 / 3
    assert 0 < Prior().share_unsettled(3e6) < 2 / 3
    assert Prior().share_unsettled(1e8) == 0
    faster = {1e10: 1.0, 3e10: 0.98, 1e11: 0.94}  # than any power law falls
    law = ChinchillaLaw(E=1.0, A=20.0, B=40.0, alpha=0.35, beta=0.37)
    runs = [
        a_run(r.num_params, r.num_tokens, r.loss * faster[r.budget], budget=r.budget)
        for r in a_sweep(law, tuple(faster), noise=0.003)
    ]
    settled = answer(runs, 3e12, prior=Prior(unsettled=(0.0, 1e6)))
    usual = answer(runs, 3e12)
    assert usual.loss.low < 0.97 * settled.loss.low
    assert usual.num_params == settled.num_params


def test_a_power_law_in_small_runs_does_not_show_that_it_goes_on_beyond_them():
    law = ChinchillaLaw(E=1.0, A=20.0, B=40.0, alpha=0.35, beta=0.37)
    runs = a_sweep(law, (1e9, 1e10, 3e10, 1e11), noise=0.001)
    settled = answer(runs, 1e13, prior=Prior(unsettled=(0.0, 1e6)))
    usual = answer(runs, 1e13)
    fall = math.log(usual.loss.value / usual.loss.low)
    assert fall > 2 * math.log(settled.loss.value / settled.loss.low)
    assert usual.loss.value == pytest.approx(settled.loss.value, rel=0.02)


def test_losses_of_small_models_may_flatten_beyond_a_power_law():
    law = ChinchillaLaw(E=1.6, A=20.0, B=40.0, alpha=0.35, beta=0.37)
    runs = a_sweep(law, (1e9, 1e10, 3e10, 1e11), noise=0.001)
    settled = answer(runs, 1e13, prior=Prior(unsettled=(0.0, 1e6))).loss
    usual = answer(runs, 1e13).loss
    assert math.log(usual.high / usual.value) > 3 * math.log(settled.high / settled.value)
    assert usual.value == pytest.approx(settled.value, rel=0.02)


def test_small_runs_that_show_no_floor_do_not_rule_one_out():
    law = ChinchillaLaw(0.0, 62.0, 152.0, 0.35, 0.37)
    runs = a_sweep(law, (1e9, 1e10, 3e10, 1e11), noise=0.001)
    found = answer(runs, 1e13).loss
    assert found.value == pytest.approx(law.optimal_loss(1e13), rel=0.03)
    assert found.high > 0.7 * min(run.loss for run in runs)


def test_a_prior_is_for_the_default_approach_alone():
    with pytest.raises(DataError, match="prior= is for the default approach"):
        fit(a_sweep(), Kriging(), prior=Prior())
    with pytest.raises(DataError, match="prior must be a Prior"):
        fit(a_sweep(), prior=0.5)


def test_every_number_of_the_prior_is_said():
    lines = Prior(slope=(0.47, 0.031)).lines()
    assert lines["slope of log N over log C"] == "0.47 ± 0.031"
    assert len(lines) == len(vars(Prior()))
    assert repr(Bayesian()) == "Bayesian()"
    assert "0.47" in repr(Bayesian(Prior(slope=(0.47, 0.031))))


# -- the law ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solved():
    return Bayesian().solve(Points.of(a_sweep(budgets=BUDGETS, noise=0.003)))


def test_size_data_and_loss_of_each_draw_belong_together(solved):
    draws = solved.draw(50, np.random.default_rng(0))
    N, D = draws.optimum(1e21)
    assert pytest.approx(1e21, rel=1e-9) == 6 * N * D
    assert draws.loss(N, D) == pytest.approx(draws.optimal_loss(1e21), rel=1e-9)


def test_the_optimum_is_where_the_loss_along_the_isoflop_is_lowest(solved):
    N, D = solved.law.optimum(1e21)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert solved.law.loss(N * factor, D / factor) > solved.law.optimal_loss(1e21)


def test_the_law_s_numbers_are_those_of_the_additive_law_that_touches_it(solved):
    law = solved.law
    assert isinstance(law, PathLaw)
    touching = ChinchillaLaw(law.E, law.A, law.B, law.alpha, law.beta)
    assert touching.optimum(1e20)[0] == pytest.approx(law.optimum(1e20)[0], rel=0.03)
    assert touching.optimal_loss(1e20) == pytest.approx(law.optimal_loss(1e20), rel=0.002)
    assert law.alpha + law.beta == pytest.approx(LAW.alpha + LAW.beta, rel=0.25)
    assert "around the largest runs" in str(law)


def test_arrays_of_flops_give_arrays_of_optima(solved):
    C = np.array([1e19, 1e20, 1e21])
    assert solved.law.optimum(C)[0].shape == (3,)
    draws = solved.draw(25, np.random.default_rng(0))
    assert draws.optimum(C[:, None])[0].shape == (3, 25)
    assert draws.optimum(C[:, None])[0][1] == pytest.approx(draws.optimum(1e20)[0])


def test_the_same_seed_gives_the_same_draws_and_another_seed_others(solved):
    first, again, other = (
        solved.draw(50, np.random.default_rng(seed)).optimum(1e21)[0] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_point_lies_in_the_middle_of_the_draws(solved):
    draws = solved.draw(2000, np.random.default_rng(0))
    for C in (1e19, 1e21, 1e23):
        assert solved.law.optimum(C)[0] == pytest.approx(np.median(draws.optimum(C)[0]), rel=0.02)
        low, high = np.quantile(draws.optimal_loss(C), [0.35, 0.65])
        assert low < solved.law.optimal_loss(C) < high


def test_every_question_of_predict_is_answered():
    found = fit(a_sweep(budgets=BUDGETS, noise=0.002), resamples=100)
    best = predict(found, flops=1e21)
    assert best.band is not None
    assert 0 < best.regret.value < 0.02
    assert predict(found, num_params=best.num_params.value).flops == pytest.approx(1e21, rel=1e-3)
    assert predict(found, num_tokens=best.num_tokens.value).flops == pytest.approx(1e21, rel=1e-3)
    assert predict(found, loss=best.loss.value).flops == pytest.approx(1e21, rel=1e-3)
    assert predict(found, flops=1e21, served_tokens=1e12).num_params.value < best.num_params.value


def test_counted_flops_move_the_minima_as_the_law_says():
    """Budgets in counted FLOPs whose cost per param falls with size, as attention's share does."""

    def cost(N):
        return 6 * N * (1 + (3e7 / N) ** 0.3)

    runs = [
        a_run(N, C / cost(N), float(LAW.loss(N, C / cost(N))), flops=C, budget=C)
        for C in BUDGETS
        for N in LAW.optimum(C, cost)[0] * np.geomspace(1 / 4, 4, 9)
    ]
    found = predict(fit(runs), flops=1e21)
    assert found.num_params.value == pytest.approx(LAW.optimum(1e21, cost)[0], rel=0.1)
    plain = fit(runs).law.optimum(1e20)[0]  # at 6N per token
    assert plain == pytest.approx(LAW.optimum(1e20)[0], rel=0.06)


# -- evidence --------------------------------------------------------------------------------------


def test_three_sizes_too_close_together_for_their_noise_are_not_all_set_aside():
    """No parabola fits them, and nothing tells their noise: no minimum, or one at a loss that was seen."""
    close = (
        (6e18, (183.459, 204.697, 207.149), (3.25137, 3.26194, 3.25263)),
        (1e19, (324.152, 330.733, 368.684), (3.19610, 3.21237, 3.19849)),
    )
    runs = [
        a_run(1e6 * N, C / (6.5e6 * N), loss, flops=C, budget=C)
        for C, sizes, losses in close
        for N, loss in zip(sizes, losses, strict=True)
    ]
    points = Points.of(runs)
    found = find_minima(points)
    assert not found.outliers.any()
    assert np.all(np.exp(found.log_loss) > 3.1)
    gather(points, None)  # at counted FLOPs, which ask how fast the loss falls


def test_minima_of_budgets_are_found_with_errors_that_hold():
    z = []
    for seed in range(20):
        found = find_minima(Points.of(a_sweep(budgets=BUDGETS, noise=0.005, seed=seed)))
        assert len(found) == 5
        true = np.log([LAW.optimum(C)[0] for C in np.exp(found.log_flops)])
        z += ((found.log_N - true) / found.error).tolist()
    assert 0.6 < np.std(z) < 1.5


def test_a_budget_of_three_sizes_has_a_minimum_by_the_bend_of_the_others():
    runs = a_sweep(budgets=BUDGETS, noise=0.002)
    last = sorted({run.budget for run in runs})[-1]
    few = [run for run in runs if run.budget < last] + [run for run in runs if run.budget == last][
        2:5
    ]
    found, whole = (find_minima(Points.of(each)) for each in (few, runs))
    assert found.log_N[-1] == pytest.approx(whole.log_N[-1], abs=0.15)
    assert found.error[-1] > whole.error[-1]


def test_a_budget_whose_losses_only_fall_has_no_minimum():
    runs = a_sweep(budgets=BUDGETS)
    steep = [
        a_run(r.num_params, r.num_tokens, 3 * r.num_params**-0.02, budget=r.budget)
        if r.budget == BUDGETS[0]
        else r
        for r in runs
    ]
    assert len(find_minima(Points.of(steep))) == 4


def test_runs_far_above_the_budgets_are_evidence_too():
    runs = a_sweep(budgets=BUDGETS, noise=0.002)
    more = [a_run(N, 20 * N, float(LAW.loss(N, 20 * N))) for N in (3e9, 6e9)]
    points = Points.of([*runs, *more])
    found = gather(points, Kriging().posterior(points))
    assert found is not None
    assert found.c[-1] == pytest.approx(math.log(20 * 36e18))
    assert len(found.c) > 5


def test_a_slope_that_is_forgotten_slowly_drifts_as_its_process_does():
    random = np.random.default_rng(0)
    step, reach = 0.02, 2.0
    slopes = np.zeros((20_000, 150))
    slopes[:, 0] = random.standard_normal(20_000)
    keep = math.exp(-step / reach)
    for k in range(1, 150):
        slopes[:, k] = keep * slopes[:, k - 1] + math.sqrt(1 - keep**2) * random.standard_normal(
            20_000
        )
    drift = np.cumsum(slopes, axis=1) * step
    s, t = 0.5, 3.0
    simulated = float(np.mean(drift[:, round(s / step) - 1] * drift[:, -1]))
    assert float(integrated(np.array(s), np.array(t), np.array(reach))) == pytest.approx(
        simulated, rel=0.05
    )
    assert float(integrated(np.array(-s), np.array(-t), np.array(reach))) == pytest.approx(
        simulated, rel=0.05
    )


def test_a_straight_line_is_continued_and_doubt_grows_with_distance():
    t = np.array([-3.0, -2.0, -1.0, 0.0])
    at = np.array([1.0, 3.0, 6.0])
    found = regress(Prior().of_params, t, 0.5 * t, 1e-4 * np.eye(4), at)
    assert found.weights @ found.mean == pytest.approx(0.5 * at, abs=0.02)
    variance = found.weights @ np.diagonal(found.covariance, axis1=1, axis2=2)
    assert (np.diff(variance) > 0).all()


def test_a_weighted_median_lies_where_half_of_the_weight_is():
    values = np.array([[1.0], [2.0], [10.0]])
    assert weighted_median(values, np.array([1.0, 1.0, 1.0]))[0] == 2
    assert weighted_median(values, np.array([0.0, 0.0, 1.0]))[0] == 10

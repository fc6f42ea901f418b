"""Kaplan's law: a sum of powers, raised to a power."""

import math

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize_scalar
from sweeps import a_sweep, published

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.fitting.solve.solvers import solve, solve_resampled
from isoflop.fitting.uncertainty import bootstrap_weights
from isoflop.laws.base import entry
from isoflop.laws.objective import Problem, evaluate
from isoflop.laws.other_laws import KaplanLaw
from isoflop.laws.points import Points

LAW = KaplanLaw(N_c=6.4e13, D_c=1.8e13, alpha_N=0.076, alpha_D=0.103)
BUDGETS = np.geomspace(1e18, 1e21, 5)
APPROACH = Parametric(law=KaplanLaw())


def numbers(law):
    return [float(getattr(law, name)) for name in ("N_c", "D_c", "alpha_N", "alpha_D")]


def a_problem(runs, delta=math.inf, prior=None):
    points = Points.of(runs)
    posed = KaplanLaw().pose(points)
    return Problem(posed.terms, points.L, posed.names, delta, prior=prior, unit=posed.unit), posed


def best_of_many_starts(runs, starts):
    """Lowest sum of squares / 2 of an independent optimiser from so many random starts."""
    n, d, y = (
        np.log([getattr(run, name) for run in runs])
        for name in ("num_params", "num_tokens", "loss")
    )
    random = np.random.default_rng(1)

    def residual(z):
        a, b, p, q = z
        return q * np.logaddexp(a - p * (n - n.mean()), b - (d - d.mean())) + y.mean() - y

    begin = np.column_stack(
        [
            random.uniform(-3, 1, (starts, 2)),
            random.uniform(0.3, 2.5, starts),
            random.uniform(0.05, 0.6, starts),
        ]
    )
    limits = ([-60, -60, 0.02, 0.02], [60, 60, 3, 3])
    return min(
        least_squares(residual, z, bounds=limits, xtol=1e-14, ftol=1e-14, gtol=1e-14).cost
        for z in begin
    )


@pytest.mark.parametrize(
    "true",
    [
        LAW,
        KaplanLaw(8.8e13, 5.4e13, 0.076, 0.095),
        KaplanLaw(1e12, 3e11, 0.12, 0.3),
        KaplanLaw(1e13, 1e15, 0.1, 0.06),
    ],
)
def test_a_noise_free_law_is_recovered(true):
    law = fit(a_sweep(true, BUDGETS), APPROACH, resamples=20).law
    assert numbers(law) == pytest.approx(numbers(true), rel=1e-4)


def test_under_little_noise_exponents_and_optimum_are_near_the_truth():
    for seed in range(5):
        found = fit(a_sweep(LAW, BUDGETS, sizes=8, noise=0.002, seed=seed), APPROACH, resamples=200)
        assert (found.law.alpha_N, found.law.alpha_D) == pytest.approx((0.076, 0.103), rel=0.03)
        best = predict(found, flops=1e22)
        assert best.num_params.value == pytest.approx(LAW.optimum(1e22)[0], rel=0.1)
        assert best.loss.value == pytest.approx(LAW.optimal_loss(1e22), rel=0.005)


@pytest.mark.parametrize("firmness", [None, 0.5])
@pytest.mark.parametrize("delta", [math.inf, 1e-2])
def test_first_and_second_derivatives_agree_with_finite_differences(delta, firmness):
    prior = None if firmness is None else (np.full(4, 0.3), np.full(4, firmness))
    problem, _ = a_problem(a_sweep(LAW, noise=0.02), delta, prior)
    at = np.array([[0.4, 0.5, 0.7, 0.12], [0.7, 0.2, 1.3, 0.3]])
    weights = np.stack([np.linspace(0.5, 2, 21), np.linspace(3, 1, 21)])
    exact, step = evaluate(problem, at, weights), 1e-6
    for q in range(4):
        above, below = (
            evaluate(problem, at + side * step * np.eye(4)[q], weights) for side in (1, -1)
        )
        assert exact.gradient[:, q] == pytest.approx(
            (above.objective - below.objective) / (2 * step), rel=1e-5, abs=1e-8
        )
        bend = (above.gradient - below.gradient) / (2 * step)
        assert exact.hessian[:, q] == pytest.approx(bend, rel=1e-4, abs=1e-6)


def test_the_model_of_the_problem_is_the_law():
    runs = a_sweep(LAW)
    problem, posed = a_problem(runs)
    at = np.array([0.4, 0.5, 0.7, 0.12])
    points = Points.of(runs)
    assert problem.model(at) == pytest.approx(posed.law(at).loss(points.N, points.D), rel=1e-10)


@pytest.mark.parametrize(
    "name",
    [
        "chinchilla_epoch.csv",
        "gadre_rpj.csv",
        "porian_rw_5_tuned.csv",
        "marin_comma.csv",
        "xlstm_llama_ctx8192.csv",
    ],
)
def test_no_start_of_an_independent_optimiser_ends_lower_on_published_runs(name):
    runs = published(name)
    solution = solve(a_problem(runs)[0])
    assert solution.converged
    assert solution.objective <= best_of_many_starts(runs, 20) * 1.0001


def test_no_start_of_an_independent_optimiser_ends_lower_on_a_noisy_law():
    runs = a_sweep(LAW, BUDGETS, noise=0.01)
    assert solve(a_problem(runs)[0]).objective <= best_of_many_starts(runs, 20) * 1.0001


def test_resampled_fits_are_those_of_single_fits_under_the_same_weights():
    problem, _ = a_problem(a_sweep(LAW, noise=0.01), 5e-3)
    weights = np.random.default_rng(0).exponential(size=(20, 21))
    batch = solve_resampled(problem, weights, solve(problem).parameters)
    assert batch.converged.all()
    for row in range(20):
        single = solve(
            Problem(
                problem.terms,
                problem.target,
                problem.names,
                5e-3,
                weights=weights[row],
                unit=problem.unit,
            )
        )
        assert batch.objective[row] == pytest.approx(single.objective, rel=1e-4)


def test_the_optimum_has_the_lowest_loss_that_its_compute_pays_for():
    def cost(N):
        return 6 * N * (1 + (1e9 / N) ** 0.5)

    for given, per_token in ((None, lambda N: 6 * N), (cost, cost)):
        N, D = LAW.optimum(1e21, given)
        found = minimize_scalar(
            lambda x, per_token=per_token: LAW.loss(np.exp(x), 1e21 / per_token(np.exp(x))),
            bounds=(15, 32),
            method="bounded",
        )
        assert np.log(N) == pytest.approx(found.x, abs=1e-4)
        assert per_token(N) * D == pytest.approx(1e21)
        assert LAW.optimal_loss(1e21, given) == pytest.approx(found.fun, rel=1e-9)


def test_a_batch_of_laws_answers_like_each_of_its_laws():
    batch = KaplanLaw(np.array([6e13, 7e13]), 1.8e13, np.array([0.07, 0.08]), np.array([0.1, 0.11]))
    for cost in (None, lambda N: 7 * N**0.99):
        N, D = batch.optimum(1e22, cost)
        for row in (0, 1):
            assert entry(batch, row).optimum(1e22, cost) == pytest.approx(
                (N[row], D[row]), rel=1e-6
            )
            assert entry(batch, row).loss(1e9, 1e10) == pytest.approx(batch.loss(1e9, 1e10)[row])


@pytest.mark.parametrize("intervals", ["bootstrap", "delta", "profile"])
def test_every_kind_of_interval_is_finite_and_holds_the_answer(intervals):
    found = fit(a_sweep(LAW, BUDGETS, noise=0.005), APPROACH, resamples=200, intervals=intervals)
    best = predict(found, flops=1e22)
    for answer in (best.num_params, best.num_tokens, best.loss):
        assert 0 < answer.low < answer.value < answer.high < math.inf
    assert all(
        np.isfinite(getattr(found.resamples, name)).all()
        for name in ("N_c", "D_c", "alpha_N", "alpha_D")
    )


def test_bootstrap_intervals_cover_about_as_often_as_they_say():
    covered = 0
    for seed in range(40):
        runs = a_sweep(LAW, BUDGETS, noise=0.005, seed=seed)
        points = Points.of(runs)
        solved = APPROACH.solve(points)
        weights = bootstrap_weights(points, 4, 200, np.random.default_rng(seed))
        low, high = np.quantile(solved.refit(weights).optimum(1e22)[0], [0.05, 0.95])
        covered += low < LAW.optimum(1e22)[0] < high
    assert covered >= 31  # 36 are expected of 40 at 90 %; 31 or more with probability .99


def test_a_firm_prior_holds_the_outer_exponent():
    runs = a_sweep(LAW, BUDGETS, noise=0.005, seed=2)
    law = fit(runs, Parametric(law=KaplanLaw(), prior={"alpha_D": (0.2, 1e-7)}), resamples=20).law
    assert law.alpha_D == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("name", ["N_c", "D_c"])
def test_a_prior_on_an_amplitude_is_refused(name):
    with pytest.raises(
        DataError, match=f"a value and a standard deviation above 0, but got {name}="
    ):
        Parametric(law=KaplanLaw(), prior={name: (1e13, 1e12)})


def test_all_its_numbers_are_fitted():
    with pytest.raises(DataError, match="KaplanLaw: no number can be held"):
        fit(a_sweep(LAW), Parametric(law=KaplanLaw(alpha_D=0.1)))


def test_it_is_shown_as_it_is_written():
    assert repr(APPROACH.law) == "KaplanLaw()"
    assert (
        repr(LAW)
        == "KaplanLaw(N_c=64000000000000.0, D_c=18000000000000.0, alpha_N=0.076, alpha_D=0.103)"
    )
    assert "alpha_D" in str(fit(a_sweep(LAW, BUDGETS), APPROACH, resamples=20))


def test_losses_that_do_not_fall_neither_crash_nor_warn():
    flat = a_sweep(KaplanLaw(1e-30, 1e-30, 1e-9, 1e-9), (1e18, 1e19, 1e20), noise=0.01)
    shuffled = a_sweep(LAW, noise=1.0)
    for runs in (flat, shuffled):
        assert np.isfinite(APPROACH.solve(Points.of(runs)).objective)

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize, nnls
from sweeps import LAW, a_sweep, published

from isoflop.fitting.solve.nonnegative import nonnegative_amplitudes
from isoflop.fitting.solve.solvers import solve, solve_resampled
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.objective import Problem, Term, evaluate
from isoflop.laws.points import Points

SETS = [
    "chinchilla_epoch.csv",
    "porian_rw_1_kaplan_repro.csv",
    "porian_rw_2_lastlayer.csv",
    "porian_rw_3_warmup.csv",
    "porian_rw_4_cosine.csv",
    "porian_rw_5_tuned.csv",
    "xlstm_llama_ctx8192.csv",
    "gemstones_hot.csv",
    "marin_comma.csv",
    "marin_dclm.csv",
    "gadre_rpj.csv",
    "cs336_isoflops.csv",
]


def a_problem(runs, delta=math.inf, *, log=True):
    points = Points.of(runs)
    posed = ChinchillaLaw().pose(points)
    return Problem(posed.terms, points.L, posed.names, delta, log), posed


def best_of_many_starts(problem, starts):
    """Lowest objective of L-BFGS from so many random starts; amplitudes as logs, gradients analytic."""
    random = np.random.default_rng(1)

    def objective(z):
        parameters = np.concatenate([np.exp(z[:3]), z[3:]])[None]
        with np.errstate(all="ignore"):
            found = evaluate(problem, parameters, np.ones((1, len(problem.target))))
        gradient = found.gradient[0] * np.concatenate([np.exp(z[:3]), [1, 1]])
        return (
            (1e4 * found.objective[0], 1e4 * gradient)
            if np.isfinite(gradient).all()
            else (1e12, np.zeros(5))
        )

    begin = np.column_stack(
        [random.uniform(-3, 1.5, (starts, 3)), random.uniform(0.05, 1.5, (starts, 2))]
    )
    options = {"maxiter": 600, "ftol": 1e-13, "gtol": 1e-9}
    ends = [
        minimize(
            objective,
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-30, 5)] * 3 + [(0.02, 3)] * 2,
            options=options,
        )
        for z in begin
    ]
    return min(end.fun for end in ends) / 1e4


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("delta", [math.inf, 1e-2])
def test_first_and_second_derivatives_agree_with_finite_differences(log, delta):
    problem, _ = a_problem(a_sweep(noise=0.02), delta, log=log)
    at, weights = np.array([1.9, 0.5, 0.4, 0.3, 0.4]), np.linspace(0.5, 2, 21)[None]
    exact, step = evaluate(problem, at[None], weights), 1e-6
    for q in range(5):
        sides = [
            evaluate(problem, (at + side * step * np.eye(5)[q])[None], weights) for side in (1, -1)
        ]
        slope = (sides[0].objective - sides[1].objective)[0] / (2 * step)
        bend = (sides[0].gradient - sides[1].gradient)[0] / (2 * step)
        assert exact.gradient[0, q] == pytest.approx(slope, rel=1e-5, abs=1e-8)
        assert exact.hessian[0, q] == pytest.approx(bend, rel=1e-4, abs=1e-6)


def test_nonnegative_amplitudes_are_those_of_an_independent_solver():
    random = np.random.default_rng(0)
    values, target = random.random((40, 3, 12)), random.standard_normal(12)
    ours = nonnegative_amplitudes(values, target, np.ones(12))
    for row in range(40):
        assert ours[row] == pytest.approx(nnls(values[row].T, target)[0], abs=1e-9)


@pytest.mark.parametrize("delta", [1e-3, math.inf])
@pytest.mark.parametrize("log", [True, False])
def test_a_noise_free_law_is_recovered_exactly(delta, log):
    problem, posed = a_problem(a_sweep(), delta, log=log)
    law = posed.law(solve(problem).parameters)
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(law, name) == pytest.approx(getattr(LAW, name), rel=1e-5)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("delta", [1e-3, math.inf])
def test_no_start_of_an_independent_optimiser_ends_lower(name, delta):
    problem, _ = a_problem(published(name), delta)
    solution = solve(problem)
    assert solution.converged
    assert solution.objective <= best_of_many_starts(problem, 2) * 1.0001 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("delta", [1e-3, math.inf])
def test_the_objective_is_the_best_of_243_starts(name, delta):
    problem, _ = a_problem(published(name), delta)
    assert solve(problem).objective <= best_of_many_starts(problem, 243) * 1.0001 + 1e-12


def test_resampled_fits_are_those_of_single_fits_under_the_same_weights():
    problem, _ = a_problem(a_sweep(noise=0.01), 5e-3)
    weights = np.random.default_rng(0).exponential(size=(30, 21))
    batch = solve_resampled(problem, weights, solve(problem).parameters)
    assert batch.converged.all()
    for row in range(30):
        single = solve(replace(problem, weights=weights[row]))
        assert batch.objective[row] == pytest.approx(single.objective, rel=1e-4)


def test_a_parameter_that_the_data_push_out_of_its_range_is_named_as_ending_at_its_bound():
    problem, _ = a_problem(a_sweep(ChinchillaLaw(0.0, 10.0, 20.0, 0.05, 0.06), noise=0.02, seed=3))
    assert "E" in solve(problem).at_bound


def test_the_condition_number_tells_a_fixed_ratio_ladder_from_a_spread_of_sizes():
    spread, _ = a_problem(a_sweep(noise=0.003, budgets=np.geomspace(1e18, 1e21, 5)))
    ladder, _ = a_problem(
        a_sweep(noise=0.003, budgets=np.geomspace(1e18, 1e21, 15), sizes=3, reach=1.02)
    )
    assert solve(spread).condition < 100 < solve(ladder).condition


@pytest.mark.parametrize(
    "loss",
    [np.full(9, 2.0), np.linspace(1, 9, 9), np.geomspace(1e-9, 1e9, 9), np.r_[np.nan, np.ones(8)]],
)
def test_degenerate_losses_neither_crash_nor_warn(loss):
    logs = np.linspace(-1, 1, 9)
    ones = np.ones(9)
    problem = Problem(
        (Term(ones), Term(ones, 0, logs), Term(ones, 1, -logs)),
        loss,
        ("E", "A", "B", "alpha", "beta"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(problem)
        resampled = solve_resampled(problem, np.zeros((2, 9)), solution.parameters)
    assert solution.parameters.shape == (5,)
    assert resampled.parameters.shape == (2, 5)

"""Runs that show no law, or show nonsense: a fit and its answers keep the rule, with every approach."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoflop
from attack import rule
from fitting.sweeps import LAW, a_run, a_sweep

APPROACHES = (None, "kriging", "parametric", "isoflop", "envelope")
QUESTIONS = (
    {"flops": 1e22}, {"flops": 1e15}, {"flops": 1e3}, {"num_params": 1e9}, {"num_tokens": 1e6}, {"loss": 2.5},
    {"flops": 1e22, "served_tokens": 1e15}, {"flops": 1e22, "unique_tokens": 1e9},
    {"flops": 1e22, "device_memory": "1 GB"},
)  # fmt: skip
GRID = [(C, N) for C in (1e18, 1e19, 1e20, 1e21) for N in np.geomspace(1e7, 1e10, 7)]


def grid(loss, budget=lambda C: C):
    """Runs of a grid of budgets and sizes with losses of one's own."""
    return [a_run(N, C / (6 * N), float(loss(C, N)), flops=C, budget=budget(C)) for C, N in GRID]


def random_losses(seed, low, high):
    random = np.random.default_rng(seed)
    return lambda C, N: math.exp(random.uniform(math.log(low), math.log(high)))


def lawful(C, N):
    return LAW.loss(N, C / (6 * N))


SWEEPS = {
    "constant": lambda: grid(lambda C, N: 2.0),
    "two runs": lambda: a_sweep()[:2],
    "one run": lambda: a_sweep()[:1],
    "duplicates": lambda: a_sweep() * 3,
    "one budget": lambda: a_sweep(budgets=(1e19,), sizes=9),
    "random": lambda: grid(random_losses(0, 1.5, 4)),
    "random of hundreds": lambda: grid(random_losses(1, 1e-3, 305)),
    "rising with size": lambda: grid(lambda C, N: 2 + math.log(N) - 0.1 * math.log(C)),
    "falling with size": lambda: grid(lambda C, N: 60 - math.log(N) - math.log(C)),
    "tiny losses": lambda: grid(lambda C, N: 1e-300 * lawful(C, N)),
    "huge losses": lambda: grid(lambda C, N: 1e300 * lawful(C, N)),
    "small losses": lambda: grid(lambda C, N: 1e-20 * lawful(C, N)),
    "zero": lambda: grid(lambda C, N: 0.0),
    "negative": lambda: grid(lambda C, N: -2.7e8),
    "NaN": lambda: grid(lambda C, N: math.nan),
    "some NaN": lambda: [*a_sweep(), a_run(1e8, 1e9, math.nan), a_run(1e8, 2e9, math.inf)],
    "budgets that nearly agree": lambda: grid(lawful, budget=lambda C: C * (1 + 1e-9)),
    "each its budget": lambda: [
        a_run(N, C / (6 * N), lawful(C, N), flops=C, budget=C * (1 + 1e-9 * number)) for number, (C, N) in enumerate(GRID)
    ],
    "no tokens": lambda: [*a_sweep(), a_run(1e8, 1e-310, 3.0)],
    "one wild run": lambda: [*a_sweep(), a_run(1e8, 5.0, 3.0, flops=1e21)],
    "no budgets": lambda: [a_run(run.num_params, run.num_tokens, run.loss) for run in a_sweep(noise=0.01)],
    "same size": lambda: [a_run(1e8, D, 2 + 100 * D**-0.3, budget=6e8 * D) for D in np.geomspace(1e9, 1e12, 8)],
    "same tokens": lambda: [a_run(N, 1e10, 2 + 100 * N**-0.3, budget=6e10 * N) for N in np.geomspace(1e7, 1e10, 8)],
    "a ladder": lambda: [a_run(N, 20 * N, 2 + 100 * N**-0.3) for N in np.geomspace(1e7, 1e10, 8)],
    "maxima": lambda: grid(lambda C, N: 5 - 0.1 * (math.log(N) - 0.5 * math.log(C / 6)) ** 2 - 0.02 * math.log(C)),
    "steep": lambda: grid(lambda C, N: 2 + 1e6 / N**1.5 + 1e9 / (C / 6 / N) ** 1.9),
    "many budgets": lambda: [
        a_run(N, C / (6 * N), LAW.loss(N, C / (6 * N)), flops=C, budget=C)
        for C in np.geomspace(1e18, 1e21, 200) for N in (1e7, 2e7, 3e7)
    ],
}  # fmt: skip


def keeps_the_rule(runs, approach, questions=QUESTIONS):
    fitted = rule.outcome(lambda: isoflop.fit(runs, approach, resamples=20))
    if not isinstance(fitted, isoflop.Fit):
        return
    rule.outcome(lambda: (str(fitted), fitted._repr_html_(), fitted.to_markdown()))
    assert len(fitted.notes) <= 40
    for question in questions:
        answer = rule.outcome(lambda question=question: isoflop.predict(fitted, **question))
        if isinstance(answer, isoflop.Optimum):
            rule.check_answer(answer)
            rule.check_width(answer)
            rule.outcome(
                lambda answer=answer: (str(answer), answer._repr_html_(), answer.to_latex())
            )


@pytest.mark.parametrize(
    "name", ["constant", "random", "negative", "no tokens", "budgets that nearly agree"]
)
def test_runs_without_a_law_are_answered_or_refused(name):
    keeps_the_rule(SWEEPS[name](), None, QUESTIONS[:4])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "approach"), [*product(SWEEPS, APPROACHES)])
def test_every_sweep_with_every_approach(name, approach):
    keeps_the_rule(SWEEPS[name](), approach)


@pytest.mark.slow
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    losses=st.lists(st.floats(1e-3, 1e3), min_size=len(GRID), max_size=len(GRID)),
    approach=st.sampled_from(APPROACHES),
    target=st.floats(1e3, 1e40),
)
def test_any_losses_are_answered_or_refused(losses, approach, target):
    given_ = iter(losses)
    keeps_the_rule(grid(lambda C, N: next(given_)), approach, [{"flops": target}])

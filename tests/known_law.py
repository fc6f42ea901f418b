"""Runs of a known law, as tests of fitting and answering share them."""

import numpy as np

from isoflop.laws.additive import ChinchillaLaw
from isoflop.runs import Run, RunSpec

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def a_run(
    N,
    D,
    loss,
    *,
    flops=None,
    budget=None,
    group=None,
    status="completed",
    epochs=None,
    error=None,
    size=None,
):
    """A run as a table gives it."""
    flops = 6 * N * D if flops is None else flops
    spec = RunSpec(num_params=N, num_tokens=D, flops=flops, budget=budget, epochs=epochs, size=size)
    return Run(
        spec=spec, status=status, loss=loss, num_tokens=D, flops=flops, group=group, error=error
    )


def a_sweep(
    law=LAW,
    budgets=(1e18, 1e19, 1e20),
    sizes=7,
    reach=4.0,
    noise=0.0,
    seed=0,
    drift=1.0,
    dearer=lambda N: 1.0,
):
    """IsoFLOP runs of a law: sizes spread over x/÷reach of each budget's true optimum.

    drift: factor on the middle of the sizes at the last budget; 1 for the optimum itself.
    dearer: N -> FLOPs of a token as a multiple of 6N.
    """
    random = np.random.default_rng(seed)
    runs = []
    for number, budget in enumerate(budgets):
        centre = law.optimum(budget)[0] * drift ** (number / max(len(budgets) - 1, 1))
        for N in centre * np.geomspace(1 / reach, reach, sizes):
            D = budget / (6 * N * dearer(N))
            loss = float(law.loss(N, D) * np.exp(noise * random.standard_normal()))
            runs.append(a_run(N, D, loss, flops=budget, budget=budget))
    return runs


def a_wide_sweep(**changes):
    """`a_sweep` with a fourth budget, which a check may hold out."""
    return a_sweep(budgets=(1e18, 1e19, 1e20, 1e21), **changes)

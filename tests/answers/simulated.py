"""Runs of a known law."""

import numpy as np

from isoflop.laws.additive import ChinchillaLaw
from isoflop.runs import Run, RunSpec

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def a_sweep(noise=0.0, dearer=lambda N: 1.0):
    """Four budgets x seven sizes of a law; a token costs 6N times dearer(N)."""
    random, runs = np.random.default_rng(0), []
    for budget in (1e18, 1e19, 1e20, 1e21):
        for N in LAW.optimum(budget)[0] * np.geomspace(1 / 4, 4, 7):
            D = budget / (6 * N * dearer(N))
            spec = RunSpec(num_params=N, num_tokens=D, flops=budget, budget=budget)
            loss = float(LAW.loss(N, D) * np.exp(noise * random.standard_normal()))
            runs.append(Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=budget))
    return runs

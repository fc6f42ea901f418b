"""What a token costs as a function of size, where that is known better than 6N.

N params, D tokens, C FLOPs.
"""

from collections.abc import Sequence

import numpy as np

from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.frontier import FrontierLaw
from isoflop.runs import Run

__all__ = ["cost_for", "counted_cost", "interpolated_cost", "measured_cost"]

NEGLIGIBLE = 0.05
"""Median relative difference from 6N below which 6N is used: the rounding of published FLOPs is of this size."""


def interpolated_cost(
    num_params: Sequence[float], flops_per_token: Sequence[float]
) -> CostPerToken:
    """6N times a ratio interpolated over log N between some sizes and held beyond them."""
    order = np.argsort(num_params)
    log_N = np.log(np.asarray(num_params, dtype=float)[order])
    log_ratio = np.log(np.asarray(flops_per_token, dtype=float)[order]) - np.log(6) - log_N

    def cost(N: Number) -> Number:
        return np.asarray(6 * N * np.exp(np.interp(np.log(N), log_N, log_ratio)))

    return cost


def counted_cost(
    num_params: Sequence[float], flops_per_token: Sequence[float], runs: Sequence[Run]
) -> CostPerToken:
    """Cost counted on some sizes; from there to the smallest and the largest run it changes as theirs does."""
    measured = measured_cost(runs)
    if measured is None:
        return interpolated_cost(num_params, flops_per_token)
    low, high = min(run.num_params for run in runs), max(run.num_params for run in runs)
    N, per_token = list(num_params), list(flops_per_token)
    for end, outside in ((int(np.argmin(N)), low), (int(np.argmax(N)), high)):
        if not min(num_params) <= outside <= max(num_params):
            N.append(outside)
            per_token.append(
                per_token[end] * float(measured(np.array(outside)) / measured(np.array(N[end])))
            )
    return interpolated_cost(N, per_token)


def cost_for(law: Law, runs: Sequence[Run]) -> CostPerToken | None:
    """Cost under which a law's optimum is sought without a task; a frontier has power laws of its own for N and D."""
    return None if isinstance(law, FrontierLaw) else measured_cost(runs)


def measured_cost(runs: Sequence[Run]) -> CostPerToken | None:
    """Cost from the runs' own FLOPs, a line through the logs; None where they are 6ND to within 5 %."""
    N = np.array([run.num_params for run in runs])
    per_token = np.array([run.flops / run.num_tokens for run in runs])
    if np.median(np.abs(np.log(per_token / (6 * N)))) < NEGLIGIBLE:
        return None
    if N.min() == N.max():
        return interpolated_cost([float(N[0])], [float(np.exp(np.log(per_token).mean()))])
    # A line, since sizes that vary width and depth by turns zigzag around it (xLSTM's sweep: 15 % in N otherwise).
    line = np.polynomial.Polynomial.fit(np.log(N), np.log(per_token), 1)
    ends = np.array([N.min(), N.max()])
    return interpolated_cost(ends.tolist(), np.exp(line(np.log(ends))).tolist())

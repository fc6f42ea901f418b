"""FLOPs per training token as a function of size, where more is known than 6N.

N params, D tokens, C FLOPs.
"""

from collections.abc import Sequence

import numpy as np

from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.frontier import FrontierLaw
from isoflop.runs import Run

__all__ = ["cost_for", "counted_cost", "interpolated_cost", "measured_cost"]

NEGLIGIBLE = 0.05
"""Median relative difference from 6N below which 6N is used; published FLOPs are rounded by as
much."""


def interpolated_cost(
    num_params: Sequence[float], flops_per_token: Sequence[float]
) -> CostPerToken:
    """6N times a ratio that is interpolated over log N between sizes and constant beyond them."""
    order = np.argsort(num_params)
    log_N = np.log(np.asarray(num_params, dtype=float)[order])
    log_ratio = np.log(np.asarray(flops_per_token, dtype=float)[order]) - np.log(6) - log_N

    def cost(N: Number) -> Number:
        return np.asarray(6 * N * np.exp(np.interp(np.log(N), log_N, log_ratio)))

    return cost


def counted_cost(
    num_params: Sequence[float], flops_per_token: Sequence[float], runs: Sequence[Run]
) -> CostPerToken:
    """Cost per token counted on some sizes, continued to the smallest and the largest run.

    Beyond the counted sizes the cost changes by the same factor as the runs' own cost.
    """
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
    """Cost per token for the optimum of a law, from the runs alone.

    None for a frontier, whose power laws give both N and D.
    """
    return None if isinstance(law, FrontierLaw) else measured_cost(runs)


def measured_cost(runs: Sequence[Run]) -> CostPerToken | None:
    """Cost per token from the runs' FLOPs, by a line through the logs.

    None where these FLOPs are 6ND to within 5 %.
    """
    N = np.array([run.num_params for run in runs])
    per_token = np.array([run.flops / run.num_tokens for run in runs])
    if np.median(np.abs(np.log(per_token / (6 * N)))) < NEGLIGIBLE:
        return None
    if N.min() == N.max():
        return interpolated_cost([float(N[0])], [float(np.exp(np.log(per_token).mean()))])
    # Sizes that vary width and depth in turn zigzag around a line. Interpolating between them would
    # move the best N of xLSTM's sweep by 15 %.
    line = np.polynomial.Polynomial.fit(np.log(N), np.log(per_token), 1)
    ends = np.array([N.min(), N.max()])
    return interpolated_cost(ends.tolist(), np.exp(line(np.log(ends))).tolist())

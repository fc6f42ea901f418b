"""A method in 20 lines: a straight line through the best run of each budget, by the textbook."""

import numpy as np
from methods import Forecast


def forecast(runs, flops):
    """Draws of log N: the line's prediction, with Student's t for its doubt."""
    budgets = sorted({run.budget for run in runs if run.budget})
    of_budget = [[run for run in runs if run.budget == budget] for budget in budgets]
    best = [min(group, key=lambda run: run.loss) for group in of_budget]
    x, y = np.log([[run.flops, run.num_params] for run in best]).T
    middle, freedom = x.mean(), len(x) - 2
    slope, height = np.polyfit(x - middle, y, 1)
    scatter = np.sum((y - height - slope * (x - middle)) ** 2) / freedom
    there = np.log(flops) - middle
    variance = scatter * (1 + 1 / len(x) + there**2 / np.sum((x - middle) ** 2))
    drawn = np.random.default_rng(0).standard_t(freedom, 400)
    return Forecast(height + slope * there + np.sqrt(variance) * drawn)

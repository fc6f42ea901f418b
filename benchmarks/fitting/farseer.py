"""Losses of large runs: Farseer's seven held-out runs, predicted from its 404 training runs.

Li et al. 2025 (arXiv:2506.10972): 25 sizes x 55 token counts without budgets; the held-out runs go
up to 25.1B params and 431B tokens.
"""

import math

import numpy as np
from methods import APPROACHES
from scores import Score, score
from tables import markdown, published

from isoflop.display.format import format_count
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.fit import fit

RESAMPLES = 400


def forecasts(approach: Approach | None) -> list[Score]:
    """Of the log losses of the held-out runs."""
    found = fit(published("farseer.csv", split="train"), approach, resamples=RESAMPLES)
    with np.errstate(all="ignore"):
        return [
            score(np.log(found.resamples.loss(run.num_params, run.num_tokens)), math.log(run.loss))
            for run in published("farseer.csv", split="test")
        ]


def page() -> list[str]:
    tested = published("farseer.csv", split="test")
    head = ["approach", *(format_count(run.num_params) for run in tested), "score", "covered"]
    rows = []
    for name, approach in APPROACHES.items():
        try:
            scores = forecasts(approach)
        except DataError:  # no budgets, no minima
            continue
        errors = [f"{100 * one.error:+.2f} %" for one in scores]
        covered = f"{sum(one.is_covered() for one in scores)} of {len(scores)}"
        rows.append([name, *errors, f"{np.mean([one.interval for one in scores]):.3f}", covered])
    return [
        "**Losses of Farseer's seven held-out runs** (Li et al. 2025; 0.2B to 25.1B params, errors "
        "of the median; interval score of log loss; 90 % intervals), from its 404 training runs:",
        markdown(head, rows),
    ]

"""Reasons to doubt a fit, each one sentence that names the run, budget or number it is about.

N params, D tokens, C FLOPs; E irreducible loss.
"""

import math
from collections.abc import Iterator

import numpy as np

from isoflop import text
from isoflop.fitting.approach import Diagnostics, Solved
from isoflop.fitting.laws import FrontierLaw
from isoflop.fitting.points import Points

__all__ = ["reasons_to_doubt"]

AGREEING = 0.5
ILL_CONDITIONED = 1000.0
FEW_SIZES = 5


def reasons_to_doubt(points: Points, solved: Solved) -> tuple[str, ...]:
    """What weakens a law and the sweep it came from."""
    return (*solved.notes, *_solver(solved.diagnostics), *_exponents(solved), *_sweep(points))


def _solver(found: Diagnostics) -> Iterator[str]:
    if not found.converged:
        yield "The solver did not converge; the law is the best point that it reached."
    if found.agreement < AGREEING:
        yield f"Only {text.percent(found.agreement)} of the solver's starts ended in the best minimum: it has rivals."
    for name in found.at_bound:
        yield f"{name} ended at the bound of its range: the runs do not determine it, so do not extrapolate the law."
    if found.condition > ILL_CONDITIONED:
        yield f"The fit is ill-conditioned ({found.condition:.0f}): different laws explain these runs equally well."


def _exponents(solved: Solved) -> Iterator[str]:
    law = solved.law
    found = (
        {"params": law.num_params.exponent, "tokens": law.num_tokens.exponent} if isinstance(law, FrontierLaw) else {}
    )
    for what, exponent in found.items():
        if not 0 < exponent < 1:
            yield (
                f"The best number of {what} grows with FLOPs to the power {exponent:.2f}, outside (0, 1), "
                f"which no compute-optimal law does; add budgets or sizes."
            )


def _sweep(points: Points) -> Iterator[str]:
    ratio = np.log(points.D / points.N)
    if math.exp(ratio.max() - ratio.min()) < 2:
        yield (
            f"All runs train {text.interval(math.exp(ratio.min()), math.exp(ratio.max()))} tokens per param; "
            f"without a spread of 4x the effects of size and data cannot be told apart."
        )
    if len(points.budgets) == 2 and np.isfinite(points.budget).all():
        yield "There are 2 budgets only, so nothing checks that the optimum follows a power law; add a third."
    for budget in points.budgets:
        sizes = len(np.unique(points.N[points.budget == budget]))
        if 3 <= sizes < FEW_SIZES:
            yield f"Budget {text.flops(budget)} has {sizes} sizes; 7 would show whether its minimum is real."

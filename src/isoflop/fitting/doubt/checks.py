"""Reasons to doubt a fit, each one sentence that names the run, budget or number it is about.

N params, D tokens, C FLOPs; E irreducible loss.
"""

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np

from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_percent,
    merge_budgets,
)
from isoflop.fitting.approaches.base import Diagnostics, Solved
from isoflop.fitting.approaches.isoflop import Valley, valleys
from isoflop.fitting.doubt.breaks import breaks
from isoflop.fitting.doubt.refits import disagreements
from isoflop.fitting.doubt.waves import waves
from isoflop.fitting.screening.seeds import USUAL, seed_noise
from isoflop.laws.base import Law
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points

__all__ = ["reasons_to_doubt"]

AGREEING = 0.5
ILL_CONDITIONED = 1000.0
FEW_SIZES = 5
ANSWERING = 0.95


def reasons_to_doubt(
    points: Points, solved: Solved, resamples: Law, one_law: Solved | None
) -> tuple[str, ...]:
    """What weakens a law and the sweep it came from; one_law: through all runs, None where there is none."""
    found = chain(
        solved.notes,
        _valleys(points),
        _sweep(points),
        _noise(points),
        _solver(solved.diagnostics),
        _exponents(solved),
        _floor(points, solved, resamples),
        _answers(points, resamples),
        breaks(points, one_law),
        disagreements(points, solved, resamples),
        waves(points, solved),
    )
    return merge_budgets(found)


def _solver(found: Diagnostics) -> Iterator[str]:
    if not found.converged:
        yield "The solver did not converge; the law is the best point that it reached."
    if found.agreement < AGREEING:
        yield f"Only {format_percent(found.agreement)} of the solver's starts ended in the best minimum: it has rivals."
    for name in found.at_bound:
        yield f"{name} ended at the bound of its range: the runs do not determine it, so do not extrapolate the law."
    if found.condition > ILL_CONDITIONED:
        yield f"The fit is ill-conditioned ({found.condition:.0f}): different laws explain these runs equally well."


def _noise(points: Points) -> Iterator[str]:
    noise = seed_noise(points.runs)
    if noise is not None and noise > 2 * USUAL:  # three runs know their noise to x/÷2
        yield (
            f"The same run differs by {format_percent(noise)} of its loss from seed to seed, and published sweeps by "
            f"{format_percent(USUAL)} at most; train with more seeds, or evaluate on more held-out data."
        )


def _exponents(solved: Solved) -> Iterator[str]:
    law = solved.law
    found = (
        {"params": law.num_params.exponent, "tokens": law.num_tokens.exponent}
        if isinstance(law, FrontierLaw)
        else {}
    )
    for what, exponent in found.items():
        if not 0 < exponent < 1:
            yield (
                f"The best number of {what} grows with FLOPs to the power {exponent:.2f}, outside (0, 1), "
                f"which no compute-optimal law does; add budgets or sizes."
            )
    for name in ("alpha", "beta"):
        if name not in solved.diagnostics.at_bound and float(getattr(law, name, 0.0)) > 1:
            yield (
                f"{name} is {getattr(law, name):.2f}, above 1, where no published law lies: "
                f"the small runs may be in another regime."
            )


def _valleys(points: Points) -> Iterator[str]:
    """Budgets whose minimum is not bracketed, or too shallow to be told from noise."""
    for valley in valleys(points.runs):
        if valley.reason:
            yield valley.reason
        elif _is_flat(valley):
            yield (
                f"Budget {format_flops(valley.budget)} is flat: its curve rises by less than twice the scatter of its "
                f"losses; add sizes further from {format_count(valley.num_params)}."
            )


def _is_flat(valley: Valley) -> bool:
    inside = [run for run in valley.runs if valley.window[0] <= run.num_params <= valley.window[1]]
    if len(inside) < 4:
        return False
    N, loss = (np.array([getattr(run, name) for run in inside]) for name in ("num_params", "loss"))
    curve = valley.loss_at(N)
    scatter = math.sqrt(float(np.sum((curve - loss) ** 2)) / (len(inside) - 3))
    return bool(curve.max() - valley.loss < 2 * scatter)


def _floor(points: Points, solved: Solved, resamples: Law) -> Iterator[str]:
    """The irreducible loss, where the law has one."""
    floor, middle = (each.numbers().get("E") for each in (resamples, solved.law))
    if floor is None or middle is None or np.ndim(floor) == 0:
        return
    low, high = np.nanquantile(floor, [0.05, 0.95])
    reducible = float(points.L.min()) - float(middle)
    if high - low > reducible:
        yield (
            f"The irreducible loss is hardly determined ({low:.2f} to {high:.2f}, while the lowest loss is "
            f"{points.L.min():.2f}), so losses far beyond the runs are guesses."
        )


def _answers(points: Points, resamples: Law) -> Iterator[str]:
    with np.errstate(all="ignore"):
        found = np.isfinite(resamples.optimum(float(points.C.max()))[0])
    if found.mean() < ANSWERING:
        share = format_percent(float(found.mean()))
        yield f"Only {share} of the resamples have an optimum; the intervals are of those alone."


def _sweep(points: Points) -> Iterator[str]:
    ratio = np.log(points.D / points.N)
    if math.exp(ratio.max() - ratio.min()) < 2:
        yield (
            f"All runs train {format_interval(math.exp(ratio.min()), math.exp(ratio.max()))} tokens per param; "
            f"without a spread of 4x the effects of size and data cannot be told apart."
        )
    if len(points.budgets) == 2 and np.isfinite(points.budget).all():
        yield "There are 2 budgets only, so nothing checks that the optimum follows a power law; add a third."
    for budget in points.budgets:
        sizes = len(np.unique(points.N[points.budget == budget]))
        if 3 <= sizes < FEW_SIZES:
            yield f"Budget {format_flops(budget)} has {sizes} sizes; 7 would show whether its minimum is real."

"""Checks of a fit, which give notes on its runs, budgets and numbers.

N params, D tokens, C FLOPs; E irreducible loss.
"""

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np

from isoflop.display.format import format_count, format_interval, format_loss, format_percent
from isoflop.fitting.approaches.base import Diagnostics, Solved
from isoflop.fitting.approaches.isoflop import Valley, valleys_of
from isoflop.fitting.doubt.breaks import breaks
from isoflop.fitting.doubt.plausible import implausible
from isoflop.fitting.doubt.refits import disagreements
from isoflop.fitting.doubt.waves import waves
from isoflop.fitting.screening.seeds import USUAL, seed_noise
from isoflop.laws.base import Law
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points
from isoflop.notes.merging import BudgetNote, merged
from isoflop.notes.note import Note

__all__ = ["reasons_to_doubt"]

AGREEING = 0.5
"""Share of the solver's starts in the best minimum, below which there is a note."""
ILL_CONDITIONED = 1000.0
FEW_SIZES = 5
MOST_BUDGETS = 10
"""Notes of one kind about single budgets; more are shortened to one."""
ANSWERING = 0.95
"""Share of the resamples with an optimum, below which there is a note."""


def reasons_to_doubt(
    points: Points, solved: Solved, resamples: Law, one_law: Solved | None
) -> tuple[Note, ...]:
    """Notes on what weakens a law and the sweep behind it.

    one_law: the law through all runs; None where they do not determine one.
    """
    notes = chain(
        solved.notes,
        implausible(points),
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
    return merged(notes, MOST_BUDGETS)


def _solver(diagnostics: Diagnostics) -> Iterator[Note]:
    if not diagnostics.converged:
        text = "The solver did not converge; the law is the best point that it reached."
        yield Note("not-converged", text)
    if diagnostics.agreement < AGREEING:
        text = (
            f"Only {format_percent(diagnostics.agreement)} of the solver's starts ended in the "
            f"best minimum: it has rivals."
        )
        yield Note("rival-minima", text)
    for name in diagnostics.at_bound:
        text = (
            f"{name} ended at the bound of its range: the runs do not determine it, so do not "
            f"extrapolate the law."
        )
        yield Note("at-bound", text)
    if diagnostics.condition > ILL_CONDITIONED:
        text = (
            f"The fit is ill-conditioned ({diagnostics.condition:.0f}): different laws explain "
            f"these runs equally well."
        )
        yield Note("ill-conditioned", text)


def _noise(points: Points) -> Iterator[Note]:
    noise = seed_noise(points.runs)
    # Three runs determine their noise to a factor of 2.
    if noise is not None and noise > 2 * USUAL:
        text = (
            f"The same run differs by {format_percent(noise)} of its loss from seed to seed, and "
            f"published sweeps by {format_percent(USUAL)} at most; train with more seeds, or "
            f"evaluate on more held-out data."
        )
        yield Note("seed-noise", text)


def _exponents(solved: Solved) -> Iterator[Note]:
    law = solved.law
    if isinstance(law, FrontierLaw):
        yield from _frontier_exponent("params", float(law.num_params.exponent))
        yield from _frontier_exponent("tokens", float(law.num_tokens.exponent))
    for name in ("alpha", "beta"):
        exponent = float(getattr(law, name, 0.0))
        if name not in solved.diagnostics.at_bound and exponent > 1:
            text = (
                f"{name} is {exponent:.2f}, above 1, where no published law lies: "
                f"the small runs may be in another regime."
            )
            yield Note("exponent-above-one", text)


def _frontier_exponent(quantity: str, exponent: float) -> Iterator[Note]:
    if not 0 < exponent < 1:
        text = (
            f"The best number of {quantity} grows with FLOPs to the power {exponent:.2f}, "
            f"outside (0, 1), which no compute-optimal law does; add budgets or sizes."
        )
        yield Note("exponent-outside", text)


def _valleys(points: Points) -> Iterator[Note]:
    """Budgets whose minimum is not bracketed, or too shallow to be distinguished from noise."""
    for valley in valleys_of(points):
        if isinstance(valley.reason, Note):
            yield valley.reason
        elif _is_flat(valley):
            text = (
                f"is flat: its curve rises by less than twice the scatter of its losses; "
                f"add sizes further from {format_count(valley.num_params)}."
            )
            yield BudgetNote("flat", valley.budget, text)


def _is_flat(valley: Valley) -> bool:
    inside = [run for run in valley.runs if valley.window[0] <= run.num_params <= valley.window[1]]
    if len(inside) < 4:
        return False
    N, loss = (np.array([getattr(run, name) for run in inside]) for name in ("num_params", "loss"))
    curve = valley.loss_at(N)
    scatter = math.sqrt(float(np.sum((curve - loss) ** 2)) / (len(inside) - 3))
    return bool(curve.max() - valley.loss < 2 * scatter)


def _floor(points: Points, solved: Solved, resamples: Law) -> Iterator[Note]:
    """The interval of the irreducible loss, where the law has one."""
    floor, middle = (each.numbers().get("E") for each in (resamples, solved.law))
    if floor is None or middle is None or np.ndim(floor) == 0:
        return
    low, high = np.nanquantile(floor, [0.05, 0.95])
    reducible = float(points.L.min()) - float(middle)
    if high - low > reducible:
        span, lowest = format_interval(low, high, format_loss), format_loss(float(points.L.min()))
        text = (
            f"The irreducible loss is hardly determined ({span}, while the lowest loss is "
            f"{lowest}), so losses far beyond the runs are guesses."
        )
        yield Note("irreducible-loss-unknown", text)


def _answers(points: Points, resamples: Law) -> Iterator[Note]:
    with np.errstate(all="ignore"):
        has_optimum = np.isfinite(resamples.optimum(float(points.C.max()))[0])
    share = float(has_optimum.mean())
    if share < ANSWERING:
        text = (
            f"Only {format_percent(share)} of the resamples have an optimum; "
            f"the intervals are of those alone."
        )
        yield Note("resamples-without-optimum", text)


def _sweep(points: Points) -> Iterator[Note]:
    ratio = np.log(points.D / points.N)
    if math.exp(ratio.max() - ratio.min()) < 2:
        span = format_interval(math.exp(ratio.min()), math.exp(ratio.max()))
        text = (
            f"All runs train {span} tokens per param; without a spread of 4x the effects of size "
            f"and data cannot be told apart."
        )
        yield Note("narrow-ratio", text)
    if len(points.budgets) == 2 and np.isfinite(points.budget).all():
        text = (
            "There are 2 budgets only, so nothing checks that the optimum follows a power law; "
            "add a third."
        )
        yield Note("two-budgets", text)
    for budget in points.budgets:
        sizes = len(np.unique(points.N[points.budget == budget]))
        if 3 <= sizes < FEW_SIZES:
            text = f"has {sizes} sizes; 7 would show whether its minimum is real."
            yield BudgetNote("few-sizes", float(budget), text)

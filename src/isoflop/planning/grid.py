"""The cells of an IsoFLOP grid: real sizes around the optimum of each budget."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.display.format import format_count, format_flops, join_words
from isoflop.errors import DataError, PlanError
from isoflop.fitting.default import law_of
from isoflop.laws.base import TOKENS_PER_PARAM, Law
from isoflop.notes.note import Note
from isoflop.planning.branches import on_lattice
from isoflop.planning.limits import Room, within
from isoflop.planning.passes import check_data
from isoflop.planning.specs import make_spec, paid_tokens
from isoflop.planning.stage import LEAST_STEPS
from isoflop.runs import Run, RunSpec

__all__ = ["Centres", "Grid", "budget_sizes", "split"]

SIZES_PER_BUDGET = 7
SPREAD_UNKNOWN, SPREAD_KNOWN = 8.0, 4.0
"""Sizes of a budget span the guess times and divided by this; less once runs have been fitted."""

MIN_SIZES = 3
"""A parabola needs three points."""

OVER_BUDGET = 1.5
"""Times a budget that a run may cost when its tokens are rounded to whole steps."""


@dataclass(frozen=True)
class Centres:
    """Guess of the optimum of a budget: by the law of earlier runs, else by tokens per param."""

    law: Law | None = None
    spread: float = SPREAD_UNKNOWN
    notes: tuple[Note, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Centres":
        """By the law of some runs, where they have two budgets or more."""
        if len({run.budget for run in runs if run.budget and run.status == "completed"}) < 2:
            return cls()
        try:
            law = law_of(runs)
        except DataError as error:
            text = f"Sizes are centred on a guess, since the earlier runs show no law: {error}"
            return cls(notes=(Note("centred-on-guess", text),))
        text = "Sizes are centred on the optimum that the earlier runs show."
        return cls(law, SPREAD_KNOWN, (Note("centred-on-runs", text),))

    def num_params(self, sizes: Sizes, budget: float) -> float:
        """N of the optimum at a budget, as far as it is known."""
        if self.law is not None:
            return float(self.law.optimum(budget)[0])
        guess = math.sqrt(budget / (6 * TOKENS_PER_PARAM))
        for _ in range(2):  # FLOPs per token are not 6N at small sizes, and depend on N
            near = sizes.near(guess)
            guess = math.sqrt(budget / (TOKENS_PER_PARAM * near.flops_per_token / near.num_params))
        return guess


@dataclass(frozen=True)
class Grid:
    """The sizes of a grid, its data and memory, and the runs so far that new cells must respect.

    task_fingerprint: as given by `Sizes.fingerprint`.
    runs: all runs so far.
    """

    sizes: Sizes
    supply: TokenSupply
    task_fingerprint: str
    room: Room
    runs: Sequence[Run] = ()

    def spec(
        self, sized: SizeCount, budget: float, *, seed: int = 0, epochs: float | None = None
    ) -> RunSpec:
        """The run of a cell."""
        wanted = paid_tokens(self.sizes, sized, budget)
        return make_spec(
            self.sizes,
            self.supply,
            self.task_fingerprint,
            sized,
            wanted,
            seed=seed,
            budget=budget,
            epochs=epochs,
        )

    @cached_property
    def failed(self) -> dict[object, float]:
        """Sizes of which a run failed, at any budget, with their params."""
        return {
            run.size: run.spec.num_params
            for run in self.runs
            if run.status == "failed" and run.spec.fingerprint == self.task_fingerprint
        }

    def has_data(self, sized: SizeCount, budget: float) -> bool:
        """True where the recipe's passes over the data give a run of the size its tokens."""
        try:
            check_data(self.sizes, self.supply, [self.spec(sized, budget)])
        except PlanError:
            return False
        return True

    def is_long(self, sized: SizeCount, budget: float) -> bool:
        """True where a run of the size takes enough steps to learn."""
        return round(self.spec(sized, budget).num_steps) >= LEAST_STEPS

    def keeps_budget(self, sized: SizeCount, budget: float) -> bool:
        """True where a run of the size costs about the budget, even if that is under one step."""
        return self.spec(sized, budget).flops <= OVER_BUDGET * budget


def budget_sizes(
    grid: Grid, budget: float, centres: Centres
) -> tuple[list[SizeCount], tuple[Note, ...]]:
    """Sizes around the optimum of a budget, and notes about them.

    Raises PlanError where there are fewer than three.
    """
    sizes = grid.sizes
    centre = centres.num_params(sizes, budget)
    if sizes.recipe.branches:
        centre = on_lattice(centre, centres.spread, SIZES_PER_BUDGET)
    wanted = np.geomspace(centre / centres.spread, centre * centres.spread, SIZES_PER_BUDGET)
    counts = sorted(sizes.several_near(wanted.tolist()), key=lambda sized: sized.num_params)
    if len(counts) < MIN_SIZES:
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes, but {sizes.parameter!r} has only "
            f"{len(counts)} near {format_count(centre)} params for budget "
            f"{format_flops(budget)}; allow more sizes."
        )
    counts, left_out = within(grid.room, counts, MIN_SIZES)
    counts, useless = _useful(grid, counts, budget)
    notes = [*centres.notes, *left_out, *useless, *_one_sided_notes(counts, budget, centre)]
    return counts, (*notes, *(note for sized in counts for note in sized.notes))


def _one_sided_notes(counts: Sequence[SizeCount], budget: float, centre: float) -> list[Note]:
    least, most = counts[0].num_params, counts[-1].num_params
    if least <= centre <= most:
        return []
    return [
        Note(
            "centre-outside-sizes",
            f"Budget {format_flops(budget)}: no size on one side of {format_count(centre)} params, "
            f"where the optimum is guessed to lie; the sizes run from {format_count(least)} to "
            f"{format_count(most)}.",
        )
    ]


def _useful(
    grid: Grid, counts: Sequence[SizeCount], budget: float
) -> tuple[list[SizeCount], list[Note]]:
    """The sizes that are worth a run at a budget, and notes about the others.

    Raises PlanError where too few have not failed, or train long enough.
    """
    trained, failed = split(
        counts, budget, lambda sized: sized.size not in grid.failed, "a run has failed"
    )
    if len(trained) < MIN_SIZES:
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes, but at budget "
            f"{format_flops(budget)} only {len(trained)} of {len(counts)} have not failed before; "
            f"allow more sizes, or leave failed runs out of runs=."
        )
    useful, left_out = split(
        trained,
        budget,
        lambda sized: grid.keeps_budget(sized, budget),
        "a single step costs far more",
    )
    short = [sized for sized in useful if not grid.is_long(sized, budget)]
    if len(useful) < MIN_SIZES or len(short) == len(useful):
        raise PlanError(
            f"Budget {format_flops(budget)} is too small: of {len(trained)} sizes it pays for one "
            f"step of {len(useful)} and for the required {LEAST_STEPS} steps of "
            f"{len(useful) - len(short)}; raise the budget, or allow smaller sizes or batches."
        )
    return useful, [*failed, *left_out, *_short_notes(short, budget)]


def _short_notes(short: Sequence[SizeCount], budget: float) -> list[Note]:
    if not short:
        return []
    names = join_words([str(sized.size) for sized in short])
    sizes = f"size {names} trains" if len(short) == 1 else f"sizes {names} train"
    return [
        Note(
            "few-steps",
            f"Budget {format_flops(budget)}: {sizes} for fewer than {LEAST_STEPS} steps, which "
            f"teach little; raise the budget, or take smaller batches.",
        )
    ]


def split(
    counts: Sequence[SizeCount], budget: float, keeps: Callable[[SizeCount], bool], why: str
) -> tuple[list[SizeCount], list[Note]]:
    """The sizes that are kept, and a note on the others that says why."""
    kept = [sized for sized in counts if keeps(sized)]
    others = [str(sized.size) for sized in counts if sized not in kept]
    if not others:
        return kept, []
    sizes = f"Size {others[0]} is" if len(others) == 1 else f"Sizes {join_words(others)} are"
    text = f"{sizes} left out at budget {format_flops(budget)}: {why}."
    return kept, [Note("size-left-out-budget", text)]

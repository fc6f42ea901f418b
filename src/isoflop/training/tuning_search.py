"""The cells of a search for a setting (sizes and token counts), and the search in each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.display.format import format_flops, format_percent
from isoflop.errors import PlanError
from isoflop.fitting.noisy_rule import Tried
from isoflop.planning.specs import make_spec
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec

__all__ = ["Cell", "Place", "Search", "TooLittleError", "choose_places", "spec_maker"]

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the recipe's own value to try first in each cell; later ones go by factors of 2."""
FIRST = 0.6
"""Share of the allowance for the first round; the rest is for cells with their best at an edge,
and then for more seeds of those whose best is unsure."""
MAX_ROUNDS, MOST_SEEDS = 5, 4
SIZE_RATIO, LEAST_RATIO = 4.0, 1.5
"""Intended and least ratio of the two sizes, and so of the two token counts."""
STEP = 1.15
"""Ratio of the sizes tried, from the sweep's largest down, until four cells fit the allowance."""
LEAST_STEPS = 20
"""Optimiser steps below which a run shows nothing about its learning rate."""

Make = Callable[["Place", Recipe, int], RunSpec]
"""Place, recipe, number of the seed, from 0 on -> spec."""
LossesOf = Callable[[Sequence[RunSpec]], dict[str, float]]
"""Specs -> final loss by run id, infinite if a run diverged; runs that failed have none."""


class TooLittleError(PlanError):
    """A share of a sweep that does not pay for the shortest tuning."""


@dataclass(frozen=True)
class Place:
    """One size on one number of tokens."""

    sized: SizeCount
    num_tokens: float

    @property
    def num_params(self) -> float:
        return self.sized.num_params

    @property
    def flops(self) -> float:
        return self.sized.flops_per_token * self.num_tokens


@dataclass(frozen=True)
class Cell:
    """A place and what was tried there, by seed and value."""

    place: Place
    tried: tuple[Tried, ...]

    @property
    def at(self) -> tuple[float, float]:
        """Params and tokens."""
        return self.place.num_params, self.place.num_tokens

    @property
    def first(self) -> tuple[Tried, ...]:
        """What was tried with the first seed, by value."""
        return tuple(one for one in self.tried if one.seed == 0)

    @property
    def means(self) -> tuple[Tried, ...]:
        """The mean loss of each value over its seeds, by value."""
        losses: dict[float, list[float]] = {}
        for one in self.tried:
            losses.setdefault(one.value, []).append(one.loss)
        return tuple(Tried(value, float(np.mean(losses[value]))) for value in sorted(losses))

    @property
    def lowest(self) -> Tried:
        """The value of the lowest mean loss."""
        return min(self.means, key=lambda one: one.loss)

    @property
    def is_inside(self) -> bool:
        """Whether values on both sides of that of the lowest loss were tried."""
        return self.first[0].value < self.lowest.value < self.first[-1].value


def spec_maker(sizes: Sizes) -> Make:
    """A function (place, recipe, k) -> spec at that place, with the seed k after the first one."""
    supply, task_fingerprint = sizes.supply, sizes.fingerprint

    def make(place: Place, recipe: Recipe, k: int) -> RunSpec:
        return make_spec(
            sizes,
            supply,
            task_fingerprint,
            place.sized,
            place.num_tokens,
            seed=recipe.seeds[0] + k,
            recipe=recipe,
        )

    return make


def choose_places(sizes: Sizes, sweep: Sweep, share: float, allowance: float) -> tuple[Place, ...]:
    """Two sizes on two token counts, as large as the first round's part of the allowance permits.

    Their tokens per param are the mean of the sweep's: its middle, not one of its corners.

    Raises TooLittleError if not even the smallest four fit.
    """
    per_param = math.exp(
        np.mean([math.log(spec.num_tokens / spec.num_params) for spec in sweep.specs])
    )
    largest = max(spec.num_params for spec in sweep.specs)
    limit, cheapest = FIRST * allowance, math.inf
    for num_params in largest / STEP ** np.arange(200):
        places = _square(sizes, float(num_params), per_param)
        if places is None:
            continue
        cost = len(FACTORS) * sum(place.flops for place in places)
        if not _is_long_enough(sizes, places):
            break
        if cost <= limit and _has_data(sizes, places):
            return places
        cheapest = min(cheapest, cost)
    raise TooLittleError(
        f"Tuning needs runs at 2 sizes x 2 token counts x {len(FACTORS)} values, but "
        f"{format_percent(share)} of the sweep's {format_flops(sweep.flops)} FLOPs does not pay "
        f"for them{_remedy(cheapest, limit, share)}."
    )


def _remedy(cheapest: float, limit: float, share: float) -> str:
    if not math.isfinite(cheapest):
        return ", and no two sizes lie far enough apart; allow smaller sizes"
    return f"; allow share={share * cheapest / limit:.2g} or more, or smaller sizes"


def _square(sizes: Sizes, num_params: float, per_param: float) -> tuple[Place, ...] | None:
    """Four places with the sizes nearest to N and N / 4; None if these are too close together."""
    large, small = sizes.near(num_params), sizes.near(num_params / SIZE_RATIO)
    if large.num_params < LEAST_RATIO * small.num_params:
        return None
    tokens = [per_param * sized.num_params for sized in (small, large)]
    return tuple(Place(sized, num_tokens) for sized in (small, large) for num_tokens in tokens)


def _is_long_enough(sizes: Sizes, places: Sequence[Place]) -> bool:
    return all(
        place.num_tokens
        >= LEAST_STEPS * sizes.recipe.tokens_per_step(place.num_params, place.num_tokens)
        for place in places
    )


def _has_data(sizes: Sizes, places: Sequence[Place]) -> bool:
    unique, allowed = sizes.supply.unique_tokens, sizes.recipe.epochs
    return (
        unique is None
        or allowed is None
        or max(place.num_tokens for place in places) <= unique * allowed
    )


@dataclass
class Search:
    """Searches for the best value of one setting in every place.

    base: the recipe's own value at a place.
    recipe_with: the recipe with a value of the setting at a place.
    value_of: the actual value of a spec, after rounding.
    """

    places: tuple[Place, ...]
    base: Callable[[Place], float]
    recipe_with: Callable[[Place, float], Recipe]
    value_of: Callable[[RunSpec], float]
    make: Make
    allowance: float
    is_unsure: Callable[[Sequence[Cell]], Sequence[bool]]
    spent: float = 0.0
    _tried: list[set[Tried]] = field(default_factory=list)

    def run(self, losses_of: LossesOf) -> tuple[Cell, ...]:
        """Try values until each best one is known or the allowance is spent.

        First until it has worse ones on both sides, then with more seeds in the unsure cells.

        Raises PlanError where all runs of a place failed.
        """
        self._tried = [set() for _ in self.places]
        candidates = [[factor * self.base(place) for factor in FACTORS] for place in self.places]
        for _ in range(MAX_ROUNDS):
            if not self._train(self._affordable(candidates), losses_of, 0):
                break
            candidates = [_outward(cell) for cell in self._cells()]
        for k in range(1, MOST_SEEDS):
            cells = self._cells()
            unsure = [one for one, is_so in enumerate(self.is_unsure(cells)) if is_so]
            if not self._train(self._repeated(cells, unsure, k), losses_of, k):
                break
        return self._cells()

    def _train(self, specs: Sequence[tuple[int, RunSpec]], losses_of: LossesOf, seed: int) -> bool:
        """Train specs of places, by number, and keep their losses; False where there are none."""
        losses = losses_of([spec for _, spec in specs]) if specs else {}
        for place, spec in specs:
            if spec.id in losses:
                self._tried[place].add(Tried(self.value_of(spec), losses[spec.id], seed))
        self._require_losses()
        return bool(specs)

    def _cells(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(place, tuple(sorted(tried, key=lambda one: (one.seed, one.value))))
            for place, tried in zip(self.places, self._tried, strict=True)
        )

    def _require_losses(self) -> None:
        for place, tried in zip(self.places, self._tried, strict=True):
            if not tried:
                raise PlanError(
                    f"Tuning needs the losses of size {place.sized.size}, but all runs of it "
                    f"failed; see Run.error, fix the cause and forget them with isoflop rerun."
                )

    def _affordable(self, candidates: Sequence[Sequence[float]]) -> list[tuple[int, RunSpec]]:
        """The specs of candidate values, place by place, that the allowance still pays for."""
        chosen: list[tuple[int, RunSpec]] = []
        for place, values in enumerate(candidates):
            for spec in (self._spec(place, value) for value in values):
                known = self.value_of(spec) in {one.value for one in self._tried[place]} or any(
                    spec.id == other.id for _, other in chosen
                )
                if not known and self.spent + spec.flops <= self.allowance:
                    chosen.append((place, spec))
                    self.spent += spec.flops
        return chosen

    def _repeated(
        self, cells: Sequence[Cell], unsure: Sequence[int], k: int
    ) -> list[tuple[int, RunSpec]]:
        """The values of unsure cells with one seed more, of the cells that are paid for whole."""
        chosen: list[tuple[int, RunSpec]] = []
        for place in unsure:
            values = [one.value for one in cells[place].first if math.isfinite(one.loss)]
            specs = [self._spec(place, value, k) for value in values]
            cost = sum(spec.flops for spec in specs)
            if self.spent + cost <= self.allowance:
                chosen += [(place, spec) for spec in specs]
                self.spent += cost
        return chosen

    def _spec(self, place: int, value: float, k: int = 0) -> RunSpec:
        where = self.places[place]
        return self.make(where, self.recipe_with(where, value), k)


def _outward(cell: Cell) -> list[float]:
    """Two more values beyond the edge with the best value; none if the best is inside."""
    low, high, best = cell.first[0].value, cell.first[-1].value, cell.lowest.value
    if best == low:
        return [low / 2, low / 4]
    return [high * 2, high * 4] if best == high else []

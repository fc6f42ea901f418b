"""The cells of a search for a setting (sizes and token counts), and the search in each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.display.format import format_flops, format_percent
from isoflop.errors import PlanError
from isoflop.fitting.setting_rule import Vertex, fit_vertex
from isoflop.planning.specs import make_spec
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec

__all__ = ["Cell", "Place", "Search", "TooLittleError", "choose_places", "spec_maker"]

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the recipe's own value to try first in each cell; later ones go by factors of 2."""
FIRST = 0.6
"""Share of the allowance for the first round; the rest is for cells with their best at an edge."""
MAX_ROUNDS = 5
SIZE_RATIO, LEAST_RATIO = 4.0, 1.5
"""Intended and least ratio of the two sizes, and so of the two token counts."""
STEP = 1.15
"""Ratio of the sizes tried, from the sweep's largest down, until four cells fit the allowance."""
LEAST_STEPS = 20
"""Optimiser steps below which a run shows nothing about its learning rate."""

Make = Callable[["Place", Recipe], RunSpec]
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
    """A place, the (value, loss) pairs tried there, and the best value."""

    place: Place
    tried: tuple[tuple[float, float], ...]
    vertex: Vertex


def spec_maker(sizes: Sizes) -> Make:
    """A function (place, recipe) -> spec at that place, with the recipe's first seed."""
    supply, task_fingerprint = sizes.supply, sizes.fingerprint

    def make(place: Place, recipe: Recipe) -> RunSpec:
        return make_spec(
            sizes,
            supply,
            task_fingerprint,
            place.sized,
            place.num_tokens,
            seed=recipe.seeds[0],
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
    spent: float = 0.0
    _tried: list[dict[float, float]] = field(default_factory=list)

    def run(self, losses_of: LossesOf) -> tuple[Cell, ...]:
        """Try values until each best one has worse ones on both sides or the allowance is spent.

        Raises PlanError where all runs of a place failed.
        """
        self._tried = [{} for _ in self.places]
        candidates = [[factor * self.base(place) for factor in FACTORS] for place in self.places]
        for _ in range(MAX_ROUNDS):
            specs = self._affordable(candidates)
            if not specs:
                break
            losses = losses_of([spec for _, spec in specs])
            for k, spec in specs:
                if spec.id in losses:
                    self._tried[k][self.value_of(spec)] = losses[spec.id]
            self._require_losses()
            candidates = [_outward(tried) for tried in self._tried]
        return tuple(
            _cell(place, tried) for place, tried in zip(self.places, self._tried, strict=True)
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
        for k, (place, values) in enumerate(zip(self.places, candidates, strict=True)):
            for spec in (self.make(place, self.recipe_with(place, value)) for value in values):
                known = self.value_of(spec) in self._tried[k] or any(
                    spec.id == other.id for _, other in chosen
                )
                if not known and self.spent + spec.flops <= self.allowance:
                    chosen.append((k, spec))
                    self.spent += spec.flops
        return chosen


def _outward(tried: dict[float, float]) -> list[float]:
    """Two more values beyond the edge with the best value; none if the best is inside."""
    values = sorted(tried)
    best = min(values, key=lambda value: tried[value])
    if best == values[0]:
        return [values[0] / 2, values[0] / 4]
    return [values[-1] * 2, values[-1] * 4] if best == values[-1] else []


def _cell(place: Place, tried: dict[float, float]) -> Cell:
    pairs = tuple(sorted(tried.items()))
    return Cell(
        place, pairs, fit_vertex([value for value, _ in pairs], [loss for _, loss in pairs])
    )

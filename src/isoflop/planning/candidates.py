"""Candidates of a sweep: real sizes with their cost, places (N, D), and stages of them."""

import math
from dataclasses import dataclass, replace

import numpy as np

from isoflop.laws.base import Array, CostPerToken
from isoflop.laws.cost import interpolated_cost
from isoflop.runs import SizeValue

__all__ = ["Ladder", "Place", "Stage"]


@dataclass(frozen=True, eq=False)
class Ladder:
    """The real sizes that may be trained, with the FLOPs of a token at each.

    num_params, flops_per_token: rising arrays of shape (sizes,).
    """

    num_params: Array
    flops_per_token: Array
    most_tokens: float = math.inf
    """Tokens that the data and the recipe's passes allow."""
    sizes: tuple[SizeValue, ...] = ()
    """Value of the size parameter at each; empty where only the counts matter."""

    def size(self, place: "Place") -> SizeValue:
        """Value of the size parameter at a place of this ladder."""
        return self.sizes[int(np.searchsorted(self.num_params, place.num_params))]

    def without(self, size: SizeValue) -> "Ladder":
        """The ladder without one size."""
        keep = np.array([other != size for other in self.sizes])
        kept = tuple(other for other in self.sizes if other != size)
        return replace(
            self,
            num_params=self.num_params[keep],
            flops_per_token=self.flops_per_token[keep],
            sizes=kept,
        )

    @property
    def cost(self) -> CostPerToken:
        return interpolated_cost(self.num_params.tolist(), self.flops_per_token.tolist())

    def near(self, num_params: float, flops: float) -> "Place":
        """The real size nearest to an N, trained for so many FLOPs."""
        row = int(np.argmin(np.abs(np.log(self.num_params / num_params))))
        return Place(float(self.num_params[row]), flops / float(self.flops_per_token[row]), flops)

    def guess(self, flops: float, tokens_per_param: float) -> float:
        """N of the size whose tokens per param are nearest to a guess at so many FLOPs."""
        ratio = flops / self.flops_per_token / self.num_params
        return float(self.num_params[np.argmin(np.abs(np.log(ratio / tokens_per_param)))])


@dataclass(frozen=True)
class Place:
    """N, D and FLOPs of a run that may be planned."""

    num_params: float
    num_tokens: float
    flops: float
    budget: float | None = None
    """FLOPs shared by the runs of a pilot's budget; None for a run chosen alone."""


@dataclass(frozen=True)
class Stage:
    """The next places to train; none if the sweep is finished, and `name` is then the reason."""

    places: tuple[Place, ...]
    name: str
    finished: bool = False
    lacking: int = 0
    """Places left out because the data have too few tokens for them."""

"""KrigedLaw: what kriging answers with, a law whose optimum and loss include the discrepancy.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y.
"""

import math
from dataclasses import InitVar, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop import text
from isoflop.fitting.laws import CostPerToken, cheapest_size
from isoflop.fitting.points import Array
from isoflop.fitting.posterior import Surfaces, Valley

__all__ = ["KrigedLaw", "for_search", "law_of"]


@dataclass(frozen=True, eq=False)
class KrigedLaw:
    """The law under a discrepancy, with numbers for the posterior's middle or arrays of shape (B,) for its draws.

    E, A, B, alpha, beta: the law's; the optimum and its loss include the discrepancy, so they are not the law's alone.
    """

    E: Any
    A: Any
    B: Any
    alpha: Any
    beta: Any
    surfaces: InitVar[Surfaces]
    from_table: InitVar[bool] = False

    def __str__(self) -> str:
        values = (self.E, self.A, self.B, self.alpha, self.beta)
        E, A, B, alpha, beta = (text.number(float(np.median(value)), 3) for value in values)
        return f"L = {E} + {A} / N^{alpha} + {B} / D^{beta}, and a smooth discrepancy"

    def __post_init__(self, surfaces: Surfaces, from_table: bool) -> None:
        object.__setattr__(self, "_surfaces", surfaces)
        object.__setattr__(self, "_from_table", from_table or np.ndim(self.E) == 0)

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for, where a token costs flops_per_token(N), 6N by default."""
        if flops_per_token is None:
            N = np.exp(self._valley(np.log(np.asarray(C, dtype=float) / 6)).x)
            return _plain(N), _plain(C / (6 * N))
        first = self._law_alone(C)
        near = self._near(np.log(C) + np.log(first) - np.log(flops_per_token(first)))  # of N and what C pays for at N
        N = cheapest_size(near.loss_at, C, flops_per_token, around=np.exp(near.valley.x), reach=10.0)
        return _plain(N), _plain(C / flops_per_token(N))

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        if flops_per_token is None:
            return _plain(self._valley(np.log(np.asarray(C, dtype=float) / 6)).loss)
        return self.loss(*self.optimum(C, flops_per_token))

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens: that of the valley at N D, and the law's rise on either side of it."""
        log_N = np.log(np.asarray(N, dtype=float))
        valley = self._valley(log_N + np.log(np.asarray(D, dtype=float)))
        return _plain(valley.loss + valley.reducible * self._rise(log_N - valley.x))

    def _law_alone(self, C: Any) -> Array:
        """Best N of the law without the discrepancy, at 6N FLOPs per token."""
        total = self.alpha + self.beta
        scale = (np.log(self.alpha * self.A) - np.log(self.beta * self.B)) / total
        return np.asarray(np.exp(scale + self.beta / total * np.log(np.asarray(C, dtype=float) / 6)))

    def _rise(self, away: Array) -> Array:
        """Of the law along an isoFLOP, in units of its reducible loss at the minimum, `away` log N from it."""
        total = self.alpha + self.beta
        return np.asarray((self.beta * np.exp(-self.alpha * away) + self.alpha * np.exp(self.beta * away)) / total - 1)

    def _valley(self, log_ND: Array) -> Valley:
        """Log N, loss and reducible loss of the optimum among all (N, D) of one product."""
        last: tuple[Array, Valley] | None = self.__dict__.get("_last")
        if last is None or not np.array_equal(last[0], log_ND):  # size and loss are asked for one after the other
            last = (np.array(log_ND), self._computed_valley(log_ND))
            self.__dict__["_last"] = last
        return last[1]

    def _computed_valley(self, log_ND: Array) -> Valley:
        surfaces = self.given
        shift = sum(surfaces.plane.middle)
        if self.__dict__["_from_table"]:
            x, loss, reducible = self._looked_up(log_ND - shift)
        else:
            found = surfaces.valley(log_ND - shift)
            x, loss, reducible = found.x, found.loss, found.reducible
        return Valley(x + surfaces.plane.middle[0], loss, reducible)

    @property
    def errors(self) -> tuple[float, float]:
        """Noise of a run and size of the discrepancy, as shares of the loss; of a posterior's draws."""
        return self.given.errors

    @property
    def given(self) -> Surfaces:
        """The surfaces that the law stands for."""
        surfaces: Surfaces = self.__dict__["_surfaces"]
        return surfaces

    def _looked_up(self, c: Array) -> Array:
        """Log N, loss and reducible loss at places c; each surface at its own where the law is one of arrays."""
        table = self._table
        if np.ndim(self.E) == 0:
            return np.moveaxis(table(c), -1, 0)
        c = np.clip(np.broadcast_to(c, self.E.shape), table.x[0], table.x[-1])
        piece = np.clip(np.searchsorted(table.x, c) - 1, 0, len(table.x) - 2)
        cubic = table.c[:, piece, :, np.arange(len(c))]  # shape (B, 4, 3)
        step = (c - table.x[piece])[:, None]
        return np.asarray(((cubic[:, 0] * step + cubic[:, 1]) * step + cubic[:, 2]) * step + cubic[:, 3]).T

    @cached_property
    def _table(self) -> PchipInterpolator:
        """Log N, loss and reducible loss as functions of c: medians over the surfaces, or each surface's."""
        c = self.given.plane.c
        inside = np.arange(c.min() - 1, c.max() + 1.5, 0.35)
        outside = np.array([1, 2, 4, 8, 15, 30, 50])
        places = np.concatenate([inside[0] - outside[::-1], inside, inside[-1] + outside])
        found = self.given.valley(places[:, None])
        values = np.stack([found.x, found.loss, found.reducible], axis=1)
        return PchipInterpolator(places, np.median(values, axis=2) if np.ndim(self.E) == 0 else values)

    def _near(self, log_ND: Array) -> "_Near":
        step = 0.01
        here, above = self._valley(log_ND), self._computed_valley(log_ND + step)
        rate, fall = (above.x - here.x) / step, (above.loss - here.loss) / step
        return _Near(self, log_ND, here, rate, fall)


@dataclass(frozen=True, eq=False)
class _Near:
    """A kriged law to first order in log N D around one place, so that a search costs no kriging."""

    law: KrigedLaw
    place: Array
    valley: Valley
    rate: Array
    fall: Array

    def loss_at(self, N: Any, D: Any) -> Any:
        log_N = np.log(N)
        step = log_N + np.log(D) - self.place
        rise = self.law._rise(log_N - self.valley.x - self.rate * step)
        return self.valley.loss + self.fall * step + self.valley.reducible * rise


def law_of(surfaces: Surfaces, *, middle: bool) -> KrigedLaw:
    """The law of some surfaces in params and tokens: arrays, or the middle of them as numbers."""
    x, y = surfaces.plane.middle
    A, B = surfaces.A * np.exp(surfaces.alpha * x), surfaces.B * np.exp(surfaces.beta * y)
    if not middle:
        return KrigedLaw(surfaces.E, A, B, surfaces.alpha, surfaces.beta, surfaces)
    alpha, beta = float(np.median(surfaces.alpha)), float(np.median(surfaces.beta))
    size, data = float(np.median(surfaces.A)) * math.exp(alpha * x), float(np.median(surfaces.B)) * math.exp(beta * y)
    return KrigedLaw(float(np.median(surfaces.E)), size, data, alpha, beta, surfaces)


def for_search(law: Any) -> Any:
    """The law for searches that ask thousands of times: a kriged one of arrays looks its valleys up in a table."""
    return replace(law, surfaces=law.given, from_table=True) if isinstance(law, KrigedLaw) else law


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value

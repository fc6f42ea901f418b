"""ValleyLaw: a law given by the optimum at every compute and the rise of the loss around it.

N params, D tokens, C FLOPs, L loss; c = log N D. Along an isoFLOP the loss rises from the optimum
as that of an additive law: by R [(beta exp(-alpha u) + alpha exp(beta u)) / (alpha + beta) - 1] at
a distance u in log N.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop.laws.additive import IsoflopOptimum
from isoflop.laws.base import Array, CostPerToken, Number, Surface, cheapest_size, plain

__all__ = ["ValleyLaw", "interpolate_table"]


class ValleyLaw(Surface):
    """Optimum and loss from the valley, the minima of all isoFLOPs.

    alpha and beta are numbers, or arrays of shape (B,) for draws.
    """

    alpha: Number
    beta: Number

    @abstractmethod
    def _computed_valley(self, log_ND: Array) -> IsoflopOptimum:
        """The optimum at log N D: a number, an array of shape (B,), or one of shape (P, 1)."""

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs; a token costs flops_per_token(N), 6N if None."""
        if flops_per_token is None:
            N = np.exp(self._valley(np.log(np.asarray(C, dtype=float) / 6)).x)
            return plain(N), plain(C / (6 * N))
        first = self._guess(C)
        log_ND = np.log(C) + np.log(first) - np.log(flops_per_token(first))
        near = self._near(log_ND)
        N = cheapest_size(
            near.loss_at, C, flops_per_token, around=np.exp(near.valley.x), reach=10.0
        )
        return plain(N), plain(C / flops_per_token(N))

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of the optimum at C FLOPs."""
        if flops_per_token is None:
            return plain(self._valley(np.log(np.asarray(C, dtype=float) / 6)).loss)
        return self.loss(*self.optimum(C, flops_per_token))

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens: the lowest at N D plus the rise away from it."""
        log_N = np.log(np.asarray(N, dtype=float))
        valley = self._valley(log_N + np.log(np.asarray(D, dtype=float)))
        return plain(valley.loss + valley.reducible * self._rise(log_N - valley.x))

    def _guess(self, C: Number) -> Array:
        """Approximately the best N at C FLOPs, at 6N FLOPs per token."""
        return np.asarray(np.exp(self._valley(np.log(np.asarray(C, dtype=float) / 6)).x))

    def _rise(self, away: Array) -> Array:
        """Rise of the loss along an isoFLOP, in units of R, at a distance `away` in log N."""
        total = self.alpha + self.beta
        return np.asarray(
            (self.beta * np.exp(-self.alpha * away) + self.alpha * np.exp(self.beta * away)) / total
            - 1
        )

    def _valley(self, log_ND: Array) -> IsoflopOptimum:
        """The optimum at log N D, kept until the next call: size and loss are read one by one."""
        last: tuple[Array, IsoflopOptimum] | None = self.__dict__.get("_last")
        if last is None or not np.array_equal(last[0], log_ND):
            last = (np.array(log_ND), self._computed_valley(log_ND))
            self.__dict__["_last"] = last
        return last[1]

    def _near(self, log_ND: Array) -> "_Near":
        step = 0.01
        here, above = self._valley(log_ND), self._computed_valley(log_ND + step)
        rate, fall = (above.x - here.x) / step, (above.loss - here.loss) / step
        return _Near(self, log_ND, here, rate, fall)


@dataclass(frozen=True, eq=False)
class _Near:
    """A valley law to first order around one log N D, so that a search computes the valley once."""

    law: ValleyLaw
    log_ND: Array
    valley: IsoflopOptimum
    rate: Array
    """Derivative of the best log N in log N D."""
    fall: Array
    """Derivative of the lowest loss in log N D."""

    def loss_at(self, N: Number, D: Number) -> Number:
        log_N = np.log(N)
        step = log_N + np.log(D) - self.log_ND
        rise = self.law._rise(log_N - self.valley.x - self.rate * step)
        return self.valley.loss + self.fall * step + self.valley.reducible * rise


def interpolate_table(table: PchipInterpolator, c: Array) -> Array:
    """Values of a table at c, those of its ends beyond them; the axis of the values comes first.

    A table of shape (nodes, values) takes any c. One of shape (nodes, values, B) takes c of shape
    (B,), (P, 1) or a number, and looks up each of the B at its own c.
    """
    c = np.clip(c, table.x[0], table.x[-1])
    if table.c.ndim == 3:
        return np.moveaxis(table(c), -1, 0)
    B = table.c.shape[-1]
    c, rows = np.broadcast_arrays(c, np.arange(B))
    piece = np.clip(np.searchsorted(table.x, c) - 1, 0, len(table.x) - 2)
    cubic = table.c[:, piece, :, rows]  # shape (..., B, 4, values)
    step = (c - table.x[piece])[..., None]
    values = cubic[..., 0, :]
    for power in (1, 2, 3):
        values = values * step + cubic[..., power, :]
    return np.moveaxis(values, -1, 0)

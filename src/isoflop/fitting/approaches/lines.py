"""Power laws through a few optima, one per budget, for many resamples at once.

C FLOPs, G budgets, R resamples; `usable`, shape (R, G), is true for the optima of a resample.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array, PowerLaw

__all__ = ["OFFSET_BUDGETS", "loss_law", "median", "power_law"]

COARSE = np.geomspace(0.02, 0.8, 25)
"""Exponents tried for the fall of the loss."""
FINE = np.geomspace(1 / 1.18, 1.18, 25)
"""Factors tried around the best of these; neighbours differ by 1.4 %."""
OFFSET_BUDGETS = 4
"""Budgets that are needed to determine an offset of the loss."""

Mask = NDArray[np.bool_]


def power_law(log_C: Array, log_values: Array, usable: Mask) -> PowerLaw:
    """Least-squares lines through log values, shape (R, G); NaN where fewer than two are usable."""
    with np.errstate(all="ignore"):
        number = usable.sum(axis=1)
        middle_x = np.where(usable, log_C, 0).sum(axis=1) / number
        middle_y = np.where(usable, log_values, 0).sum(axis=1) / number
        away = np.where(usable, log_C - middle_x[:, None], 0)
        slope = np.sum(away * np.where(usable, log_values, 0), axis=1) / np.sum(away**2, axis=1)
        return PowerLaw(np.exp(middle_y - slope * middle_x), slope)


def loss_law(log_C: Array, loss: Array, usable: Mask) -> PowerLaw:
    """offset + coefficient * C^exponent through losses, shape (R, G), by least squares.

    The offset is 0 with fewer than OFFSET_BUDGETS budgets, or where no positive one is better.
    """
    with np.errstate(all="ignore"):
        bare = power_law(log_C, np.log(loss), usable)
    if len(log_C) < OFFSET_BUDGETS:
        return bare
    away = log_C - log_C.mean()
    coarse = _best_line(np.broadcast_to(COARSE, (len(loss), len(COARSE))), away, loss, usable)
    offset, height, exponent = _best_line(coarse[2][:, None] * FINE, away, loss, usable)
    has_offset = np.isfinite(offset) & (usable.sum(axis=1) >= OFFSET_BUDGETS)
    columns = (
        (height * np.exp(exponent * log_C.mean()), bare.coefficient),
        (-exponent, bare.exponent),
        (offset, np.zeros(len(loss))),
    )
    return PowerLaw(*(np.where(has_offset, with_, without) for with_, without in columns))


def _best_line(
    exponents: Array, away: Array, loss: Array, usable: Mask
) -> tuple[Array, Array, Array]:
    """Offset, height and exponent, each (R,), of the best offset + height * exp(-exponent * away).

    exponents: those to try, shape (R, X). Each gives a linear problem, solved exactly. Offsets
    below 0 are excluded; NaN where none is left.
    """
    basis, mask = np.exp(-exponents[:, :, None] * away), usable.astype(float)
    y = np.where(usable, loss, 0.0)
    number, sum_y = mask.sum(axis=1)[:, None], y.sum(axis=1)[:, None]
    masked = basis * mask[:, None]
    sum_b, sum_bb, sum_by = (
        masked.sum(axis=2),
        (masked * basis).sum(axis=2),
        np.einsum("rxg,rg->rx", basis, y),
    )
    with np.errstate(all="ignore"):
        height = (sum_by - sum_b * sum_y / number) / (sum_bb - sum_b**2 / number)
        offset = (sum_y - height * sum_b) / number
    misfit = np.where((offset >= 0) & (height > 0), -offset * sum_y - height * sum_by, np.inf)
    best = np.argmin(misfit, axis=1)[:, None]
    is_valid = np.isfinite(np.take_along_axis(misfit, best, axis=1)[:, 0])

    def chosen(values: Array) -> Array:
        return np.where(is_valid, np.take_along_axis(values, best, axis=1)[:, 0], np.nan)

    return chosen(offset), chosen(height), chosen(exponents)


def median(values: Array, usable: Mask) -> Array:
    """Median of each row's usable values; NaN where there is none."""
    rows = [row[keep] for row, keep in zip(values, usable, strict=True)]
    return np.array([np.median(row) if len(row) else np.nan for row in rows])

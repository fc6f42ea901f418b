"""Prior of the path of the optimum, and where each of its numbers comes from."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TypeGuard, cast

import numpy as np
from scipy.special import logsumexp

from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.laws.base import Array

__all__ = ["SMALL", "Hypotheses", "Prior"]

Normal = tuple[float, float]
"""Mean and standard deviation; for a scale, median and standard deviation of its logarithm."""
Share = tuple[float, float, float]
"""Probability, mean and standard deviation of one part of a mixture."""

SLOPES: tuple[Share, ...] = (
    (0.13, 0.5, 0.06),
    (0.37, 0.5, 0.09),
    (0.37, 0.5, 0.135),
    (0.13, 0.5, 0.22),
)
DECAYS: tuple[Share, ...] = (
    (0.13, 0.17, 0.018),
    (0.37, 0.17, 0.042),
    (0.37, 0.17, 0.1),
    (0.13, 0.17, 0.23),
)
FLOORS: tuple[Share, ...] = ((0.9, 0.645, 0.045), (0.1, 0.5, 0.4))
FALLING = (-0.1, 0.06, 8.0)
"""Mean, deviation and reach of the slope of log loss where it does not fall towards a floor yet. In
a byte-level GPT of 10k to 100k params, log loss falls by .07 to .14 per unit of log C, at an
increasing rate over three decades, and is 17 % below the forecast of larger models' laws
(benchmarks/results/fitting-small.md)."""
FLATTENING = (-0.17, 0.1, 8.0)
"""The same of what lies above a floor of any height. In a convolutional net of 1k to 100k params,
log loss falls by .07 per unit of log C up to 5e11 FLOPs and by .024 from there to 3e13, where it is
10 % above the forecast of the other settings (benchmarks/proof/results.md)."""
SMALL, FADED = 1e6, 10.0
"""Params up to which models are small, and the factor over which that fades. In the public sweeps
from which the other numbers are learned, no optimum is below 7e5."""
FLAT_SLOPE, FLAT_DECAY, FLAT_FLOOR = (0.5, 2.0), (0.2, 1.0), (0.5, 5.0)
NODES = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Standard deviations at which a distribution is represented."""
FLOOR_GRID = np.array([0, 0.15, 0.3, 0.4, 0.48, 0.54, 0.59, 0.63, 0.67, 0.72, 0.78, 0.85, 0.92])


@dataclass(frozen=True)
class Hypotheses:
    """H settings of a Gaussian process with their prior probabilities; fields of shape (H,)."""

    slope: Array
    """Mean of the slope."""
    deviation: Array
    """Standard deviation of the slope, between sweeps and along one."""
    reach: Array
    """Log FLOPs over which the slope is correlated."""
    scatter: Array
    """Standard deviation of the values around the line."""
    floor: Array
    """Loss that no compute removes, as a share of that at the largest runs; 0 for params."""
    log_prior: Array

    def joined(self, other: "Hypotheses") -> "Hypotheses":
        """Settings of both, these first, each with the prior probabilities that it has alone."""
        both = {
            part.name: np.concatenate([getattr(self, part.name), getattr(other, part.name)])
            for part in fields(self)
        }
        return Hypotheses(**both)


@dataclass(frozen=True)
class Prior:
    """Prior of the compute-optimal path.

    Parameters
    ----------
    slope
        Mean and standard deviation of d log N / d log C, as ``(0.5, 0.05)``, or several of them,
        each with its probability: ``((0.8, 0.5, 0.1), (0.2, 0.5, 0.3))``.
    slope_drift
        Standard deviation of the change of the slope over one unit of log C. A slope returns to its
        mean over 2 (deviation / drift)^2 units, so that an unusual slope lasts longer.
    scatter
        Median scatter of log N around the path from budget to budget, and the standard deviation
        of its logarithm.
    floor
        Loss that no compute removes, as a share of the loss at the largest runs; given as `slope`.
    decay
        Rate at which the rest of the loss falls with log C; given as `slope`.
    decay_reach
        Units of log C over which the decay is correlated.
    loss_scatter
        As `scatter`, for the log of the loss.
    unsettled
        Probability that the loss of small models does not follow `floor` and `decay`, and the
        number of params up to which models are small. One half is that the loss continues as within
        the runs, without a floor yet; the other that it flattens towards a floor, each height of
        which is as likely. The probability fades to 0 at ten times as many params. Runs can raise
        that of the first half and of each floor, but not lower it.
    sharpness
        Median of alpha + beta, which sets how fast the loss rises around the optimum, and the
        standard deviation of its logarithm.

    Notes
    -----
    The defaults are learned from public sweeps (``benchmarks/fitting/prior.py``) with equal weight
    for each family of sweeps.

    Examples
    --------
    >>> Prior(slope=(0.5, 0.05)).slope
    (0.5, 0.05)
    """

    slope: Normal | tuple[Share, ...] = SLOPES
    slope_drift: float = 0.067
    scatter: Normal = (0.02, 1.1)
    floor: Normal | tuple[Share, ...] = FLOORS
    decay: Normal | tuple[Share, ...] = DECAYS
    decay_reach: float = 60.0
    loss_scatter: Normal = (0.0007, 0.8)
    unsettled: tuple[float, float] = (2 / 3, SMALL)
    sharpness: Normal = (0.75, 0.35)

    def __post_init__(self) -> None:
        for name in ("slope", "floor", "decay"):
            value = getattr(self, name)
            parts = [part[-2:] for part in value] if _is_mixture(value) else [value]
            if not all(_is_pair(part) and part[1] > 0 for part in parts):
                raise DataError(
                    f"Prior: {name} must be a mean and a standard deviation above 0, such as "
                    f"(0.5, 0.05), but got {quoted(value)}."
                )
        for name in ("scatter", "loss_scatter", "sharpness"):
            value = getattr(self, name)
            if not (_is_pair(value) and min(value) > 0):
                raise DataError(
                    f"Prior: {name} must be a median and a standard deviation of its logarithm, "
                    f"both above 0, but got {quoted(value)}."
                )
        if not (_is_pair(self.unsettled) and 0 <= self.unsettled[0] < 1 and self.unsettled[1] > 0):
            raise DataError(
                f"Prior: unsettled must be a probability below 1 and a number of params, such as "
                f"(0.67, 1e6), but got {quoted(self.unsettled)}."
            )
        for name in ("slope_drift", "decay_reach"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) > 0):
                raise DataError(
                    f"Prior: {name} must be above 0, but got {quoted(getattr(self, name))}."
                )

    @classmethod
    def flat(cls) -> "Prior":
        """A prior without knowledge of slope, decay and floor; how fast they change is kept."""
        return cls(slope=FLAT_SLOPE, decay=FLAT_DECAY, floor=FLAT_FLOOR)

    def lines(self) -> dict[str, str]:
        """Each number in words, by what it describes."""
        scale = "median {:g}, log standard deviation {:g}"
        return {
            "slope of log N over log C": _format_mixture(self.slope),
            "its change over one unit of log C": f"{self.slope_drift:g}",
            "scatter of log N": scale.format(*self.scatter),
            "share of the loss that no compute removes": _format_mixture(self.floor),
            "rate at which the rest falls with log C": _format_mixture(self.decay),
            "units of log C over which that is correlated": f"{self.decay_reach:g}",
            "scatter of log loss": scale.format(*self.loss_scatter),
            "loss of small models that falls on or flattens": "{:.0%} below {:g} params".format(
                *self.unsettled
            ),
            "alpha + beta": scale.format(*self.sharpness),
        }

    @property
    def usual_decay(self) -> float:
        """Mean of the prior decay."""
        return sum(share * mean for share, mean, _ in _mixture(self.decay))

    @cached_property
    def of_params(self) -> Hypotheses:
        """Settings of the path of params."""
        slopes = [(*part, 2 * (part[-1] / self.slope_drift) ** 2) for part in _mixture(self.slope)]
        return _hypotheses(slopes, self.scatter, ((0.0, 0.0),))

    @cached_property
    def of_loss(self) -> Hypotheses:
        """Settings of the path of the loss where it falls towards a floor."""
        falls = [
            (share, -mean, width, self.decay_reach) for share, mean, width in _mixture(self.decay)
        ]
        return _normalised(_hypotheses(falls, self.loss_scatter, _floors(_mixture(self.floor))))

    @cached_property
    def of_falling_loss(self) -> Hypotheses:
        """Settings of the path of the loss where it does not fall towards a floor yet."""
        return _normalised(_hypotheses([(1.0, *FALLING)], self.loss_scatter, ((0.0, 0.0),)))

    @cached_property
    def of_flattening_loss(self) -> tuple[Hypotheses, ...]:
        """Settings of the path of the loss where it flattens towards each of some floors."""
        return tuple(
            _normalised(_hypotheses([(1.0, *FLATTENING)], self.loss_scatter, ((floor, 0.0),)))
            for floor in FLOOR_GRID.tolist()
        )

    def share_unsettled(self, num_params: float) -> float:
        """Probability that the loss at `num_params` params does not follow `floor` and `decay`."""
        share, small = self.unsettled
        if not math.isfinite(num_params):
            return 0.0
        fade = math.log10(FADED * small / num_params) / math.log10(FADED)
        return share * min(max(fade, 0.0), 1.0)


def _format_mixture(value: Normal | tuple[Share, ...]) -> str:
    parts = _mixture(value)
    if len(parts) == 1:
        return f"{parts[0][1]:g} ± {parts[0][2]:g}"
    return ", ".join(f"{mean:g} ± {width:g} ({share:.0%})" for share, mean, width in parts)


def _normalised(given: Hypotheses) -> Hypotheses:
    """The same settings with probabilities that sum to 1."""
    return replace(given, log_prior=given.log_prior - logsumexp(given.log_prior))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e60 < value < 1e60


def _is_pair(value: object) -> TypeGuard[Normal]:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))


def _is_mixture(value: object) -> TypeGuard[tuple[Share, ...]]:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], tuple)


def _mixture(value: Normal | tuple[Share, ...]) -> tuple[Share, ...]:
    if _is_mixture(value):
        return value
    mean, deviation = cast("Normal", value)
    return ((1.0, mean, deviation),)


def _spread(scale: Normal) -> tuple[tuple[float, float], ...]:
    """Values of a log-normal number and the logs of their probabilities."""
    median, width = scale
    return tuple((median * math.exp(width * node), -0.5 * node**2) for node in NODES)


def _floors(parts: tuple[Share, ...]) -> tuple[tuple[float, float], ...]:
    density = sum(
        share / width * np.exp(-0.5 * ((FLOOR_GRID - mean) / width) ** 2)
        for share, mean, width in parts
    )
    mass = density * np.gradient(FLOOR_GRID)
    return tuple(zip(FLOOR_GRID.tolist(), np.log(mass + 1e-300).tolist(), strict=True))


def _hypotheses(
    slopes: Sequence[tuple[float, float, float, float]],
    scatter: Normal,
    floors: tuple[tuple[float, float], ...],
) -> Hypotheses:
    """Every combination of the settings; slopes: probability, mean, deviation and reach."""
    rows = [
        (mean, width, reach, scattered, floor, math.log(share) + log_scatter + log_floor)
        for (share, mean, width, reach), (scattered, log_scatter), (
            floor,
            log_floor,
        ) in itertools.product(slopes, _spread(scatter), floors)
    ]
    return Hypotheses(*np.array(rows).T)

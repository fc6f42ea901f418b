"""RunValue: how much a further run would reduce the doubt of the best size at a target.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y. The model is that of
`discrepancy` and `posterior`, linearised around a few laws drawn from the posterior. The five
numbers of the law have a normal prior and the discrepancy g a Gaussian one, so that the losses of
any runs and q = log N_opt at the target,

    q = [log(alpha A / beta B) + beta c] / (alpha + beta) - g' / (alpha beta),

are jointly normal. The value of a run is the variance of q that its loss removes: a c-optimal
design. K laws, n trained runs, J candidates.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from isoflop.fitting.kriging.discrepancy import FAR_LOSS, LONG, LONG_RATIO
from isoflop.fitting.kriging.exponents import PRIOR_WIDTH
from isoflop.fitting.kriging.posterior import DRIFT
from isoflop.laws.additive import additive_optimum
from isoflop.laws.base import Array, Law, Number

__all__ = ["Laws", "RunValue", "design_condition", "value_runs"]

NOISE, MISFIT, LENGTH = 0.002, 0.004, 1.8
"""Noise of a run and misfit of the law as shares of the loss, and log params or tokens over which
the misfit changes, as public sweeps have around their laws (.0015 to .0045, .0024 to .006). Only
the ratio of noise and misfit decides which run is best; with the larger one of
`planning/forecast.py` (.0035, .010) the replay of public sweeps errs by .305 instead of .281 at the
90th percentile."""
VAGUE = 10.0
"""Prior standard deviation of E, A and B at the centre as a multiple of their values; in effect no
prior."""
USUAL_ALPHA, USUAL_BETA = 0.35, 0.37
"""Exponents of Chinchilla's runs (2404.10102)."""


@dataclass(frozen=True, eq=False)
class Laws:
    """K possible laws L = E + A / N^alpha + B / D^beta; fields of shape (K,)."""

    E: Array
    A: Array
    B: Array
    alpha: Array
    beta: Array

    @classmethod
    def of(cls, resamples: "Law | Laws", number: int) -> "Laws":
        """At most `number` of a fit's resamples, evenly spaced."""
        names = [part.name for part in fields(cls)]
        columns = [np.atleast_1d(np.asarray(getattr(resamples, name), float)) for name in names]
        valid = np.all([np.isfinite(values) & (values >= 0) for values in columns], axis=0)
        good = np.flatnonzero(valid)
        rows = good[np.linspace(0, len(good) - 1, min(number, len(good))).round().astype(int)]
        return cls(*(np.maximum(values[rows], 1e-12) for values in columns))


@dataclass(frozen=True, eq=False)
class RunValue:
    """Joint covariance of q and the candidates' losses under each law, given the trained runs."""

    joint: Array
    """Shape (K, 1 + J, 1 + J); q comes first."""
    noise: Array
    """Variance of the noise of each candidate's loss, shape (K, J)."""
    log_flops: Array
    """log N D of each candidate, shape (J,)."""
    drift: Array
    """Variance of q per unit of log FLOPs between the largest run and the target, shape (K,)."""
    reach: float
    """log N D of the target."""
    largest: float
    """log N D of the largest trained run."""

    @property
    def variance(self) -> Array:
        """Variance of log N_opt at the target, shape (K,)."""
        return np.asarray(self.joint[:, 0, 0] + self._drifted(self.largest))

    @property
    def variance_after(self) -> Array:
        """Variance of log N_opt once one candidate is trained, shape (K, J)."""
        total = np.diagonal(self.joint, axis1=1, axis2=2)[:, 1:] + self.noise
        removed = self.joint[:, 0, 1:] ** 2 / total
        drift = self._drifted(np.maximum(self.log_flops, self.largest)[:, None]).T
        return np.asarray(self.joint[:, :1, 0] - removed + drift)

    def trained(self, candidate: int) -> "RunValue":
        """The same once a candidate is trained."""
        column = self.joint[:, :, candidate + 1]
        total = column[:, candidate + 1] + self.noise[:, candidate]
        joint = self.joint - column[:, :, None] * column[:, None, :] / total[:, None, None]
        return replace(
            self, joint=joint, largest=max(self.largest, float(self.log_flops[candidate]))
        )

    def _drifted(self, largest: Number) -> Array:
        """Variance that grows beyond the largest run: (K,), or (J, K) for largest of (J, 1)."""
        return np.asarray(self.drift * np.maximum(self.reach - largest, 0))


def value_runs(
    laws: Laws, trained: tuple[Array, Array], candidates: tuple[Array, Array], target_ND: float
) -> RunValue:
    """The value of candidates for the optimum with N D = target_ND, given the trained runs.

    Runs are pairs of arrays (N, D).
    """
    log_N, log_D = (np.log(np.concatenate(pair)) for pair in zip(trained, candidates, strict=True))
    n = len(trained[0])
    middle = (float(log_N.mean()), float(log_D.mean()))
    rows = [
        _joint(law, log_N - middle[0], log_D - middle[1], np.log(target_ND) - sum(middle), n)
        for law in _centred(laws, middle)
    ]
    joint, noise, drift = (np.stack(column) for column in zip(*rows, strict=True))
    log_ND = log_N + log_D
    return RunValue(
        joint, noise, log_ND[n:], drift, float(np.log(target_ND)), float(log_ND[:n].max())
    )


def design_condition(N: Array, D: Array) -> float:
    """Condition number of the law's Jacobian at runs (N, D).

    Logs are centred, columns have unit length, and exponents are the usual ones. Below 100, size
    and data vary independently; the number grows without bound as D / N becomes constant and both
    exponents equal (2605.08541). It is infinite with fewer than 5 runs.
    """
    if len(N) < 5:
        return float("inf")
    x, y = (np.log(values) - np.log(values).mean() for values in (N, D))
    size, data = np.exp(-USUAL_ALPHA * x), np.exp(-USUAL_BETA * y)
    columns = np.stack([np.ones_like(x), size, data, x * size, y * data], axis=1)
    return float(np.linalg.cond(columns / np.linalg.norm(columns, axis=0)))


def _centred(laws: Laws, middle: tuple[float, float]) -> Array:
    """Rows (E, A, B, alpha, beta) in centred logs, shape (K, 5)."""
    A, B = laws.A * np.exp(-laws.alpha * middle[0]), laws.B * np.exp(-laws.beta * middle[1])
    return np.stack([laws.E, A, B, laws.alpha, laws.beta], axis=1)


def _joint(law: Array, x: Array, y: Array, c: float, n: int) -> tuple[Array, Array, Array]:
    """Covariance of q and the last losses given the first n, their noise, and the drift of q."""
    E, A, B, alpha, beta = law
    total = alpha + beta
    best = float(additive_optimum(E, A, B, alpha, beta, c).x)
    size, data = A * np.exp(-alpha * x), B * np.exp(-beta * y)
    slopes = np.stack(
        [np.ones_like(x), size / A, data / B, -alpha * x * size, -beta * y * data],
        axis=1,
    )
    of_q = np.array([0, 1 / A, -1 / B, 1 - alpha * best, beta * (c - best) - 1]) / total
    prior = np.array([VAGUE * (E + A + B), VAGUE * A, VAGUE * B, PRIOR_WIDTH, PRIOR_WIDTH]) ** 2
    loss, multiplier = E + size + data, _multiplier(law, x, y)
    unit = (MISFIT / np.median((size + data) / loss)) ** 2
    scale = multiplier * (size + data)
    smooth, toward = _discrepancy(x, y), _slope_covariance(best - x, (c - best) - y)
    steep = 2 * unit / LENGTH**2 / (alpha * beta) ** 2  # variance of g' / (alpha beta)
    columns = np.concatenate([of_q[None], slopes])
    joint = (columns * prior) @ columns.T
    joint[0, 0] += steep
    joint[1:, 1:] += unit * np.outer(scale, scale) * smooth
    joint[0, 1:] -= unit * scale * toward / (alpha * beta)
    joint[1:, 0] = joint[0, 1:]
    noise = (NOISE * multiplier * loss) ** 2
    return _given(joint, noise[:n]), noise[n:], steep * DRIFT


def _discrepancy(x: Array, y: Array) -> Array:
    """Covariance of the discrepancy between runs, in units of its scale."""
    dx, dy = x[:, None] - x, y[:, None] - y
    short = np.exp(-0.5 * (dx**2 + dy**2) / LENGTH**2)
    return np.asarray(short + LONG_RATIO**2 * np.exp(-0.5 * ((dx + dy) / LONG) ** 2))


def _slope_covariance(dx: Array, dy: Array) -> Array:
    """Covariance of the discrepancy of a run with its slope g' at a distance of (dx, dy)."""
    return np.asarray(np.exp(-0.5 * (dx**2 + dy**2) / LENGTH**2) * (dy - dx) / LENGTH**2)


def _multiplier(law: Array, x: Array, y: Array) -> Array:
    """Multiplier of a run's errors, from its excess over the best loss; see `Weighting`."""
    E, A, B, alpha, beta = law
    valley = additive_optimum(E, A, B, alpha, beta, x + y)
    excess = np.log((E + A * np.exp(-alpha * x) + B * np.exp(-beta * y)) / valley.loss)
    return np.asarray(1 + (excess / FAR_LOSS) ** 2)


def _given(joint: Array, noise: Array) -> Array:
    """Covariance of q and the candidates given the n noisy losses that follow q."""
    n = len(noise)
    keep = np.r_[0, n + 1 : len(joint)]
    measured = joint[1 : n + 1, 1 : n + 1] + np.diag(noise)
    across = joint[1 : n + 1][:, keep]
    # Without the unit diagonal, the vague prior makes the matrix ill-conditioned.
    unit = 1 / np.sqrt(np.diag(measured))
    white = np.linalg.solve(
        np.linalg.cholesky(measured * np.outer(unit, unit)), across * unit[:, None]
    )
    return np.asarray(joint[np.ix_(keep, keep)] - white.T @ white)

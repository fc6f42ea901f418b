"""The compute-optimal path beyond its evidence, and the laws drawn from it.

N params, D tokens, C FLOPs, L loss; c = log N D, t = c minus its value at the largest evidence.
log N is a line over t whose slope changes, and so is the log of the loss above a floor
(`regression`). alpha + beta sets how fast the loss rises around the optimum. The slope of the path
divides it: beta / (alpha + beta) = d log N / d log C in an additive law. With the fall of the log
loss, f = -d log L / dc, and its bend along an isoFLOP, k = d^2 log L / d (log N)^2,
alpha + beta = k / f, whatever the floor of the law.
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.special import softmax

from isoflop.fitting.bayesian.evidence import Evidence
from isoflop.fitting.bayesian.law import PathLaw
from isoflop.fitting.bayesian.prior import Hypotheses, Prior
from isoflop.fitting.bayesian.regression import Regression, mixed, regress, weighted_median
from isoflop.fitting.kriging.approach import Posterior
from isoflop.fitting.kriging.law import KrigedLaw
from isoflop.laws.additive import additive_optimum
from isoflop.laws.base import Array, plain

__all__ = ["OptimalPath", "loss_lines"]

INSIDE = 0.5
"""Log FLOPs between nodes of the table within the evidence; more where that would take more than
MOST_INSIDE steps."""
MOST_INSIDE = 14
OUTSIDE = np.array([0.35, 0.8, 1.4, 2.1, 3.0, 4.0, 5.2, 7.0, 10.0, 15.0, 25.0, 50.0])
"""Nodes of the table above the evidence, in log FLOPs beyond it."""
BELOW = np.array([0.7, 1.6, 3.5, 8.0, 20.0, 50.0])
"""Nodes below the evidence."""
SLOPES = (0.1, 0.9)
"""Limits of the slope that divides alpha + beta."""
LEAST_FALL = 0.1
"""Least decay as a share of the usual one: more compute always helps."""
NUM_LAWS = 200
"""Laws that represent the additive model in the middle of the posterior."""


@dataclass(frozen=True, eq=False)
class OptimalPath:
    """The posterior at the nodes of a table."""

    prior: Prior
    evidence: Evidence
    t: Array
    """Nodes of the table."""
    top: float
    """c at t = 0."""
    params: Regression
    """Posterior of log N minus `middle_N`."""
    middle_N: float
    of_loss: Hypotheses
    """Prior settings of the loss."""
    loss: Regression
    """Posterior of log [(L / L_0 - floor) / (1 - floor)]."""
    log_loss: float
    """Log of L_0, the loss at t = 0."""
    posterior: Posterior | None
    """Posterior of the additive model, by kriging; None where there is none."""

    @classmethod
    def of(cls, evidence: Evidence, prior: Prior, posterior: Posterior | None) -> "OptimalPath":
        """The posterior of the path given the evidence."""
        top = float(evidence.c[-1])
        t = evidence.c - top
        at = _nodes(t)
        middle = float(evidence.log_N.mean())
        of_N = prior.of_params
        noise = evidence.covariance + of_N.scatter[:, None, None] ** 2 * np.eye(len(t))
        params = regress(of_N, t, evidence.log_N - middle, noise, at)
        level, size = float(evidence.log_loss[-1]), math.exp(evidence.log_N[-1])
        of_loss, loss = loss_lines(
            prior, size, t, evidence.log_loss - level, evidence.loss_covariance, at
        )
        return cls(prior, evidence, at, top, params, middle, of_loss, loss, level, posterior)

    @property
    def log_evidence(self) -> float:
        """Log evidence of both lines."""
        return self.params.log_evidence + self.loss.log_evidence

    @property
    def floor(self) -> float:
        """Mean of the loss that no compute removes, as a share of that at the largest evidence.

        The floors that runs cannot speak against are left out.
        """
        prior = self.prior
        is_shown = self.loss.kept < len(prior.of_loss.floor) + len(prior.of_falling_loss.floor)
        floors = self.of_loss.floor[self.loss.kept[is_shown]]
        return float(np.average(floors, weights=self.loss.weights[is_shown]))

    @property
    def share_unsettled(self) -> float:
        """Prior probability that the loss does not fall as that of larger models does."""
        return self.prior.share_unsettled(math.exp(self.evidence.log_N[-1]))

    @property
    def share_of_law(self) -> float:
        """Probability that the additive law is right everywhere."""
        return 0.0 if self.posterior is None else self.posterior.share_of_law

    def draw(self, number: int, random: np.random.Generator) -> PathLaw:
        """`number` paths drawn from both models."""
        num_laws = int(self.share_of_law * number + random.random())
        parts = [self._drawn_path(number - num_laws, random)]
        if num_laws and self.posterior is not None:
            parts.append(self._of_law(self.posterior.draw_law(num_laws, random)))
        return self._law(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def middle(self) -> PathLaw:
        """The path of the medians."""
        log_N, of_N, _ = self.params.representatives()
        line, of_loss, rows = self.loss.representatives()
        floor = self.of_loss.floor[self.loss.kept[rows]]
        values = [(log_N + self.middle_N, of_N), (_log_loss(line, floor) + self.log_loss, of_loss)]
        fall = self._fall(line, floor)
        sharpness, _ = self._sharpness(fall)
        values += [(np.log(fall), of_loss), (sharpness[:, None], of_loss)]
        share = self.share_of_law
        if share > 0 and self.posterior is not None:
            laws = self._of_law(self.posterior.draw_law(NUM_LAWS, np.random.default_rng(0)))
            each = np.full(NUM_LAWS, share / NUM_LAWS)
            columns = (*laws[:3], laws[3][:, None])
            values = [
                (np.concatenate([value, column]), np.concatenate([weights * (1 - share), each]))
                for (value, weights), column in zip(values, columns, strict=True)
            ]
        log_N, log_loss, log_fall, log_total = (weighted_median(*pair) for pair in values)
        return self._law(log_N, log_loss, log_fall, log_total[0])

    def _drawn_path(self, number: int, random: np.random.Generator) -> tuple[Array, ...]:
        """Log N, log L, log f in rows, and log (alpha + beta)."""
        log_N, setting = self.params.draw(number, random)
        scatter = self.prior.of_params.scatter[self.params.kept[setting]]
        log_N = log_N + self.middle_N + (scatter * random.standard_normal(number))[:, None]
        line, setting = self.loss.draw(number, random)
        floor = self.of_loss.floor[self.loss.kept[setting]]
        fall = self._fall(line, floor)
        middle, width = self._sharpness(fall)
        sharpness = middle + width * random.standard_normal(number)
        return log_N, _log_loss(line, floor) + self.log_loss, np.log(fall), sharpness

    def _of_law(self, law: KrigedLaw) -> tuple[Array, ...]:
        """The same for additive laws."""
        E, A, B, alpha, beta = (
            np.atleast_1d(value)[:, None] for value in (law.E, law.A, law.B, law.alpha, law.beta)
        )
        c = self.top + self.t
        valley = additive_optimum(E, A, B, alpha, beta, c)
        fall = valley.reducible * alpha * beta / (alpha + beta) / valley.loss
        return valley.x, np.log(valley.loss), np.log(fall), np.log(law.alpha + law.beta)

    def _fall(self, line: Array, floor: Array) -> Array:
        """Fall of the log loss per unit of log C, of the shape of `line`."""
        least = LEAST_FALL * self.prior.usual_decay
        decay = np.maximum(-np.gradient(line, self.t, axis=-1), least)
        above = (1 - floor[:, None]) * np.exp(line)
        return np.asarray(decay * above / (floor[:, None] + above))

    def _sharpness(self, fall: Array) -> tuple[Array, float]:
        """Middle of log (alpha + beta) for each row, and its standard deviation."""
        usual, spread = math.log(self.prior.sharpness[0]), self.prior.sharpness[1]
        measured, error = np.full(len(fall), usual), math.inf
        if self.evidence.bend is not None:
            bend, error = self.evidence.bend
            inside = (self.t <= 0) & (self.t >= float(self.evidence.c[0]) - self.top)
            measured = math.log(bend) - np.log(fall[:, inside].mean(axis=1))
        elif self.evidence.sharpness is not None:
            measured[:], error = self.evidence.sharpness
        share = spread**2 / (spread**2 + error**2)
        return usual + share * (measured - usual), spread * math.sqrt(1 - share)

    def _law(self, log_N: Array, log_loss: Array, log_fall: Array, log_total: Array) -> PathLaw:
        """The law with log N, log L and log f at the nodes in the last axis."""
        zero = int(np.searchsorted(self.t, 0.0))
        rise = log_N[..., zero + 1] - log_N[..., zero - 1]
        slope = np.clip(rise / (self.t[zero + 1] - self.t[zero - 1]), *SLOPES)
        total = np.exp(log_total)
        alpha, beta = (1 - slope) * total, slope * total
        log_R = log_loss + log_fall - np.log((1 - slope) * beta)[..., None]
        R, N = np.exp(log_R[..., zero]), log_N[..., zero]
        A, B = slope * R * np.exp(alpha * N), (1 - slope) * R * np.exp(beta * (self.top - N))
        E = np.maximum(np.exp(log_loss[..., zero]) - R, 0)
        values = np.moveaxis(np.stack([log_N, log_loss, log_R]), -1, 0)  # (K, 3), or (K, 3, B)
        E, A, B, alpha, beta = (plain(value) for value in (E, A, B, alpha, beta))
        return PathLaw(E, A, B, alpha, beta, self.top + self.t, values)


def loss_lines(
    prior: Prior, num_params: float, t: Array, log_loss: Array, covariance: Array, at: Array
) -> tuple[Hypotheses, Regression]:
    """The line of log [(L / L_0 - floor) / (1 - floor)] over t, under all settings of the prior.

    num_params: of the largest optimum.

    Runs that follow a power law do not speak against small models that begin to learn something new
    beyond them, so that the loss goes on falling, nor against a loss that flattens earlier than
    that of larger models, at whatever height below theirs. So the probability of the one, and of
    each floor of the other, is never below that of the prior.
    """
    share = prior.share_unsettled(num_params)
    if share == 0:
        return prior.of_loss, _loss_line(prior.of_loss, t, log_loss, covariance, at)
    lowest = math.exp(log_loss.min())
    flattening = [each for each in prior.of_flattening_loss if each.floor[0] < lowest]
    priors = (prior.of_loss, prior.of_falling_loss, *flattening)
    lines = [_loss_line(each, t, log_loss, covariance, at) for each in priors]
    halves = [share / 2, *[share / 2 / len(flattening)] * len(flattening)]
    shares = np.array([1 - share, *halves])
    shares[1:] = np.maximum(shares, softmax(np.log(shares) + [x.log_evidence for x in lines]))[1:]
    shares[0] = max(1 - shares[1:].sum(), 0)
    shares /= shares.sum()
    settings = reduce(Hypotheses.joined, priors)
    return settings, mixed(lines, shares.tolist(), [len(each.floor) for each in priors])


def _loss_line(
    given: Hypotheses, t: Array, log_loss: Array, covariance: Array, at: Array
) -> Regression:
    """The line of the loss under some settings."""
    ratio = np.exp(log_loss)
    above = ratio - given.floor[:, None]
    possible = above.min(axis=1) > 0
    above = np.where(possible[:, None], above, 1.0)
    z = np.log(above / (1 - given.floor[:, None]))
    steep = ratio / above
    errors = covariance + given.scatter[:, None, None] ** 2 * np.eye(len(t))
    noise = errors * steep[:, :, None] * steep[:, None, :]
    jacobian = np.where(possible, np.log(steep).sum(axis=1), -np.inf)
    return regress(given, t, z, noise, at, jacobian)


def _log_loss(line: Array, floor: Array) -> Array:
    """Log of L / L_0."""
    return np.asarray(np.log(floor[:, None] + (1 - floor[:, None]) * np.exp(line)))


def _nodes(t: Array) -> Array:
    """Nodes of the table: within the evidence, at its ends, and at growing distances beyond."""
    steps = min(max(round(-float(t[0]) / INSIDE), 2), MOST_INSIDE)
    inside = np.linspace(float(t[0]), 0, steps + 1)
    return np.concatenate([inside[0] - BELOW[::-1], inside, OUTSIDE])

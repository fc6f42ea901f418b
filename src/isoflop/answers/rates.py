"""The doubt of an answer grows by what wrong rates and batches may have cost its runs."""

import math
from dataclasses import replace

from scipy.special import ndtri

from isoflop.answers.optimum import Optimum
from isoflop.answers.outcome import LawOptimum
from isoflop.answers.question import Question
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken
from isoflop.laws.waste import wasted_share

__all__ = ["with_doubt_of_checks"]


def with_doubt_of_checks(
    answer: Optimum,
    fit: Fit,
    question: Question,
    place: LawOptimum,
    cost: CostPerToken | None,
) -> Optimum:
    """The answer with wider intervals of params and tokens, and more expected waste."""
    checked = (part for part in (fit.rates, fit.batches) if part is not None)
    spread = math.hypot(*(part.spread(answer.flops, cost) for part in checked))
    if spread == 0:
        return answer
    fixed = question.conditions.fixed(place) | {question.name}
    width = spread * float(ndtri((1 + answer.level) / 2))
    wider = {
        name: _widened(getattr(answer, name), width)
        for name in ("num_params", "num_tokens")
        if name not in fixed
    }
    N, C = float(place.N), float(place.C)
    wasted = wasted_share(place.law, N * math.exp(spread), C, cost)
    more = 0.0 if wasted is None else float(wasted)
    known = answer.regret
    regret = replace(known, value=known.value + more, high=known.high + more)
    return replace(answer, regret=regret, **wider)  # type: ignore[arg-type]  # both are estimates


def _widened(estimate: Estimate, width: float) -> Estimate:
    """The estimate with an independent error of so much log width on either side."""
    value, low, high = estimate.value, estimate.low, estimate.high
    return Estimate(
        value,
        low and value / math.exp(math.hypot(math.log(value / low), width)),
        value * math.exp(math.hypot(math.log(high / value), width)),
    )

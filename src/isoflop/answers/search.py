"""find(): the optimum that answers a question, under its conditions."""

import numpy as np

from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.answers.question import Question
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.inverses import flops_for, require_answer

__all__ = ["find"]


def find(fit: Fit, question: Question, cost: CostPerToken | None) -> Outcome:
    """The optimum that answers the question. Raises DataError where none does."""
    laws, draws = (question.conditions.laws(law, cost) for law in (fit.law, fit.resamples))
    target: Number = question.value
    drawn: Number = np.asarray(question.value)
    if question.name != "flops":
        target = require_answer(laws[-1], question.name, question.paid, cost)
        drawn = flops_for(draws[-1], question.name, question.paid, cost)
    places = (_place(laws, target, cost, question), _place(draws, drawn, cost, question))
    return Outcome(*places, cost, fit.level)


def _place(
    laws: tuple[Law, ...], C: Number, cost: CostPerToken | None, question: Question
) -> LawOptimum:
    law, conditions = laws[-1], question.conditions
    N, paid = law.optimum(C, cost)
    loss = law.optimal_loss(C, cost)
    return LawOptimum(laws, conditions.in_order, C, N, paid, loss, conditions.offset)

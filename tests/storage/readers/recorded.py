"""Runs that trackers record in tests: their numbers are known, and so is what is to be read."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

import isoflop

LAW = isoflop.ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
STEPS = 40
COLUMNS = {"params": "config.n_params", "tokens": "tokens", "loss": "eval/loss"}
"""One mapping for every tracker."""


@dataclass(frozen=True)
class Recorded:
    """A run: its settings, and what it logs at each of `STEPS` steps."""

    name: str
    params: float
    tokens: float

    @property
    def loss(self):
        return self.eval_loss(STEPS)

    @property
    def config(self):
        return {"n_params": self.params, "model": {"depth": 12}, "optimizer": "adamw"}

    def tokens_at(self, step):
        return self.tokens * step / STEPS

    def eval_loss(self, step):
        return float(LAW.loss(self.params, self.tokens_at(step)))

    def train_loss(self, step):
        return self.eval_loss(step) - 0.02

    def row(self, step):
        """What is logged at a step, from 1 to `STEPS`; the held-out loss every tenth."""
        row = {"train/loss": self.train_loss(step), "tokens": self.tokens_at(step)}
        return row | ({"eval/loss": self.eval_loss(step)} if step % 10 == 0 else {})


def sweep(budgets=(1e18, 4e18, 1.6e19), sizes=4):
    """Recorded runs at several budgets, on both sides of each budget's best size."""
    return [
        Recorded(f"run-{budget:.0e}-{k}", float(round(params)), budget / (6 * round(params)))
        for budget in budgets
        for k, params in enumerate(LAW.optimum(budget)[0] * np.geomspace(1 / 3, 3, sizes))
    ]


def check(runs, expected, *, curves=True):
    """The runs are the recorded ones, in any order, completed and with their curves."""
    by_params = sorted(runs, key=lambda run: (run.num_params, run.num_tokens))
    recorded = sorted(expected, key=lambda run: (run.params, run.tokens))
    assert len(by_params) == len(recorded)
    for run, one in zip(by_params, recorded, strict=True):
        assert (run.status, run.error) == ("completed", None)
        assert run.num_params == one.params
        assert run.num_tokens == pytest.approx(one.tokens, rel=1e-6)
        assert run.loss == pytest.approx(one.loss, rel=1e-6)
        assert run.flops == pytest.approx(6 * one.params * one.tokens, rel=1e-6)
        if curves:
            check_curve(run, one)


def check_curve(run, one, first=1):
    """The curve has the training loss at the tokens of every step."""
    steps = range(first, STEPS + 1)
    expected = [(one.tokens_at(step), one.train_loss(step)) for step in steps]
    np.testing.assert_allclose(run.curve, expected, rtol=1e-6)


def check_answer(runs):
    """The answer from the runs is that of the law."""
    best = isoflop.predict(isoflop.fit(runs), flops=1e20)
    assert math.log(best.num_params.value / LAW.optimum(1e20)[0]) == pytest.approx(0, abs=0.3)

"""Methods that are scored: from the runs seen and the FLOPs of a target to draws of the answer.

A method is a function. Yours in `mine.py` is scored beside the others by

    python benchmarks/fitting/held_out.py --method mine.py:forecast

`example_method.py` is one in 20 lines.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from baseline import log_sizes

from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.prior import Prior
from isoflop.fitting.fit import Fit, fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.base import Array
from isoflop.laws.cost import cost_for
from isoflop.laws.waste import expected_waste
from isoflop.runs import Run

__all__ = ["APPROACHES", "BASELINE", "METHODS", "Forecast", "Method", "forecast_of", "named"]

NUM_DRAWS = 400


@dataclass(frozen=True, eq=False)
class Forecast:
    """Draws of the log of the best size and of the loss there; the loss may be left out."""

    log_N: Array
    log_loss: Array | None = None
    answer: float = math.nan
    """Log N that is recommended; the median of the draws where left out."""
    waste: float = math.nan
    """Share of the compute that the answer is expected to waste, where the method says so."""

    @property
    def log_size(self) -> float:
        return self.answer if math.isfinite(self.answer) else float(np.nanmedian(self.log_N))


Method = Callable[[Sequence[Run], float], Forecast]
"""Raises DataError where the runs do not suffice."""


def forecast_of(found: Fit, flops: float) -> Forecast:
    """What a fit says of some FLOPs."""
    cost = cost_for(found.law, found.runs)
    N = found.law.optimum(flops, cost)[0]
    loss = found.resamples.optimal_loss(flops, cost)  # None for an envelope
    waste = expected_waste(found.law, found.resamples, N, flops, cost)
    return Forecast(
        log_N=np.log(found.resamples.optimum(flops, cost)[0]),
        log_loss=None if loss is None else np.log(loss),
        answer=math.log(N),
        waste=math.nan if waste is None else float(waste),
    )


def of_approach(approach: Approach | None, prior: Prior | None = None) -> Method:
    """isoflop.fit with some approach; the runs of one window are fitted once."""
    last: list[tuple[Sequence[Run], Fit]] = []

    def method(runs: Sequence[Run], flops: float) -> Forecast:
        if not (last and last[0][0] is runs):
            last[:] = [(runs, fit(runs, approach, prior=prior, resamples=NUM_DRAWS))]
        return forecast_of(last[0][1], flops)

    return method


def baseline(runs: Sequence[Run], flops: float) -> Forecast:
    """A line through the minima (`baseline.py`)."""
    return Forecast(log_sizes(runs, flops))


BASELINE = "line through minima"
APPROACHES: dict[str, Approach | None] = {
    "default": None,
    "Kriging()": Kriging(),
    "Parametric()": Parametric(),
    "IsoFLOP()": IsoFLOP(),
}
"""None stands for what `fit` does by itself."""
METHODS: dict[str, Method] = {
    **{name: of_approach(approach) for name, approach in APPROACHES.items()},
    "Envelope()": of_approach(Envelope()),
    BASELINE: baseline,
}


def named(where: str) -> tuple[str, Method]:
    """The function in a file, as `mine.py:forecast`, and its name."""
    path, _, name = where.partition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name, getattr(module, name)

"""The exponent of N_opt under each convention for counting params.

N: params; C: FLOPs. Total and non-embedding counts gave 0.50 and 0.73 on one law (Pearce & Song
2024, 2406.12907).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["exponents_by_convention"]


def exponents_by_convention(runs: Sequence[Run]) -> Mapping[str, float]:
    """a of N_opt ~ C^a by Approach 2, for each convention that all runs were counted by.

    Empty if the runs carry no counts or their budgets have too few minima.
    """
    names = set.intersection(*(set(run.spec.param_counts) for run in runs)) if runs else set()
    exponents = {name: _exponent([_recounted(run, name) for run in runs]) for name in sorted(names)}
    return {name: exponent for name, exponent in exponents.items() if exponent is not None}


def _recounted(run: Run, convention: str) -> Run:
    return replace(run, spec=replace(run.spec, num_params=run.spec.param_counts[convention]))


def _exponent(runs: Sequence[Run]) -> float | None:
    try:
        law = IsoFLOP().solve(Points.of(runs)).law
    except DataError:  # too few budgets with a minimum under this convention
        return None
    assert isinstance(law, FrontierLaw)
    return float(law.num_params.exponent)

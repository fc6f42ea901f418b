"""Approaches by what names them: one of their values, their class, or a word such as "kriging"."""

import inspect
from typing import Any

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.kriging.approach import Kriging

__all__ = ["approach_from", "require_draws"]

_CLASSES = (Bayesian, Kriging, Parametric, IsoFLOP, Envelope)
_NAMES = {cls.__name__.lower(): cls for cls in _CLASSES}


def approach_from(value: Any, function: str) -> Any:
    """The approach that is meant; None for None. Raises DataError where none is."""
    if isinstance(value, str):
        value = _NAMES[arguments.one_of(value, f"{function}: approach", _NAMES)]
    if isinstance(value, type) and value in _CLASSES:
        return value()
    if value is None or (not inspect.isclass(value) and callable(getattr(value, "solve", None))):
        return value
    raise DataError(
        f"{function}: approach must be Bayesian(), Kriging(), Parametric(), IsoFLOP() or Envelope(), "
        f"but got {quoted(value)}."
    )


def require_draws(function: str, resamples: Any, level: Any, seed: Any) -> tuple[int, float, int]:
    """Number of draws, level and seed of intervals. Raises DataError where they cannot be that."""
    return (
        arguments.whole(resamples, f"{function}: resamples", least=20, most=1e5),
        arguments.share(level, f"{function}: level", remedy="0.9 gives 90 % intervals"),
        arguments.whole(seed, f"{function}: seed", most=2.0**63),
    )

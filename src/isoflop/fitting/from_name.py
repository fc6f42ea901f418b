"""Approaches by value, by class, or by a name such as "kriging"."""

import inspect
from typing import cast

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.kriging.approach import Kriging

__all__ = ["approach_from", "require_draws"]

_CLASSES = (Bayesian, Kriging, Parametric, IsoFLOP, Envelope)
_NAMES = {cls.__name__.lower(): cls for cls in _CLASSES}


def approach_from(value: object, function: str) -> Approach | None:
    """The approach of a value, a class or a name; None for None.

    Raises DataError for anything else.
    """
    if isinstance(value, str):
        value = _NAMES[arguments.one_of(value, f"{function}: approach", _NAMES)]
    if isinstance(value, type) and value in _CLASSES:
        return cast(Approach, value())
    if value is None or (not inspect.isclass(value) and callable(getattr(value, "solve", None))):
        return cast(Approach | None, value)
    raise DataError(
        f"{function}: approach must be Bayesian(), Kriging(), Parametric(), IsoFLOP() or "
        f"Envelope(), but got {quoted(value)}."
    )


def require_draws(
    function: str, resamples: object, level: object, seed: object
) -> tuple[int, float, int]:
    """Number of draws, level and seed of intervals.

    Raises DataError for impossible values.
    """
    return (
        arguments.whole(resamples, f"{function}: resamples", least=20, most=1e5),
        arguments.share(level, f"{function}: level", remedy="0.9 gives 90 % intervals"),
        arguments.whole(seed, f"{function}: seed", most=2.0**63),
    )

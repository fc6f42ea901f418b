"""Impossible counts: params, tokens and FLOPs whose unit the table leaves out, and that unit.

N params, D tokens, C FLOPs.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from shlex import quote

import numpy as np
import numpy.typing as npt

from isoflop.errors import DataError

__all__ = ["PER_6ND", "completed", "refuse_wrong_units"]

Floats = npt.NDArray[np.float64]

_UNITS: Mapping[str, tuple[float, ...]] = {
    "params": (1, 1e6, 1e9),
    "tokens": (1, 1e6, 1e9, 1e12),
    "flops": (1, 1e9, 1e12, 1e15, 1e18, 1e21, 8.64e19),  # the last one is a PFLOP/s-day
    "compute_budget": (1, 1e9, 1e12, 1e15, 1e18, 1e21, 8.64e19),
}
_PER_PARAM = (1e-3, 1e6)
"""Range of tokens per param at the median of a table. Networks of hundreds of params on small data
have .2 to 300, and public sweeps 1 to 1,000."""
_FEW_PER_PARAM, _FEW_TOKENS = 0.1, 1e4
"""Fewer tokens per param, on fewer tokens, are millions of params and billions of tokens."""
PER_6ND = (1e-3, 1e5)
"""Range of FLOPs over 6 N D at the median. Shared experts, and images that count as one token, stay
well inside."""
_LEAST_WHOLE = 1e5
"""Params below it must be whole numbers; fractions were divided by a unit."""
_USUAL_PER_PARAM, _USUAL_PARAMS = 20.0, 3e8
_LEAST_ROWS = 3
"""Fewest rows with a meaningful median."""
_GAP = 30.0
"""Factor between neighbouring values of params x tokens that indicates two units."""


def completed(numbers: Mapping[str, Floats]) -> dict[str, Floats]:
    """Columns with params, tokens and FLOPs; those missing in the table follow from C = 6 N D."""
    params = numbers["params"]
    if "tokens" in numbers:
        tokens = numbers["tokens"]
        flops = numbers.get("flops", 6 * params * tokens)
    else:
        flops = numbers["flops"] if "flops" in numbers else numbers["compute_budget"]
        tokens = flops / (6 * params)
    return {**numbers, "tokens": tokens, "flops": flops}


def refuse_wrong_units(
    numbers: Mapping[str, Floats], plain: Mapping[str, str], source: str
) -> None:
    """Raise DataError where params, tokens and FLOPs are impossible, with units that explain them.

    plain: field -> name of its column, for columns without any stated unit; others are trusted.
    """
    free = [field for field in _UNITS if field in plain]
    wrong = _wrong(numbers, free)
    if not wrong:
        return
    units = min(
        _explanations(numbers, free), key=lambda units: _strangeness(numbers, units), default={}
    )
    raise DataError(f"{source} has {wrong}; {_remedy(units, plain)}.")


def _wrong(numbers: Mapping[str, Floats], free: list[str]) -> str:
    """Fault of the median row that another unit of a free column may correct; empty for none."""
    if not free:
        return ""
    N, D, C = _middles(numbers)
    if not all(math.isfinite(value) for value in (N, D, C)):
        return ""
    middle = f"{_formatted(N)} params trained on {_formatted(D)} tokens"
    low, high = _PER_PARAM
    if not low <= D / N <= high or (D / N < _FEW_PER_PARAM and D < _FEW_TOKENS):
        return f"{middle} in its middle, {D / N:.2g} per param"
    if "params" in free and N < _LEAST_WHOLE and _are_parts(numbers["params"]):
        return f"{middle} in its middle, and params that are no whole numbers"
    low, high = PER_6ND
    if not low <= C / (6 * N * D) <= high:
        ratio = f"FLOPs of {C / (6 * N * D):.2g} times 6·N·D"
        return f"{ratio} ({_formatted(C)} for {middle} in its middle)"
    return ""


def _middles(numbers: Mapping[str, Floats]) -> tuple[float, float, float]:
    """Median N, the D of the median D / N, and the C of the median C / 6 N D."""
    full = completed(numbers)
    known = np.isfinite(full["params"] * full["tokens"] * full["flops"])
    if known.sum() < _LEAST_ROWS:
        return math.nan, math.nan, math.nan
    N, D, C = (full[field][known] for field in ("params", "tokens", "flops"))
    middle, per_param = float(np.median(N)), float(np.median(D / N))
    return (
        middle,
        middle * per_param,
        float(np.median(C / (6 * N * D))) * 6 * middle * middle * per_param,
    )


def _are_parts(params: Floats) -> bool:
    """Whether most params are fractions."""
    known = params[np.isfinite(params)]
    return bool(np.mean(np.abs(known - np.round(known)) > 1e-6 * known) > 0.5)


def _explanations(numbers: Mapping[str, Floats], free: list[str]) -> Iterator[dict[str, float]]:
    """Units under which the counts have no fault."""
    for units in product(*(_UNITS[field] for field in free)):
        chosen = dict(zip(free, units, strict=True))
        scaled = _scaled(numbers, chosen)
        if not _wrong(scaled, free) and not _is_mixed(scaled):
            yield chosen


def _scaled(numbers: Mapping[str, Floats], units: Mapping[str, float]) -> dict[str, Floats]:
    return {field: values * units.get(field, 1.0) for field, values in numbers.items()}


def _is_mixed(numbers: Mapping[str, Floats]) -> bool:
    """Whether the rows fall into two groups, such as millions in some and billions in others."""
    full = completed(numbers)
    work = full["tokens"] * full["params"]
    known = np.sort(work[np.isfinite(work)])
    return len(known) > 3 and bool((known[2:-1] / known[1:-2]).max(initial=1) > _GAP)


def _strangeness(
    numbers: Mapping[str, Floats], units: Mapping[str, float]
) -> tuple[int, float, float]:
    """Sort key of an explanation, smallest first.

    Number of columns with a unit; distance of the median row from 20 tokens per param at C = 6 N D;
    distance from the usual size of a model.
    """
    N, D, C = _middles(_scaled(numbers, units))
    distance = abs(math.log(D / N / _USUAL_PER_PARAM)) + abs(math.log(C / (6 * N * D)))
    return (
        sum(unit != 1 for unit in units.values()),
        round(distance, 6),
        abs(math.log(N / _USUAL_PARAMS)),
    )


def _remedy(units: Mapping[str, float], plain: Mapping[str, str]) -> str:
    given = {
        field: f"{plain[field]} * {_factor(unit)}" for field, unit in units.items() if unit != 1
    }
    if given:
        options = " ".join(
            f"--column {quote(f'{field}={column}')}" for field, column in given.items()
        )
        return f"if they are in other units, give columns={given} ({options})"
    unchanged = {field: f"{column} * 1" for field, column in plain.items()}
    return (
        "write each with its unit, as in 350M and 1.3B, or take them as they are with "
        f"columns={unchanged}"
    )


def _factor(unit: float) -> str:
    return f"{unit:.3g}".replace("e+0", "e").replace("e+", "e")


def _formatted(value: float) -> str:
    return f"{value:,.3g}" if value < 1e3 else f"{value:.3g}"

"""Range of each number in a recipe, and the checks that a recipe and its rules pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import ContractError, first_line

__all__ = ["RANGES", "checked_compile", "checked_seeds", "in_range", "require", "value_of"]

LARGEST_EMA = 0.5
"""Share of the run; a larger one would average the first weights in, or is a decay per step."""
_MOST = 1e15
"""Largest count of tokens and of passes; a run beyond it would never end."""

RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "epochs": ("above 0 or None", lambda value: 0 < value <= _MOST),
    "lr": ('a number above 0 and up to 1e6, "auto", or a rule', lambda value: 0 < value <= 1e6),
    "batch_tokens": ("a number above 0, or a rule", lambda value: 0 < value <= _MOST),
    "min_batch": ("a whole number from 1 to 1e9", lambda value: _is_whole(value, 1e9)),
    "beta1": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "beta2": ("from 0 to below 1, or a rule", lambda value: 0 <= value < 1),
    "weight_decay": ("0 or more, or a rule", lambda value: value >= 0),
    "decay_timescale": ("above 0 or None, or a rule", lambda value: value > 0),
    "warmup": ("a share from 0 to below 1, or a rule", lambda value: 0 <= value < 1),
    "cooldown": ("a share above 0 and up to 1", lambda value: 0 < value <= 1),
    "clip": ("above 0 or None", lambda value: value > 0),
    "ema": (
        f"a share of the run above 0 and up to {LARGEST_EMA}, such as 0.05, or None (it is no "
        "decay per step)",
        lambda value: 0 < value <= LARGEST_EMA,
    ),
    "eval_tokens": ("a whole number from 1 to 1e15", lambda value: _is_whole(value, _MOST)),
    "eval_passes": ("a whole number from 1 to 1e6", lambda value: _is_whole(value, 1e6)),
}
"""By field: the rule for a number, in words and as a test. The values of rules pass it too."""
_RULES = ("lr", "batch_tokens", "beta2", "weight_decay", "decay_timescale", "warmup")
_AUTOMATIC = ("lr",)
"""Fields that may be "auto"."""
_RULE_ARGUMENTS = {"beta2": "the tokens per optimiser step"}


def _is_whole(value: float, most: float) -> bool:
    return 1 <= value <= most and value == int(value)


def in_range(name: str, value: object) -> object:
    """A field's value, with numbers of NumPy, torch or words as Python's; rules and None pass.

    Raises ContractError where a number is outside the field's range.
    """
    must, holds = RANGES[name]
    given = arguments.plain(value)
    if (name in _RULES and callable(given)) or ("None" in must and given is None):
        return given
    if name in _AUTOMATIC and isinstance(given, str) and given == "auto":
        return given
    return arguments.number(
        given,
        f"Recipe: {name}",
        must=must,
        holds=lambda one: math.isfinite(one) and holds(one),
        error=ContractError,
    )


def value_of(name: str, rule: float | Callable[..., float], *inputs: float) -> float:
    """The number of a field, or the value of its rule at some inputs.

    Raises ContractError where a rule fails or its value is out of range.
    """
    if not callable(rule):
        return float(rule)
    must, holds = RANGES[name]
    at = ", ".join(f"{given:.3g}" for given in inputs)
    try:
        value = arguments.plain(rule(*inputs))
    except Exception as error:
        names = _RULE_ARGUMENTS.get(name, "num_params and num_tokens")
        raise ContractError(
            f"Recipe: the rule of {name} must be a function of {names}, but at ({at}) it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error
    must = must.partition(",")[0].removeprefix("a number ")
    is_valid = _is_number(value) and holds(value)
    require(is_valid, f"{name} must give a number {must} at ({at})", value)
    return float(value)


def checked_seeds(seeds: object) -> tuple[int, ...]:
    """Seeds as a tuple of different whole numbers; raises ContractError for anything else."""
    if not isinstance(seeds, tuple | list | range):
        raise ContractError(
            f"Recipe: seeds must be a tuple of whole numbers, but got {quoted(seeds)}."
        )
    plain = tuple(arguments.plain(seed) for seed in seeds)
    require(len(plain) >= 1, "seeds must name at least one seed", plain)
    whole = all(type(seed) is int and 0 <= seed < 2**63 for seed in plain)
    require(whole, "seeds must be whole numbers from 0 to below 2^63", plain)
    require(len(set(plain)) == len(plain), "seeds must differ", plain)
    return plain


def checked_compile(value: object, modes: Sequence[str]) -> bool | str:
    """True, False or a mode of torch.compile; raises ContractError for anything else."""
    given = arguments.plain(value)
    if isinstance(given, bool):
        return given
    if given in modes:
        return str(given)
    must = f"True or False, or a mode of torch.compile, {' or '.join(map(repr, modes))}"
    raise arguments.refused(value, "Recipe: compile", must, error=ContractError)


def require(holds: bool, rule: str, value: object) -> None:
    """Raise ContractError where a rule does not hold."""
    if not holds:
        raise ContractError(f"Recipe: {rule}, but got {quoted(value)}.")


def _is_number(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False

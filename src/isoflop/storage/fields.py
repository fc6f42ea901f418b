"""Checks of each field of a record, so that a file from elsewhere is refused on reading."""

from collections.abc import Callable, Mapping
from typing import TypeGuard, get_args

from isoflop.display.format import quoted
from isoflop.runs import Status
from isoflop.storage.files import Damaged

__all__ = ["check_run", "check_spec"]

LEAST, MOST = 1e-100, 1e100
"""Range of a count; within it sums and products of counts fit in floating point."""

Check = Callable[[object], bool]


def check_spec(values: object) -> None:
    """Raise Damaged unless the values are valid fields of a spec, and complete."""
    _check(values, _SPEC, "spec")


def check_run(values: Mapping[str, object]) -> None:
    """Raise Damaged unless the values are valid fields of a run, without its spec and its curve."""
    _check(values, _RUN, "record")
    counts = (values["num_tokens"], values["flops"])
    if values["status"] == "completed" and not all(_is_count(count) for count in counts):
        raise Damaged("a completed run must have num_tokens and flops above 0")


def _check(values: object, checks: Mapping[str, Check], kind: str) -> None:
    if not isinstance(values, dict):
        raise Damaged(f"its {kind} is {quoted(values)}")
    for name in checks.keys() - values.keys():
        raise Damaged(f"its {kind} has no {name!r}")
    for name, value in values.items():
        if name not in checks:
            raise Damaged(f"its {kind} has {quoted(name)}, which isoflop does not write")
        if not checks[name](value):
            raise Damaged(f"its {name} is {quoted(value)}")


def _is_number(value: object) -> TypeGuard[float]:
    # compared without conversion: a whole number may have more digits than a float holds
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST


def _is_count(value: object) -> bool:
    return _is_number(value) and value >= LEAST


def _is_amount(value: object) -> bool:
    return _is_number(value) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _is_size(value: object) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(_is_number(part) or _is_text(part) for part in parts)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _each(check: Check) -> Check:
    """A check of every value of an object whose keys are texts."""
    return lambda value: (
        isinstance(value, dict) and all(map(_is_text, value)) and all(map(check, value.values()))
    )


def _is_batch(value: object) -> bool:
    return _is_whole(value) and value > 0


_SETTINGS = (
    "lr",
    "beta1",
    "beta2",
    "weight_decay",
    "warmup",
    "cooldown",
    "clip",
    "ema",
    "epochs",
    "checked_lr",
)
_SPEC: Mapping[str, Check] = {
    **dict.fromkeys(("num_params", "num_tokens", "flops"), _is_count),
    **dict.fromkeys(("budget", "tokens_per_example", "unique_tokens"), _or_none(_is_count)),
    **dict.fromkeys(_SETTINGS, _or_none(_is_number)),
    **dict.fromkeys(("schedule", "precision", "trunk"), _or_none(_is_text)),
    "size": _or_none(_is_size),
    "arguments": _each(lambda value: _is_number(value) or _is_text(value)),
    "param_counts": _each(_is_amount),
    **dict.fromkeys(("batch", "checked_batch"), _or_none(_is_batch)),
    "seed": _is_whole,
    "fingerprint": _is_text,
}
_TIMES = ("seconds", "wall_seconds", "predicted_seconds", "peak_flops_per_second")
_RUN: Mapping[str, Check] = {
    "status": lambda value: value in get_args(Status),
    **dict.fromkeys(("loss", "loss_stderr"), _or_none(_is_number)),
    **dict.fromkeys(("num_tokens", "flops"), _is_amount),
    **dict.fromkeys(_TIMES, _or_none(_is_amount)),
    **dict.fromkeys(("device", "error", "group"), _or_none(_is_text)),
    "metrics": _each(_or_none(_is_number)),
    "versions": _each(_is_text),
}

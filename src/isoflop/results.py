"""Results of runs that another trainer trained: read, checked and recorded as runs."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, cast

from isoflop import arguments
from isoflop.display.format import format_count, format_number, join_words, quoted
from isoflop.errors import DataError
from isoflop.runs import CurvePoint, Run, RunSpec

__all__ = ["TOKENS_OFF", "run_of", "tokens_off"]

TOKENS_OFF = 0.02
"""Share by which the tokens of a run may differ from its plan without a word."""
LARGEST = 1e30

_KNOWN = ("loss", "loss_stderr", "num_tokens", "flops", "seconds", "metrics", "curve", "device")


def run_of(
    spec: RunSpec,
    result: object,
    *,
    seconds: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> Run:
    """The run of a spec and what its trainer returned.

    result: the loss on held-out data, or a mapping with `loss` and, where they are known,
        `num_tokens`, `flops`, `loss_stderr`, `metrics` (name -> number), `curve` (pairs of tokens
        and training loss), `seconds` and `device`. Other names with numbers become metrics. A loss
        that is NaN or infinite makes a run that diverged.

    Raises DataError where there is no loss, or a value has the wrong kind.
    """
    values = _values(result)
    loss = _loss(values["loss"])
    num_tokens = _amount(values, "num_tokens") or spec.num_tokens
    diverged = not math.isfinite(loss)
    stderr = _amount(values, "loss_stderr")
    return Run(
        spec=spec,
        status="diverged" if diverged else "completed",
        loss=math.nan if diverged else loss,
        loss_stderr=None if diverged else stderr,
        metrics=_metrics(values),
        curve=_curve(values.get("curve")),
        num_tokens=num_tokens,
        flops=_amount(values, "flops") or spec.flops_per_token * num_tokens,
        seconds=_amount(values, "seconds") or seconds,
        device=None if values.get("device") is None else str(values["device"])[:200],
        versions=dict(versions or {}),
        error="its loss is not finite" if diverged else None,
    )


def tokens_off(spec: RunSpec, num_tokens: float) -> str:
    """How far the tokens trained are from the plan, in words; empty within 2 %."""
    if abs(num_tokens / spec.num_tokens - 1) <= TOKENS_OFF:
        return ""
    times = format_number(num_tokens / spec.num_tokens, 3)
    return (
        f"{format_count(num_tokens)} tokens were trained, {times} times the "
        f"{format_count(spec.num_tokens)} that were planned"
    )


def _values(result: object) -> Mapping[str, Any]:
    plain = arguments.plain(result)
    if arguments.is_number(plain) or isinstance(plain, float):
        return {"loss": plain}
    if not isinstance(plain, Mapping):
        raise DataError(
            "A trainer must return the held-out loss, or a dict with it as 'loss', but got "
            f"{quoted(result)}."
        )
    if plain.get("loss") is None:
        names = join_words([quoted(name, 30) for name in plain][:8]) or "nothing"
        raise DataError(
            f"A trainer's result must have a 'loss', the one on held-out data, but has {names}."
        )
    return plain


def _loss(value: object) -> float:
    plain = arguments.plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise DataError(f"A loss must be a number, but got {quoted(value)}.")
    if plain <= 0:
        raise DataError(
            f"A loss must be above 0, but got {format_number(plain, 4)}; return one that falls "
            "towards a floor, such as a cross-entropy, or 1 minus an accuracy."
        )
    return float(plain)


def _amount(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    must = "a finite number above 0"
    read = arguments.number(
        arguments.plain(value), f"A result's {name}", must=must, holds=lambda one: 0 < one < LARGEST
    )
    return float(read)


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    given = values.get("metrics") or {}
    named = arguments.mapping(given, "A result's metrics", "a dict, name -> number")
    others = {
        name: value
        for name, value in values.items()
        if name not in _KNOWN and arguments.is_number(arguments.plain(value))
    }
    metrics = {}
    for name, value in {**others, **named}.items():
        plain = arguments.plain(value)
        if isinstance(plain, bool) or not isinstance(plain, int | float):
            raise DataError(
                f"A result's metric {quoted(name, 40)} must be a number, but got {quoted(value)}."
            )
        metrics[str(name)] = float(plain)
    return metrics


def _curve(points: object) -> tuple[CurvePoint, ...]:
    if points is None:
        return ()
    try:
        pairs = [(float(tokens), float(loss)) for tokens, loss in cast(Iterable[Any], points)]
    except (TypeError, ValueError):
        raise DataError(
            f"A result's curve must be pairs of tokens and training loss, but got {quoted(points)}."
        ) from None
    tokens = [at for at, _ in pairs]
    if any(late <= early for early, late in pairwise(tokens)):
        raise DataError("A result's curve must have rising tokens; sort its points, each once.")
    return tuple(pairs)

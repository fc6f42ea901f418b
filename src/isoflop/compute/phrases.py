"""Parsers of budgets: 8xH100 for 3 days at 40% MFU, $50,000 at $2.50/H100-hour, 1e21 FLOPs."""

import math
from collections.abc import Mapping

from isoflop import arguments
from isoflop.compute.accelerators import PRECISIONS, Accelerator, find_accelerator, is_accelerator
from isoflop.compute.clauses import ANY_DEVICE, EXAMPLES, Clauses, clauses_of, mfu_parts, number_of
from isoflop.compute.compute import HOUR, MOST_FLOPS, Compute, Hardware, compute_of, default_mfu
from isoflop.display.format import format_percent, join_words, quoted
from isoflop.errors import PlanError
from isoflop.notes.note import Note

__all__ = ["parse_compute", "parse_hardware", "parse_precision", "parse_share"]

_PREFIXES = dict(zip("kmgtpezy", (10.0 ** (3 * k) for k in range(1, 9)), strict=True))
_SECONDS = {"s": 1.0, "m": 60.0, "h": HOUR, "d": 24 * HOUR, "w": 168 * HOUR}
_FORMATS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float8": "fp8"}
_SCALES = {"k": 1e3, "t": 1e3, "m": 1e6, "b": 1e9}  # by the first letter; t is thousand
_A_SHARE = "a share of the peak, above 0 and at most 100%"
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "dollar": "$", "euro": "€"}


def parse_compute(
    value: float | str,
    *,
    mfu: float | None = None,
    price: float | None = None,
    precision: str | None = None,
) -> Compute:
    """The FLOPs of a number or a phrase, with the hardware, hours and money that the phrase gives.

    value: FLOPs, or a phrase such as "1e21", "8xH100 for 3 days", "1000 H100-hours" or "$50,000 at
        $2.50/H100-hour".
    mfu, price, precision: used where the phrase does not give them. Without any MFU a cautious one
        is assumed, with a note of its source.

    Raises PlanError if the phrase cannot be read, is incomplete or contradictory, or names an
    unknown accelerator.

    >>> budget = parse_compute("8xH100 for 3 days at 40% MFU")
    >>> f"{budget.flops:.3g} FLOPs, {budget.device_hours:.0f} H100-hours"
    '8.21e+20 FLOPs, 576 H100-hours'
    """
    mfu, price, precision = _sensible(mfu, price, precision)
    if not isinstance(value, str):
        return Compute(
            flops=float(
                arguments.positive(
                    value,
                    "A budget",
                    must="FLOPs above 0",
                    error=PlanError,
                    remedy=f"write {EXAMPLES}",
                )
            )
        )
    clauses = clauses_of(value)
    if clauses.keys() & {"time", "device-hours", "money"}:
        clauses = _numbers_named(clauses)
    if not set(clauses) - {"FLOPs", "petaflop/s-days"}:
        return Compute(flops=_positive(_plain_flops(clauses), value))
    hardware = _hardware(clauses, value, mfu, price, precision)
    flops = _plain_flops(clauses)
    if flops is not None:
        _only_one(clauses, value, ("FLOPs", "petaflop/s-days", "time", "device-hours", "money"))
        return Compute(flops=_positive(flops, value)).on(hardware)
    return compute_of(hardware, _device_seconds(clauses, hardware, value))


def parse_hardware(
    value: str,
    *,
    mfu: float | None = None,
    price: float | None = None,
    precision: str | None = None,
) -> Hardware:
    """The accelerators of a phrase such as 64xH100 at 40% MFU; one where it gives no number.

    value: the phrase.
    mfu, price, precision: used where the phrase does not give them, as for `parse_compute`.

    Raises PlanError if the phrase cannot be read or gives a time, money or FLOPs.

    >>> hardware = parse_hardware("64xH100 at 40% MFU")
    >>> hardware.number, f"{hardware.flops_per_second:.3g} FLOPs per second and device"
    (64, '3.96e+14 FLOPs per second and device')
    """
    mfu, price, precision = _sensible(mfu, price, precision)
    value = arguments.word(value, "Hardware", "a text such as '8xH100 at 40% MFU'", error=PlanError)
    clauses = _numbers_named(clauses_of(value))
    if "devices" not in clauses or set(clauses) - {"devices", "MFU", "precision", "price"}:
        raise PlanError(
            f"Hardware is written as '8xH100' or '8xH100 at 40% MFU', but got {quoted(value)}."
        )
    return _hardware(clauses, value, mfu, price, precision, number=1)


def parse_share(value: str) -> float:
    """An MFU as a share, from 40% or 0.4.

    Raises PlanError for other text.
    """
    parts = mfu_parts(value) if isinstance(value, str) else None
    if parts is None:
        raise PlanError(f"MFU is written as 40% or 0.4, but got {quoted(value)}.")
    return _share_of(parts, value)


def parse_precision(value: object) -> str:
    """A precision from its name in any case: fp8, FP8 or float8.

    Raises PlanError for a format without known peaks.
    """
    written = value.strip().lower() if isinstance(value, str) else ""
    form = _FORMATS.get(written, written)
    if form not in PRECISIONS:
        raise PlanError(
            f"Peaks are known in {join_words(PRECISIONS)}, but got precision {quoted(value)}; take "
            f"one of them."
        )
    return form


def _sensible(
    mfu: object, price: object, precision: object
) -> tuple[float | None, float | None, str | None]:
    """The arguments beside a phrase, checked even where plain FLOPs do not use them."""
    return (
        _given_share(mfu),
        None
        if price is None
        else float(arguments.positive(price, "A price per hour", error=PlanError)),
        None if precision is None else parse_precision(precision),
    )


def _given_share(mfu: object) -> float | None:
    if mfu is None:
        return None
    if isinstance(mfu, str):
        return parse_share(mfu)
    share = arguments.number(mfu, "MFU", must=_A_SHARE, error=PlanError)
    return _checked_share(share, share)


# -- FLOPs ----------------------------------------------------------------------------------------


def _positive(flops: float | None, value: float | str) -> float:
    if flops is None or not 1 / MOST_FLOPS <= flops <= MOST_FLOPS:
        raise PlanError(
            f"A budget must be FLOPs above 0, but got {quoted(value)}; write it as {EXAMPLES}."
        )
    return flops


def _only_one(clauses: Clauses, phrase: str, kinds: tuple[str, ...]) -> None:
    given = [kind for kind in kinds if kind in clauses]
    if len(given) > 1:
        raise PlanError(
            f"A budget is given in one way, but {quoted(phrase)} gives {' and '.join(given)}; "
            f"leave one of them out."
        )


def _plain_flops(clauses: Clauses) -> float | None:
    if "petaflop/s-days" in clauses:
        return 1e15 * 24 * HOUR * number_of(clauses["petaflop/s-days"]["number"])
    if "FLOPs" not in clauses:
        return None
    prefix = clauses["FLOPs"].get("prefix", "")[:1].lower()
    return number_of(clauses["FLOPs"]["number"]) * _PREFIXES.get(prefix, 1.0)


# -- hardware -------------------------------------------------------------------------------------


def _hardware(
    clauses: Clauses,
    phrase: str,
    mfu: float | None,
    price: float | None,
    precision: str | None,
    number: int | None = None,
) -> Hardware:
    accelerator = _accelerator(clauses, phrase)
    name = clauses.get("precision", {}).get("name", precision)
    form = accelerator.usual_precision if name is None else parse_precision(name)
    accelerator.peak(form)  # refuses a format that it lacks
    share, notes = _mfu(clauses, phrase, mfu, form)
    many = clauses.get("devices", {}).get("number")
    return Hardware(
        accelerator=accelerator,
        number=number if many is None else _whole(many, phrase),
        mfu=share,
        precision=form,
        price=_price(clauses["price"], phrase) if "price" in clauses else price,
        currency=_currency(clauses, phrase),
        notes=notes,
    )


def _numbers_named(clauses: Clauses) -> Clauses:
    """The clauses, with a bare number such as 4090 read as a device instead of FLOPs."""
    plain, many = clauses.get("FLOPs", {}), clauses.get("devices", {})
    is_named = "name" in many and many["name"].lower() not in ANY_DEVICE
    if is_named or set(plain) != {"number"} or not is_accelerator(plain["number"]):
        return clauses
    others = {kind: parts for kind, parts in clauses.items() if kind != "FLOPs"}
    return {**others, "devices": {**many, "name": plain["number"]}}


def _accelerator(clauses: Clauses, phrase: str) -> Accelerator:
    """The accelerator of the clauses; a short name beside a full one means the same."""
    names = [
        clauses[kind]["name"]
        for kind in ("devices", "device-hours", "price")
        if "name" in clauses.get(kind, {})
    ]
    names = [name for name in names if name.lower() not in ANY_DEVICE]
    if not names:
        raise PlanError(
            f"Hours and money become FLOPs on an accelerator, but {quoted(phrase)} names none; add "
            f"'on 8xH100'."
        )
    first = find_accelerator(names[0])
    for name in names[1:]:
        if find_accelerator(name) != first and name.lower() not in first.name.lower():
            raise PlanError(
                f"A budget is for one accelerator, but {quoted(phrase)} names {first.name} and "
                f"{name}."
            )
    return first


def _mfu(
    clauses: Clauses, phrase: str, given: float | None, precision: str
) -> tuple[float, tuple[Note, ...]]:
    if "MFU" in clauses:
        return _share_of(clauses["MFU"], phrase), ()
    if given is not None:
        return given, ()
    share, source = default_mfu(precision)
    text = (
        f"No MFU was given, so {format_percent(share)} is assumed: {source}; give yours, as in 'at "
        f"40% MFU'."
    )
    return share, (Note("mfu-assumed", text),)


def _share_of(parts: Mapping[str, str], phrase: str) -> float:
    return _checked_share(number_of(parts["number"]) / (100 if parts.get("percent") else 1), phrase)


def _checked_share(share: float, value: float | str) -> float:
    if not 0 < share <= 1:
        raise arguments.refused(value, "MFU", _A_SHARE, error=PlanError)
    return share


def _whole(number: str, phrase: str) -> int:
    many = number_of(number)
    if not 1 <= many < math.inf:
        raise PlanError(f"A number of accelerators must be 1 or more, but got {quoted(phrase)}.")
    return int(many)


# -- hours and money ------------------------------------------------------------------------------


def _device_seconds(clauses: Clauses, hardware: Hardware, phrase: str) -> float:
    _only_one(clauses, phrase, ("time", "device-hours", "money"))
    if "device-hours" in clauses:
        return _seconds(clauses["device-hours"])
    if "time" in clauses:
        return _seconds(clauses["time"]) * (hardware.number or 1)
    if "money" not in clauses:
        raise PlanError(
            f"A budget needs a time, hours, money or FLOPs, but {quoted(phrase)} gives none; "
            f"add 'for 3 days'."
        )
    if hardware.price is None:
        raise PlanError(
            f"Money becomes hours by a price, but {quoted(phrase)} has none; add "
            f"'at $2.50/H100-hour'."
        )
    return _amount(clauses["money"]) / hardware.price * HOUR


def _seconds(parts: Mapping[str, str]) -> float:
    return _amount(parts) * _SECONDS[parts["unit"][0].lower()]


def _price(parts: Mapping[str, str], phrase: str) -> float:
    price = _amount(parts)
    if not 0 < price < math.inf:
        raise PlanError(
            f"A price per hour must be above 0 and finite, but got {price:g} for {quoted(phrase)}."
        )
    return price


def _amount(parts: Mapping[str, str]) -> float:
    return number_of(parts["number"]) * _SCALES.get(parts.get("scale", " ")[0].lower(), 1.0)


def _currency(clauses: Clauses, phrase: str) -> str:
    used = {
        _SYMBOLS.get(word.lower().rstrip("s"), word)
        for kind in ("money", "price")
        for word in (clauses.get(kind, {}).get(side) for side in ("currency", "after"))
        if word
    }
    if len(used) > 1:
        raise PlanError(
            f"Money and price are in one currency, but {quoted(phrase)} has "
            f"{' and '.join(sorted(used))}."
        )
    return used.pop() if used else "$"

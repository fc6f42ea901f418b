"""Clauses of a budget phrase, with the kind and the parts of each.

A phrase is a list of clauses in any order, separated by commas or by words (for, at, on, in, with).
Each clause gives FLOPs, devices, time, device-hours, money, a price per hour, MFU or precision, and
each kind may occur once. Devices may be split in two, as in 8 GPUs for 3 days on H100.
"""

import re
from collections.abc import Mapping

from isoflop.compute.accelerators import resembles
from isoflop.display.format import quoted
from isoflop.errors import PlanError

__all__ = ["ANY_DEVICE", "EXAMPLES", "Clauses", "clauses_of", "mfu_parts", "number_of"]

EXAMPLES = (
    "'8xH100 for 3 days at 40% MFU', '1000 H100-hours at 35% MFU', '$50,000 at $2.50/H100-hour' "
    "or '1e21 FLOPs'"
)

Clauses = Mapping[str, Mapping[str, str]]
"""Kind of clause -> its parts that were given."""

LONGEST = 200
"""Largest number of characters in a phrase."""

_NUMBER = r"(?P<number>\d[\d,_]*(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)"
# No months: their length varies.
_UNIT = r"(?P<unit>seconds?|secs?|s|minutes?|mins?|hours?|hrs?|h|days?|d|weeks?|wks?)"
_NAME = r"(?P<name>[a-z0-9][\w .+-]*?)"
_CURRENCY = r"(?P<currency>[$€£¥]|usd|eur|gbp|dollars?|euros?)"
_CURRENCY_AFTER = _CURRENCY.replace("currency", "after")
_SCALE = r"(?P<scale>k|m|b|thousand|million|billion)"
_SUM = rf"(?:{_CURRENCY}\s*)?{_NUMBER}\s*{_SCALE}?\s*(?:{_CURRENCY_AFTER})?"
_PREFIX = r"(?P<prefix>kilo|mega|giga|tera|peta|exa|zetta|yotta|[kmgtpezy])?"

_KINDS = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "petaflop/s-days": rf"{_NUMBER}\s*(?:pf|pflops?|petaflops?)(?:/s)?[\s-]*days?",
        "FLOPs": rf"{_NUMBER}(?:\s*{_PREFIX}[\s-]?(?P<word>flops?))?",
        "MFU": rf"(?:mfu\s*(?:of|=|:)?\s*)?{_NUMBER}\s*(?P<percent>%)?\s*"
        r"(?:mfu|of (?:the )?peak|utili[sz]ation)?",
        "precision": r"(?P<name>bf16|bfloat16|fp16|float16|tf32|fp32|float32|fp8|float8)"
        r"(?: precision)?",
        "time": rf"{_NUMBER}\s*{_UNIT}",
        "price": rf"{_SUM}\s*(?:/|per|an|a)\s*(?:{_NAME}[\s-]+)?(?:hour|hr|h)(?: each)?",
        "money": _SUM,
        "device-hours": rf"{_NUMBER}\s*(?:{_SCALE}\s+)?{_NAME}[\s-]+{_UNIT}",
        "devices": rf"(?:(?P<number>\d[\d,]*)\s*(?:[x×*]\s*|\s))?{_NAME}",
    }.items()
}
_BETWEEN = re.compile(r"\s*,\s+|\s*;\s*|\s*@\s*|\s+(?:for|at|on|in|with|using)\s+", re.IGNORECASE)
_FIRST_WORD = re.compile(r"^(?:for|at|on|in|with|using)\s+", re.IGNORECASE)

ANY_DEVICE = ("gpu", "gpus", "accelerator", "accelerators", "device", "devices", "chip", "chips")
"""Names that stand for any accelerator."""


def clauses_of(phrase: str) -> Clauses:
    """The clauses of a phrase by kind, with their parts.

    Raises PlanError for a clause that cannot be read and for a kind that occurs twice.
    """
    if len(phrase) > LONGEST or not phrase.isprintable():
        raise PlanError(f"A budget is written as {EXAMPLES}, but got {quoted(phrase)}.")
    clauses: dict[str, Mapping[str, str]] = {}
    for clause in _BETWEEN.split(phrase.strip()):
        kind, parts = _read(_FIRST_WORD.sub("", clause.strip()), phrase)
        clauses[kind] = _joined(clauses[kind], parts, kind, phrase) if kind in clauses else parts
    return clauses


def _joined(
    first: Mapping[str, str], second: Mapping[str, str], kind: str, phrase: str
) -> Mapping[str, str]:
    """One clause from two that give the number of devices and their name separately."""
    if kind == "devices":
        for many, named in ((first, second), (second, first)):
            if _is_any(many["name"]) and not _is_any(named["name"]) and "number" not in named:
                return {**many, "name": named["name"]}
    raise PlanError(
        f"A budget gives its {kind} once, but {quoted(phrase)} gives it twice; leave one out."
    )


def _read(clause: str, phrase: str) -> tuple[str, Mapping[str, str]]:
    for kind, pattern in _KINDS.items():
        match = pattern.fullmatch(clause)
        if match and _is_meant(kind, match):
            return kind, {name: part for name, part in match.groupdict().items() if part}
    where = "" if clause == phrase else f"in {quoted(phrase)} "
    raise PlanError(
        f"A budget is written as {EXAMPLES}, but {where}{quoted(clause, 40)} is none of these."
    )


def _is_meant(kind: str, match: re.Match[str]) -> bool:
    """False for a device unlike any name of the table: almost any word could name a device."""
    return (
        kind not in ("devices", "device-hours")
        or _is_any(match["name"])
        or resembles(match["name"])
    )


def _is_any(name: str) -> bool:
    return name.lower() in ANY_DEVICE


def number_of(written: str) -> float:
    """A number as people write it: 50,000 or 1e21."""
    return float(written.replace(",", "").replace("_", ""))


def mfu_parts(written: str) -> Mapping[str, str] | None:
    """The parts of an MFU clause on its own; None for other text."""
    match = _KINDS["MFU"].fullmatch(written.strip())
    if match is None:
        return None
    return {name: part for name, part in match.groupdict().items() if part}

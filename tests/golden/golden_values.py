"""Values as the golden files hold them, and where two of them differ."""

import math

SHARE = 1e-6
"""Shares, such as the waste, are differences of numbers near 1: held to this part of the whole.

It is that to which the numbers are held: other versions of SciPy move them by 1e-7."""


def plain(value):
    """As JSON holds it: numbers of 12 digits, and names for those that JSON does not have."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else str(value)
    return value


def differences(before, now, rel, place=""):
    """One line for each place at which two values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            yield from differences(before.get(name), now.get(name), rel, f"{place}/{name}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, rel, f"{place}/{number}")
    elif isinstance(before, int | float) and isinstance(now, int | float):
        if not math.isclose(before, now, rel_tol=rel, abs_tol=SHARE):
            yield f"{place}: was {before!r}, is {now!r}"
    elif isinstance(before, str) and isinstance(now, str):
        yield from text_differences(before, now, place)
    elif before != now:
        yield f"{place}: was {before!r}, is {now!r}"


def text_differences(before, now, place):
    for number in range(max(len(before.split("\n")), len(now.split("\n")))):
        was, is_ = ("".join(text.split("\n")[number : number + 1]) for text in (before, now))
        if was != is_:
            yield f"{place} line {number + 1}: was {was!r}, is {is_!r}"

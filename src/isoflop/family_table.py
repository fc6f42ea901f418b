"""The sizes of a family, read from a mapping, a table or a function, and checked."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from isoflop import arguments
from isoflop.display.format import format_count, one_line, quoted
from isoflop.errors import ContractError, first_line
from isoflop.runs import SizeValue
from isoflop.storage.numbers import number_of
from isoflop.storage.sheet import Cells, is_frame, open_sheet, source_of_frame
from isoflop.task import plain_size

__all__ = ["Cost", "Member", "members_of"]

SIX = 6.0
"""FLOPs of a token per param, forward and backward, without attention (Kaplan et al. 2020)."""
MOST_SIZES = 100_000
_NAMES: Mapping[str, tuple[str, ...]] = {
    "size": ("size", "name"),
    "params": ("params", "num_params", "n_params"),
    "flops_per_token": ("flops_per_token",),
    "active_params": ("active_params", "num_active_params"),
    "memory_bytes": ("memory_bytes",),
}
"""Usual names of a table's columns; all others are arguments of the size."""

Cost = Callable[[Any], object]
"""Function size -> (params, FLOPs per token), or a mapping with these names."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One size of a family.

    flops_per_token: forward and backward.
    assumed: whether FLOPs were not given, and are 6 x the params that a token uses.
    active_params: params that a token uses; None for all.
    arguments: what else describes the size, such as its depth and width.
    """

    num_params: int
    flops_per_token: float
    assumed: bool = False
    active_params: int | None = None
    memory_bytes: float | None = None
    arguments: Mapping[str, int | float | str] = field(default_factory=dict)


def members_of(sizes: object, cost: Cost | None, size_param: str) -> dict[SizeValue, Member]:
    """The members of a family by size, in the order of their params.

    Raises ContractError for sizes that cannot be planned.
    """
    if cost is not None and not callable(cost):
        raise arguments.refused(
            cost, "Family: cost", "a function size -> (params, FLOPs)", error=ContractError
        )
    pairs: list[tuple[SizeValue, Member]] = []
    for size, values in _rows(sizes, cost):
        plain = plain_size(size, "Family")
        pairs.append((plain, _member(plain, values, size_param)))
        if len(pairs) > MOST_SIZES:
            raise ContractError(f"Family: sizes must be at most {MOST_SIZES:,}; name fewer.")
    _check(pairs)
    return dict(sorted(pairs, key=lambda pair: pair[1].num_params))


def _rows(sizes: object, cost: Cost | None) -> Iterator[tuple[object, Mapping[str, Any]]]:
    """Sizes, each with what is known of it by the usual names."""
    if cost is not None:
        for size in _listed(sizes):
            yield size, _values(size, _called(cost, size))
    elif isinstance(sizes, Mapping):
        for size, values in sizes.items():
            yield size, _values(size, values)
    elif isinstance(sizes, str | os.PathLike):
        source = open_sheet(Path(arguments.a_path(sizes, "Family: sizes", error=ContractError)))
        yield from _of_cells(source.sheet([*source.head]).columns, source.name)
    elif is_frame(sizes):
        source = source_of_frame(sizes)
        yield from _of_cells(source.sheet([*source.head]).columns, source.name)
    else:
        raise ContractError(
            "Family: sizes must be a dict size -> (params, FLOPs per token), a table with the "
            f"columns size and params, or sizes with cost=, but got {quoted(sizes)}."
        )


def _listed(sizes: object) -> Iterable[object]:
    if isinstance(sizes, str | bytes | Mapping) or not isinstance(sizes, Iterable):
        raise ContractError(
            f"Family: with cost=, sizes must be the sizes to try, such as [8, 12, 16], but got "
            f"{quoted(sizes)}."
        )
    return sizes


def _called(cost: Cost, size: object) -> object:
    try:
        return cost(size)
    except Exception as error:
        raise ContractError(
            f"Family: cost must be a function size -> (params, FLOPs per token), but at "
            f"{quoted(size, 40)} it raised {type(error).__name__}: {first_line(error)}."
        ) from error


def _values(size: object, values: object) -> Mapping[str, Any]:
    """What is known of a size, from params, (params, FLOPs per token), or a mapping of names."""
    if isinstance(values, Mapping):
        return _by_usual_names(values)
    if isinstance(values, Real | str) or getattr(values, "ndim", None) == 0:
        return {"params": values}
    if isinstance(values, tuple | list) and len(values) in (1, 2):
        return dict(zip(("params", "flops_per_token"), values, strict=False))
    raise ContractError(
        f"Family: size {quoted(size, 40)} must have (params, FLOPs per token), but got "
        f"{quoted(values)}."
    )


def _of_cells(columns: Cells, source: str) -> Iterator[tuple[object, Mapping[str, Any]]]:
    names = _by_usual_names({name: name for name in columns})
    for needed in ("size", "params"):
        if needed not in names:
            raise ContractError(
                f"Family: {one_line(source, 60)} must have a column {needed!r}, but has "
                f"{quoted([*columns])}; rename one of them."
            )
    for cells in zip(*(columns[column] for column in names.values()), strict=True):
        row = dict(zip(names, cells, strict=True))
        yield _size(row.pop("size")), {name: cell for name, cell in row.items() if cell != ""}


def _by_usual_names(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values by the usual name of what they are; those of other names keep them."""
    usual = {other: name for name, others in _NAMES.items() for other in others}
    return {
        usual.get(str(name).strip().lower(), str(name).strip()): values[name] for name in values
    }


def _size(cell: object) -> object:
    """A size of a table: a whole number as one, any other text as a name."""
    number = _plain_number(cell)
    return cell if number is None else number


def _plain_number(cell: object) -> int | float | None:
    read = number_of(cell, is_count=True)
    if read is None or read[1] or read[0] != read[0]:
        return None
    return int(read[0]) if read[0] == int(read[0]) else read[0]


def _member(size: SizeValue, values: Mapping[str, Any], size_param: str) -> Member:
    others = {name: value for name, value in values.items() if name not in _NAMES}
    params = _count(size, values, "params")
    if params is None:
        raise ContractError(
            f"Family: size {size} must have params; give them, embeddings included."
        )
    active = _count(size, values, "active_params")
    given = _count(size, values, "flops_per_token")
    member = Member(
        num_params=round(params),
        flops_per_token=given or SIX * (active or params),
        assumed=given is None,
        active_params=None if active is None else round(active),
        memory_bytes=_count(size, values, "memory_bytes"),
        arguments={name: _argument(size, name, value) for name, value in others.items()},
    )
    _check_flops(size, member)
    single = {} if isinstance(size, tuple) else {size_param: size}
    return replace(member, arguments={**single, **member.arguments})


def _count(size: SizeValue, values: Mapping[str, Any], name: str) -> float | None:
    """A positive number by its name; None where the size has none."""
    cell = values.get(name)
    if cell is None:
        return None
    read = number_of(cell, is_count=True)
    if read is None or not 1 <= read[0] < 1e30:
        raise ContractError(
            f"Family: {name} of size {one_line(size, 40)} must be a number from 1, but got "
            f"{quoted(cell)}."
        )
    return read[0]


def _argument(size: SizeValue, name: str, value: object) -> int | float | str:
    plain = arguments.plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float | str):
        raise ContractError(
            f"Family: {one_line(name, 40)} of size {one_line(size, 40)} must be a number or a "
            f"text, but got {quoted(value)}."
        )
    number = _plain_number(plain)
    return plain if number is None or not isinstance(plain, float | str) else number


def _check_flops(size: SizeValue, member: Member) -> None:
    """Raise ContractError where a token costs less than one use of each param that it uses."""
    used = member.active_params or member.num_params
    if member.active_params is not None and member.active_params > member.num_params:
        raise ContractError(
            f"Family: size {one_line(size, 40)} must have at most as many active params as params, "
            f"but has {format_count(member.active_params)} of {format_count(member.num_params)}."
        )
    if member.flops_per_token < used:
        raise ContractError(
            f"Family: a token must cost about 6 FLOPs per param, forward and backward, but size "
            f"{one_line(size, 40)} has {format_count(member.flops_per_token)} for "
            f"{format_count(used)} params; give FLOPs per token rather than per step or in "
            "TFLOPs, and active_params for a mixture of experts."
        )


def _check(pairs: list[tuple[SizeValue, Member]]) -> None:
    """Raise ContractError where there is no size, two are alike, or params do not grow."""
    if not pairs:
        raise ContractError("Family: sizes must name at least one size, but there is none.")
    named: dict[SizeValue, Member] = {}
    by_params: dict[int, SizeValue] = {}
    for size, member in pairs:
        if size in named:
            raise ContractError(
                f"Family: sizes must differ, but {one_line(size, 40)} is named twice; drop one."
            )
        if member.num_params in by_params:
            raise ContractError(
                f"Family: sizes must have different params, but {one_line(size, 40)} and "
                f"{one_line(by_params[member.num_params], 40)} both have "
                f"{format_count(member.num_params)}; drop one of them."
            )
        named[size], by_params[member.num_params] = member, size
    if all(isinstance(size, int | float) for size in named):
        _check_growth(named)


def _check_growth(named: Mapping[Any, Member]) -> None:
    rising = sorted(named)
    for small, large in pairwise(rising):
        if named[large].num_params <= named[small].num_params:
            raise ContractError(
                f"Family: params must grow with the size, but size {large} has "
                f"{format_count(named[large].num_params)} and size {small} has "
                f"{format_count(named[small].num_params)}; correct one of them, or use names for "
                "sizes."
            )

"""Results in a table, joined to the specs of their plan by the ids of the runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.runs import Run, RunSpec
from isoflop.storage.columns import has_field
from isoflop.storage.measures import is_name_of
from isoflop.storage.sheet import Sheet, Source

__all__ = ["joined", "planned_of", "with_planned"]

_NAMES = ("id", "run_id", "isoflop_id")


def joined(source: object, table: Source | None, runs: Sequence[Run], specs: object) -> list[Run]:
    """The runs of a table with the specs of their plan, by the table's column `id`.

    source: what the user named; table: what it holds, None where that is no table.

    Raises DataError where specs are none, or the source is no table with such a column.
    """
    planned = planned_of(specs)
    if table is None:
        raise DataError(
            f"read_runs: specs are for a table with a column id, but got {type(source).__name__}; "
            "a store has the specs of its runs."
        )
    return _by_id(_ids_of(table), runs, planned, keep_flops=has_field("flops", table.head))


def planned_of(specs: object) -> list[RunSpec]:
    """The specs of a sweep or a list. Raises DataError for anything else."""
    specs = getattr(specs, "specs", specs)
    planned = [spec for spec in specs if isinstance(spec, RunSpec)] if _are_several(specs) else []
    if not planned:
        raise arguments.refused(specs, "read_runs: specs", "a Sweep or specs")
    return planned


def _are_several(specs: object) -> TypeGuard[Iterable[object]]:
    return arguments.several(specs)


def with_planned(source: Source, specs: Sequence[RunSpec], named: Iterable[str]) -> Source:
    """A table with the planned params and tokens of its ids, where it has no such columns.

    named: fields whose columns the user names.

    Raises DataError for an id that is in no spec.
    """
    missing = {
        field: attribute
        for field, attribute in (("params", "num_params"), ("tokens", "num_tokens"))
        if field not in named and not has_field(field, source.head)
    }
    if not missing:
        return source
    known = {spec.id: spec for spec in specs}
    rows = [_spec_of(cell, known) for cell in _ids_of(source)]
    added: dict[str, list[object]] = {
        field: [None if spec is None else getattr(spec, attribute) for spec in rows]
        for field, attribute in missing.items()
    }

    def sheet(names: Sequence[str]) -> Sheet:
        read = source.sheet([name for name in names if name not in added])
        return replace(
            read, columns={name: added.get(name) or read.columns[name] for name in names}
        )

    number = len(next(iter(source.head.values()), ()))
    head = {**source.head, **{name: cells[:number] for name, cells in added.items()}}
    return replace(source, head=head, sheet=sheet)


def _ids_of(source: Source) -> Sequence[object]:
    """The ids of a table's rows, as its column `id` has them.

    Raises DataError where there is no such column.
    """
    found = (name for known in _NAMES for name in source.head if is_name_of(name, known))
    name = next(found, None)
    if name is None:
        raise DataError(
            f"{one_line(source.name, 60)} must have a column id with the ids of the plan's runs, "
            f"but has {quoted([*source.head])}; add it from sweep.to_csv()."
        )
    return source.sheet([name]).columns[name]


def _by_id(
    ids: Sequence[object], runs: Sequence[Run], specs: Iterable[RunSpec], *, keep_flops: bool
) -> list[Run]:
    """The runs of a table's rows with the specs of their ids; rows without an id are left out.

    Raises DataError for an id that is in no spec, or is in two rows.
    """
    known: Mapping[str, RunSpec] = {spec.id: spec for spec in specs}
    found: dict[str, Run] = {}
    for cell, run in zip(ids, runs, strict=True):
        spec = _spec_of(cell, known)
        if spec is None:
            continue
        if spec.id in found:
            raise DataError(f"A run must have one row, but {spec.id} has two; keep the last one.")
        flops = run.flops if keep_flops else spec.flops_per_token * run.num_tokens
        found[spec.id] = replace(run, spec=spec, flops=flops)
    return [*found.values()]


def _spec_of(cell: object, known: Mapping[str, RunSpec]) -> RunSpec | None:
    """The spec of a row's id, None for a row without one.

    Raises DataError for an id that is in no spec.
    """
    run_id = "" if cell is None else str(cell).strip()
    if run_id and run_id not in known:
        raise DataError(
            f"A row's id must be that of a planned run, but the plan has no "
            f"{quoted(run_id, 40)}; take the ids from sweep.to_csv()."
        )
    return known.get(run_id)

"""Results in a table, joined to the specs of their plan by the ids of the runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.runs import Run, RunSpec
from isoflop.storage.measures import is_name_of
from isoflop.storage.sheet import Source

__all__ = ["joined"]

_NAMES = ("id", "run_id", "isoflop_id")


def joined(source: object, table: Source | None, runs: Sequence[Run], specs: object) -> list[Run]:
    """The runs of a table with the specs of their plan, by the table's column `id`.

    source: what the user named; table: what it holds, None where that is no table.

    Raises DataError where specs are none, or the source is no table with such a column.
    """
    given = specs if arguments.several(specs) else ()
    planned = [spec for spec in given if isinstance(spec, RunSpec)]
    if not planned:
        raise arguments.refused(specs, "read_runs: specs", "a Sweep or specs")
    if table is None:
        raise DataError(
            f"read_runs: specs are for a table with a column id, but got {type(source).__name__}; "
            "a store has the specs of its runs."
        )
    return _by_id(_ids_of(table), runs, planned)


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


def _by_id(ids: Sequence[object], runs: Sequence[Run], specs: Iterable[RunSpec]) -> list[Run]:
    """The runs of a table's rows with the specs of their ids; rows without an id are left out.

    Raises DataError for an id that is in no spec, or is in two rows.
    """
    known: Mapping[str, RunSpec] = {spec.id: spec for spec in specs}
    found: dict[str, Run] = {}
    for cell, run in zip(ids, runs, strict=True):
        run_id = "" if cell is None else str(cell).strip()
        if not run_id:
            continue
        if run_id not in known:
            raise DataError(
                f"A row's id must be that of a planned run, but the plan has no "
                f"{quoted(run_id, 40)}; take the ids from sweep.to_csv()."
            )
        if run_id in found:
            raise DataError(f"A run must have one row, but {run_id} has two; keep the last one.")
        found[run_id] = _of_spec(run, known[run_id])
    return [*found.values()]


def _of_spec(run: Run, spec: RunSpec) -> Run:
    return replace(run, spec=spec)

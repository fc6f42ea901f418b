"""A store of one's own: one class with the methods of `Store`; those of `MemoryStore` serve the rest."""

import sqlite3
from collections.abc import Mapping, Set
from contextlib import closing
from pathlib import Path

from isoflop.runs import Run, RunSpec
from isoflop.storage.records import (
    dump_curve,
    dump_run,
    dump_spec,
    dump_specs,
    load_curve,
    load_run,
    load_spec,
    load_specs,
)
from isoflop.storage.store import MemoryStore, StoredStage

TABLES = """
create table if not exists specs (id text primary key, spec text);
create table if not exists runs (id text primary key, record text, curve text);
create table if not exists stages (name text primary key, plan text);
"""


class SQLiteStore(MemoryStore):
    """Records and plans in one SQLite file, for one process at a time; no checkpoints."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        with closing(sqlite3.connect(path)) as file:
            file.executescript(TABLES)

    def read_runs(self) -> list[Run]:
        rows = self._rows("select id, record, curve from runs order by id")
        return [_run(*row) for row in rows]

    def read_run(self, run_id: str) -> Run | None:
        rows = self._rows("select id, record, curve from runs where id = ?", run_id)
        return _run(*rows[0]) if rows else None

    def read_specs(self, *, known: Set[str] = frozenset()) -> list[RunSpec]:
        rows = self._rows("select id, spec from specs order by id")
        return [load_spec(text.encode(), run_id) for run_id, text in rows if run_id not in known]

    def write_spec(self, spec: RunSpec) -> None:
        self._rows("insert or replace into specs values (?, ?)", spec.id, dump_spec(spec))

    def write_run(self, run: Run) -> None:
        row = (run.id, dump_run(run), dump_curve(run.curve))
        self._rows("insert or replace into runs values (?, ?, ?)", *row)

    def remove_record(self, run_id: str) -> None:
        self._rows("delete from runs where id = ?", run_id)

    def read_stage(self, name: str) -> StoredStage | None:
        return self.read_stages().get(name)

    def read_stages(self) -> dict[str, StoredStage]:
        rows = self._rows("select name, plan from stages order by rowid")
        return {name: load_specs(plan.encode()) for name, plan in rows}

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        self._rows("insert or replace into stages values (?, ?)", name, dump_specs(specs, plan))

    def _rows(self, command: str, *values: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(self.path)) as file, file:
            return file.execute(command, values).fetchall()


def _run(run_id: str, record: str, curve: str) -> Run:
    return load_run(record.encode(), run_id, load_curve(curve.encode()))

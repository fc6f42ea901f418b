"""A store of one's own: records and stages in one SQLite file, and no checkpoints."""

import json
import sqlite3

from isoflop import MemoryStore
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


class SqliteStore(MemoryStore):
    """Records and stages last; leases and the curves of running runs are those of one process."""

    def __init__(self, file):
        super().__init__()
        self._base = sqlite3.connect(file, isolation_level=None)
        for table in ("spec", "run", "curve", "stage", "task"):
            self._base.execute(f"create table if not exists {table} (name primary key, text)")

    def read_runs(self):
        return [self.read_run(name) for name in sorted(self._rows("run"))]

    def read_run(self, run_id):
        text, curve = (self._rows(table).get(run_id) for table in ("run", "curve"))
        return None if text is None else load_run(text.encode(), run_id, load_curve(curve.encode()))

    def read_specs(self, *, known=frozenset()):
        rows = self._rows("spec")
        return [load_spec(rows[name].encode(), name) for name in sorted(rows.keys() - known)]

    def write_spec(self, spec):
        self._write("spec", spec.id, dump_spec(spec))

    def write_run(self, run):
        self._write("curve", run.id, dump_curve(run.curve))
        self._write("run", run.id, dump_run(run))

    def remove_record(self, run_id):
        super().remove_record(run_id)
        self._base.execute("delete from run where name = ?", [run_id])

    def write_task(self, facts):
        self._write("task", str(facts["fingerprint"]), json.dumps(dict(facts)))

    def read_stage(self, name):
        return self.read_stages().get(name)

    def read_stages(self):
        return {name: load_specs(text.encode()) for name, text in self._rows("stage").items()}

    def write_stage(self, name, specs, plan):
        self._write("stage", name, dump_specs(specs, plan))

    def _rows(self, table):
        return dict(self._base.execute(f"select name, text from {table} order by rowid"))

    def _write(self, table, name, text):
        self._base.execute(f"insert or replace into {table} values (?, ?)", [name, text])

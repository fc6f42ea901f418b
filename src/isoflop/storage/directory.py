"""DirectoryStore: one folder per run, with its spec, record, curve and checkpoint.

A run's folder is `<store>/<run id>/{spec.json, record.json, curve.jsonl, checkpoint}`. Beside these
folders, `task.json` describes the task and `stages/` holds the plan of each stage. A record is one
small file that is written atomically, so processes on many machines may share a store without a
lock or an index.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Set
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from isoflop import arguments
from isoflop.display.format import one_line
from isoflop.errors import StoreError
from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.atomic import is_full, remove_partials, write_bytes, write_text, writing
from isoflop.storage.files import (
    Damaged,
    Unopened,
    cannot_be_read,
    move_aside,
    read_file,
    set_aside,
)
from isoflop.storage.lease import holder_of, leased
from isoflop.storage.records import (
    SCHEMA,
    Curve,
    DamagedCurve,
    UnopenedCurve,
    dump_curve,
    dump_run,
    dump_spec,
    dump_specs,
    load_curve,
    load_run,
    load_spec,
    load_specs,
    load_values,
)
from isoflop.storage.store import StoredStage
from isoflop.storage.telling import Telling
from isoflop.storage.unreadable import Unreadable, unreadable

__all__ = ["DirectoryStore"]

RESERVE_BYTES = 2**15
"""Space reserved for the record of each running run, so that a full disk loses no result."""
_ID = re.compile("[0-9a-f]{16}")


class DirectoryStore(Telling):
    """A store in a folder, created on first writing. Raises StoreError where `path` is a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # absolute: the user's code may change the working folder
        self.path = Path(arguments.a_path(path, "A store", error=StoreError)).absolute()
        if os.path.isfile(self.path):  # unlike Path's, it accepts names that no file can have
            raise StoreError(
                f"A store is a folder, but {one_line(self.path, 150)} is a file; name another "
                "folder."
            )

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.path)!r})"

    def read_runs(self) -> list[Run]:
        """All recorded runs, in order of id; a run whose files cannot be read is `Unreadable`."""
        return [run for name in self._names() if (run := self.read_run(name)) is not None]

    def read_run(self, run_id: str) -> Run | None:
        data = None
        try:
            data = read_file(f"{self.path}/{run_id}/record.json")
            return (
                self._in_the_way(run_id)
                if data is None
                else load_run(data, run_id, self._curve(run_id))
            )
        except Damaged as error:
            at_fault = "curve.jsonl" if isinstance(error, DamagedCurve) else "record.json"
            return unreadable(
                self.path / run_id / at_fault, run_id, error, self._spec_of(run_id, data)
            )

    def _curve(self, run_id: str) -> Curve | None:
        """A run's curve; None without a file. Raises DamagedCurve where the path is no file."""
        try:
            data = read_file(f"{self.path}/{run_id}/curve.jsonl")
        except Damaged as error:
            raise (UnopenedCurve if isinstance(error, Unopened) else DamagedCurve)(error) from error
        return None if data is None else load_curve(data)

    def _in_the_way(self, run_id: str) -> Run | None:
        """An `Unreadable` where a file is in the place of a run's folder; None otherwise."""
        path = self.path / run_id
        if not _ID.fullmatch(run_id) or not os.path.lexists(path) or path.is_dir():
            return None
        return unreadable(path, run_id, Damaged("it is in the place of a run's folder"), None)

    def _spec_of(self, run_id: str, record: bytes | None = None) -> RunSpec | None:
        """A run's spec, from its spec file or its record; None where neither can be read."""
        with suppress(Damaged):
            return load_spec(read_file(f"{self.path}/{run_id}/spec.json") or b"", run_id)
        with suppress(Damaged):
            return load_spec(record or b"", run_id)
        return None

    def read_spec(self, run_id: str) -> RunSpec | None:
        """The spec of a run that has started or is planned in a stage; None for any other id."""
        if not _ID.fullmatch(run_id):
            return None
        planned = (spec for specs, _ in self.read_stages().values() for spec in specs)
        return self._spec_of(run_id) or next((spec for spec in planned if spec.id == run_id), None)

    def write_run(self, run: Run) -> None:
        folder = self.path / run.id
        try:
            _write_record(folder, run)
        except StoreError as error:
            if not is_full(error):
                raise
            _remove(folder, "reserve", "checkpoint.previous")
            _write_record(folder, run)
        _remove(folder, "reserve")
        if run.status != "failed":  # a failed run resumes from its checkpoint
            _remove(folder, "checkpoint", "checkpoint.previous")

    def write_spec(self, spec: RunSpec) -> None:
        folder = self.path / spec.id
        remove_partials(folder, shared=False)
        if not self._has_spec(spec):
            write_text(folder / "spec.json", dump_spec(spec))
        if not (folder / "reserve").exists():  # random bytes, for file systems that compress
            write_bytes(folder / "reserve", os.urandom(RESERVE_BYTES))

    def _has_spec(self, spec: RunSpec) -> bool:
        """Whether a run's spec is in its folder; a file that cannot be read is set aside."""
        path = self.path / spec.id / "spec.json"
        try:
            data = read_file(str(path))
            if data is None:
                return False
            load_spec(data, spec.id)
        except Damaged as error:
            set_aside(path, error)
            return False
        return True

    def write_task(self, facts: Mapping[str, object]) -> None:
        path = self.path / "task.json"
        remove_partials(self.path, shared=True)
        try:
            before, known = _tasks(read_file(str(path)))
        except Damaged as error:
            set_aside(path, error)
            before, known = None, []
        others = [task for task in known if task.get("fingerprint") != facts.get("fingerprint")]
        text = (
            json.dumps({"schema": SCHEMA, "tasks": [*others, facts]}, indent=1, default=str) + "\n"
        )
        if before != text.encode():
            write_text(path, text)

    def read_stage(self, name: str) -> StoredStage | None:
        """A stage that was planned earlier; None where the store has no such stage.

        A file that cannot be read is set aside and counts as missing.
        """
        path = self.path / "stages" / f"{name}.json"
        try:
            data = read_file(str(path))
            return None if data is None else load_specs(data)
        except Damaged as error:
            set_aside(path, error)
            return None

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        write_text(self.path / "stages" / f"{name}.json", dump_specs(specs, plan))

    def read_stages(self) -> dict[str, StoredStage]:
        """Every stage by name, in the order of planning.

        A stage whose file cannot be read has no specs, and its purpose gives the reason.
        """
        paths = sorted(
            (self.path / "stages").glob("*.json"),
            key=lambda path: (path.lstat().st_mtime_ns, path.name),
        )
        return {path.stem: _stage_or_reason(path) for path in paths}

    def read_specs(self, *, known: Set[str] = frozenset()) -> list[RunSpec]:
        """Specs of all runs that have started, except those whose ids are known."""
        specs = (self._spec_of(name) for name in self._names() if name not in known)
        return [spec for spec in specs if spec is not None]

    def remove_record(self, run_id: str) -> None:
        """Remove a run's record, so that the run is trained again, from its checkpoint if any.

        Files that cannot be read are set aside instead. Where only the curve was damaged, the
        record is kept without it.
        """
        folder, run = self.path / run_id, self.read_run(run_id)
        was_unreadable = isinstance(run, Unreadable)
        while isinstance(run, Unreadable):
            set_aside(run.path, run.damage)
            run = self.read_run(run_id)
        if was_unreadable and run is not None and run.status != "failed":
            return
        try:
            (folder / "record.json").unlink(missing_ok=True)
            if os.path.lexists(folder / "curve.jsonl") and not (folder / "checkpoint").exists():
                _drop(folder / "curve.jsonl", keep=was_unreadable)
        except OSError as error:
            raise StoreError(
                f"Cannot remove files of {one_line(folder, 150)}: "
                f"{one_line(error.strerror or error)}; make the folder writable."
            ) from error

    @property
    def folder(self) -> Path | None:
        return self.path

    def checkpoint(self, run_id: str) -> Path | None:
        return self.path / run_id / "checkpoint"

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        return leased(self.path / run_id, session)

    def holder(self, run_id: str) -> str | None:
        return holder_of(self.path / run_id)

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        # Appending need not be atomic: cut_curve drops a torn last line and all points beyond the
        # checkpoint.
        path = self.path / run_id / "curve.jsonl"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as file:
                file.write(dump_curve(points))

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        path = self.path / run_id / "curve.jsonl"
        try:
            data = read_file(str(path))
        except Damaged as error:
            set_aside(path, error)
            data = None
        if data is None:
            return []
        kept = [point for point in load_curve(data).points if point[0] <= num_tokens]
        write_text(path, dump_curve(kept))
        return kept

    def _names(self) -> list[str]:
        """Names of all entries of the store, run folders included."""
        try:
            return sorted(os.listdir(self.path)) if os.path.isdir(self.path) else []
        except OSError as error:
            raise StoreError(
                f"The store {one_line(self.path, 150)} cannot be listed: "
                f"{one_line(error.strerror or error)}; make it readable."
            ) from error


def _write_record(folder: Path, run: Run) -> None:
    if run.status != "failed":
        write_text(folder / "curve.jsonl", dump_curve(run.curve))
    write_text(folder / "record.json", dump_run(run))


def _remove(folder: Path, *names: str) -> None:
    with writing(folder):
        for name in names:
            (folder / name).unlink(missing_ok=True)


def _drop(path: Path, *, keep: bool) -> None:
    """Remove a file; keep: rename it instead."""
    if keep:
        move_aside(path)
    else:
        path.unlink()


def _stage_or_reason(path: Path) -> StoredStage:
    try:
        return load_specs(read_file(str(path)) or b"")
    except Damaged as error:
        return (), {"purpose": cannot_be_read(path, error)}


def _tasks(data: bytes | None) -> tuple[bytes | None, list[dict[str, object]]]:
    """Contents of task.json and the tasks in it. Raises Damaged where it holds no list of tasks."""
    tasks = [] if data is None else load_values(data)[0].get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise Damaged("it has no list of tasks")
    return data, tasks

"""DirectoryStore: one folder per run, `<store>/<run id>/{spec.json, record.json, curve.jsonl, checkpoint}`.

Beside them `task.json` says what is being scaled and `stages/` holds each stage's plan. A record is one small file
that is written atomically, so processes on many machines may share a store without a lock or an index.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from isoflop.errors import StoreError
from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.atomic import is_full, remove_partials, write_bytes, write_text, writing
from isoflop.storage.lease import leased
from isoflop.storage.records import (
    SCHEMA,
    TornRecord,
    dump_run,
    dump_spec,
    dump_specs,
    load_run,
    load_spec,
    load_specs,
)

__all__ = ["DirectoryStore"]

RESERVE_BYTES = 2**15
"""Kept for the record of each run under way: a disk that fills up meanwhile does not cost what was trained."""


class DirectoryStore:
    """A store in a folder; made when first written. Raises StoreError where `path` is a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise StoreError(f"A store is a folder, but {self.path} is a file; name another folder.")

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.path)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute()}  # a worker may stand in another folder

    def read_runs(self) -> list[Run]:
        names = sorted(os.listdir(self.path)) if self.path.is_dir() else []
        return [run for name in names if (run := self.read_run(name)) is not None]

    def read_run(self, run_id: str) -> Run | None:
        record = _text(f"{self.path}/{run_id}/record.json")
        if record is None:
            return None
        try:
            return load_run(record, tuple(_points(_text(f"{self.path}/{run_id}/curve.jsonl") or "")))
        except TornRecord as error:
            return self._torn(run_id, error)
        except StoreError as error:
            raise StoreError(
                f"{self.path / run_id / 'record.json'}: {error} Remove the folder to have the run trained again."
            ) from error

    def _torn(self, run_id: str, error: TornRecord) -> Run | None:
        """A run whose record was written in part, as one that failed; None where its spec is lost too."""
        try:
            spec = load_spec(_text(f"{self.path}/{run_id}/spec.json") or "")
        except TornRecord:
            return None
        said = f"{self.path / run_id / 'record.json'}: {error} isoflop rerun has the run trained again."
        return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=said)

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
        if run.status != "failed":  # one that is tried again goes on from where it was
            _remove(folder, "checkpoint", "checkpoint.previous")

    def write_spec(self, spec: RunSpec) -> None:
        folder = self.path / spec.id
        remove_partials(folder, shared=False)
        if _spec_or_none(_text(str(folder / "spec.json")) or "") is None:
            write_text(folder / "spec.json", dump_spec(spec))
        if not (folder / "reserve").exists():  # noise, for file systems that compress
            write_bytes(folder / "reserve", os.urandom(RESERVE_BYTES))

    def write_task(self, facts: Mapping[str, Any]) -> None:
        path = self.path / "task.json"
        remove_partials(self.path, shared=True)
        before = _text(str(path))
        known = [] if before is None else json.loads(before)["tasks"]
        others = [task for task in known if task.get("fingerprint") != facts.get("fingerprint")]
        text = json.dumps({"schema": SCHEMA, "tasks": [*others, facts]}, indent=1, default=str) + "\n"
        if before != text:
            write_text(path, text)

    def read_stage(self, name: str) -> tuple[tuple[RunSpec, ...], Mapping[str, Any]] | None:
        path = self._stage(name)
        return load_specs(path.read_text()) if path.exists() else None

    def write_stage(self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, Any]) -> None:
        write_text(self._stage(name), dump_specs(specs, plan))

    def read_stages(self) -> dict[str, tuple[tuple[RunSpec, ...], Mapping[str, Any]]]:
        """The specs and the plan of every stage, the one that was planned first at the front."""
        paths = sorted((self.path / "stages").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        return {path.stem: load_specs(path.read_text()) for path in paths}

    def read_specs(self, *, known: Set[str] = frozenset()) -> list[RunSpec]:
        """Every run that was begun, whether it has ended or not, but for those whose ids are known."""
        names = sorted(set(os.listdir(self.path)) - known)
        texts = (_text(f"{self.path}/{name}/spec.json") for name in names)
        return [spec for text in texts if text is not None and (spec := _spec_or_none(text)) is not None]

    def remove_record(self, run_id: str) -> None:
        """Forget what happened to a run, so that it is trained again, from its checkpoint if it has one."""
        folder = self.path / run_id
        (folder / "record.json").unlink(missing_ok=True)
        if not (folder / "checkpoint").exists():
            (folder / "curve.jsonl").unlink(missing_ok=True)

    def checkpoint(self, run_id: str) -> Path | None:
        return self.path / run_id / "checkpoint"

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        return leased(self.path / run_id, session)

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        # Appending is not atomic, and need not be: cut_curve drops a torn last line and whatever the checkpoint
        # does not reach.
        path = self.path / run_id / "curve.jsonl"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as file:
                file.writelines(map(_curve_line, points))

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        path = self.path / run_id / "curve.jsonl"
        text = _text(str(path))
        if text is None:
            return []
        kept = [point for point in _points(text) if point[0] <= num_tokens]
        write_text(path, "".join(map(_curve_line, kept)))
        return kept

    def _stage(self, name: str) -> Path:
        return self.path / "stages" / f"{name}.json"


def _write_record(folder: Path, run: Run) -> None:
    if run.status != "failed":
        write_text(folder / "curve.jsonl", "".join(map(_curve_line, run.curve)))
    write_text(folder / "record.json", dump_run(run))


def _remove(folder: Path, *names: str) -> None:
    with writing(folder):
        for name in names:
            (folder / name).unlink(missing_ok=True)


def _spec_or_none(text: str) -> RunSpec | None:
    try:
        return load_spec(text)
    except TornRecord:
        return None


def _curve_line(point: CurvePoint) -> str:
    return json.dumps(list(point)) + "\n"


def _text(path: str) -> str | None:
    """A file's text; None where there is no such file. Plain strings and one open: a store has thousands of files."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # a torn file may end within a letter
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _points(text: str) -> list[CurvePoint]:
    """The points of a curve; a line torn by a dying process ends what can be trusted."""
    lines = text.splitlines()
    try:
        return [(num_tokens, loss) for num_tokens, loss in json.loads(f"[{','.join(lines)}]")]
    except (ValueError, TypeError):  # torn: line by line, up to there
        return list(_whole_points(lines))


def _whole_points(lines: list[str]) -> Iterator[CurvePoint]:
    for line in lines:
        try:
            num_tokens, loss = json.loads(line)
        except (ValueError, TypeError):
            return
        yield num_tokens, loss

"""Where the campaign keeps what it knows: compact records of runs, forecasts, judgements.

`records/TASK.jsonl` has a line for each finished run, complete enough for a store: on another
machine the campaign goes on from these lines, and trains nothing twice.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cases import CASES, Case

import isoflop
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.training.runner import Executor

HERE = Path(__file__).parent
SPENDS = {"2pct": 0.02, "10pct": 0.10}
KEPT = ("status", "loss", "loss_stderr", "num_tokens", "flops", "seconds", "error")
"""What a record keeps of a run beside its spec."""


@dataclass(frozen=True)
class Campaign:
    """One task of the campaign and its files.

    folder: of records, forecasts and judgements. stores: folder of checkpoints, which may be lost.
    executor: in place of this process, which trains one run after the other.
    """

    name: str
    case: Case
    folder: Path = HERE
    stores: Path = HERE.parents[1] / "runs" / "proof"
    executor: Executor | None = None

    @classmethod
    def of(cls, name: str) -> "Campaign":
        return cls(name, CASES[name])

    @cached_property
    def store(self) -> DirectoryStore:
        """The store, with all runs of the records; the records get what only the store has."""
        store = DirectoryStore(self.stores / self.name)
        recorded = read_records(self.records)
        stored = {run.id: run for run in store.read_runs()}
        for run_id in recorded.keys() - stored.keys():
            store.write_run(recorded[run_id])
        for run_id in stored.keys() - recorded.keys():
            self.record(stored[run_id])
        return store

    @property
    def records(self) -> Path:
        return self.folder / "records" / f"{self.name}.jsonl"

    @property
    def tuning(self) -> Path:
        return self.folder / "forecasts" / f"{self.name}-tuning.json"

    @property
    def judgement(self) -> Path:
        return self.folder / "judgements" / f"{self.name}.json"

    def forecast(self, spend: str) -> Path:
        return self.folder / "forecasts" / f"{self.name}-{spend}.json"

    def forecasts(self) -> dict[str, dict[str, Any]]:
        """The forecasts that are written, by spend."""
        return {spend: read(self.forecast(spend)) for spend in SPENDS if self.has(spend)}

    def has(self, spend: str) -> bool:
        return self.forecast(spend).exists()

    def record(self, run: Run) -> None:
        """Add a finished run to the records."""
        if run.status == "failed" or run.id in read_records(self.records):
            return  # a failed run is tried again
        self.records.parent.mkdir(parents=True, exist_ok=True)
        with self.records.open("a") as file:
            file.write(line_of(run) + "\n")

    def train(self, task: isoflop.Task, specs: Sequence[RunSpec]) -> list[Run]:
        """The runs of some specs, trained here where there is no record of them yet."""
        sweep = isoflop.Sweep(specs=tuple(specs), unit=task.unit)
        return isoflop.train(
            task,
            sweep,
            store=self.store,
            executor=self.executor,
            data_workers=0,
            on_record=self.record,
            progress=False,
        )


def line_of(run: Run) -> str:
    """A run as one line: numbers of its spec that are set, and what came out."""
    spec = {
        each.name: getattr(run.spec, each.name)
        for each in fields(RunSpec)
        if getattr(run.spec, each.name) not in (None, {}, "")
    }
    kept = {name: getattr(run, name) for name in KEPT if getattr(run, name) is not None}
    if run.status != "completed":
        kept.pop("loss")  # NaN is no JSON
    return json.dumps({"id": run.id, **kept, "spec": spec})


def run_of(line: str) -> Run:
    """The run of a line. Raises ValueError where the line is not what was written."""
    values = json.loads(line)
    run_id, spec = values.pop("id"), RunSpec(**values.pop("spec"))
    if spec.id != run_id:
        raise ValueError(f"The record of the run {run_id} is of another one, {spec.id}.")
    return Run(spec=spec, **values)


def read_records(path: Path) -> dict[str, Run]:
    """Recorded runs by id; a last line that a killed program tore is left out."""
    if not path.exists():
        return {}
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {run.id: run for run in map(run_of, whole)}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def write(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")


def commit_of(path: Path) -> str | None:
    """The commit that brought a file to its present state; None where it is not committed."""
    clean = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", path], cwd=path.parent)
    if clean.returncode:
        return None
    return git("log", "-1", "--format=%h %cI", "--", str(path), cwd=path.parent) or None


def git(*words: str, cwd: Path = HERE) -> str:
    """What git prints; empty outside a repository."""
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True)
    return done.stdout.strip()

"""Slurm: each run a job of a cluster's queue, through submitit."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from uuid import uuid4

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import IsoflopError, PlanError, StoreError
from isoflop.extras import load_extra
from isoflop.runs import Run, RunSpec
from isoflop.storage.atomic import write_bytes
from isoflop.training.executors.contract import (
    Deaths,
    OnProgress,
    Progress,
    Work,
    longest_first,
)
from isoflop.training.executors.devices import Devices
from isoflop.training.executors.serialization import dump_work
from isoflop.training.executors.slurm_job import Job

__all__ = ["Slurm"]

# Options of submitit itself; all others are passed to sbatch unchanged.
_SUBMITIT = (
    "time", "nodes", "ntasks_per_node", "setup", "teardown", "array_parallelism", "signal_delay_s",
    "srun_args", "use_srun", "stderr_to_stdout",
)  # fmt: skip

DEFAULT_MINUTES = 60
MAX_TIMEOUTS = 100
"""A job at its time limit is requeued and continues, so that short limits do no harm."""

STOP_SECONDS = 30.0
"""Time that jobs have to save their checkpoints: Slurm's own KillWait."""


class SubmittedJob(Protocol):
    """A job as submitit returns it; submitit's own types are not installed everywhere."""

    @property
    def paths(self) -> "LogPaths": ...

    def done(self, force_check: bool = False) -> bool: ...
    def results(self) -> list[Run]: ...
    def cancel(self, check: bool = True) -> None: ...


class LogPaths(Protocol):
    """The files of a job."""

    @property
    def stderr(self) -> Path: ...


class Submitter(Protocol):
    """An executor of submitit."""

    def map_array(self, job: Job, specs: list[RunSpec], /) -> list[SubmittedJob]: ...
    def submit(self, job: Job, spec: RunSpec, /) -> SubmittedJob: ...


class Slurm:
    """Trains runs as the jobs of one Slurm job array, longest first.

    The store must be a folder that all nodes share.

    sbatch: options of `sbatch` by their names with underscores, passed on unchanged:
        `partition="gpu"`, `gres="gpu:1"`, `account="lab"`, `time="04:00:00"`. Also submitit's own
        `setup` (commands before the job), `array_parallelism` (jobs at the same time),
        `signal_delay_s` (warning before the end, 90). With `ntasks_per_node` above 1, each run is
        spread over that many processes.
    folder: for submission files and logs; None for `slurm/` in the store.
    retries: number of further tries of a run whose job died. A job that is preempted or out of
        time does not count: its run is saved and requeued.
    num_threads: CPU threads per process, requested as `cpus_per_task` unless that is given.
    cluster: "slurm", or "local" for submitit's processes on this machine, all at once.
    look_seconds: interval between two checks of the jobs.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        retries: int = 1,
        num_threads: int = 1,
        cluster: str = "slurm",
        look_seconds: float = 2.0,
        **sbatch: Any,
    ) -> None:
        self.cluster = arguments.one_of(
            cluster, "Slurm: cluster", ("slurm", "local"), error=PlanError
        )
        self.folder = (
            None
            if folder is None
            else Path(arguments.a_path(folder, "Slurm: folder", error=PlanError))
        )
        self.retries = _whole(retries, "retries", 0)
        self.num_threads = _whole(num_threads, "num_threads", 1)
        self.look_seconds = float(
            arguments.positive(look_seconds, "Slurm: look_seconds", error=PlanError)
        )
        for name in ("ntasks_per_node", "array_parallelism"):
            if name in sbatch:
                sbatch[name] = _whole(sbatch[name], name, 1)
        self.sbatch = sbatch
        self._minutes = _minutes(sbatch.get("time", DEFAULT_MINUTES))

    def __repr__(self) -> str:
        return f"Slurm({', '.join(f'{key}={value!r}' for key, value in self.sbatch.items())})"

    def run_devices(self) -> Devices:
        """The tasks of a job; the memory of the nodes is unknown."""
        nodes = self.sbatch.get("nodes", 1)
        # of 2-4, sbatch grants at least 2
        fewest = nodes.partition("-")[0] if isinstance(nodes, str) else nodes
        num_nodes = _whole(fewest, "nodes", 1)
        return Devices(per_run=num_nodes * int(self.sbatch.get("ntasks_per_node", 1)))

    def map(self, work: Work, specs: list[RunSpec]) -> Iterator[Run]:
        if not specs:
            return
        folder = (self.folder or _folder_of(work)).absolute()
        executor = self._executor(folder)
        payload = dump_work(work.reporting_to(None))
        job = Job(write_bytes(folder / f"work-{uuid4().hex[:8]}.pickle", payload), self.num_threads)
        jobs = _Jobs(executor, job, Deaths(self.retries), longest_first(work, specs))
        try:
            yield from jobs.records(work.on_progress, self.look_seconds)
        finally:
            jobs.stop()
            job.payload.unlink(missing_ok=True)
            shutil.rmtree(job.payload.with_suffix(""), ignore_errors=True)

    def _executor(self, folder: Path) -> Submitter:
        submitit = load_extra("submitit", "slurm")
        return (
            self._local(submitit, folder)
            if self.cluster == "local"
            else self._slurm(submitit, folder)
        )

    def _local(self, submitit: ModuleType, folder: Path) -> Submitter:
        executor = submitit.LocalExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
        executor.update_parameters(
            timeout_min=self._minutes, tasks_per_node=self.sbatch.get("ntasks_per_node", 1)
        )
        submitter: Submitter = executor
        return submitter

    def _slurm(self, submitit: ModuleType, folder: Path) -> Submitter:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise IsoflopError(
                "Slurm() needs the commands sbatch and srun; "
                "call it on a node that may submit jobs."
            )
        executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
        own = {key: value for key, value in self.sbatch.items() if key in _SUBMITIT}
        others = {key: value for key, value in self.sbatch.items() if key not in _SUBMITIT}
        options = {
            "job_name": "isoflop",
            "requeue": True,
            "cpus_per_task": self.num_threads,
            **others,
        }
        executor.update_parameters(**{**own, "time": self._minutes}, additional_parameters=options)
        submitter: Submitter = executor
        return submitter


class _Jobs:
    """The jobs of one stage."""

    def __init__(self, executor: Submitter, job: Job, deaths: Deaths, specs: list[RunSpec]) -> None:
        self.executor, self.job, self.deaths = executor, job, deaths
        self.reported: dict[str, float] = {}
        """By run id: tokens in the last progress that was passed on."""
        self.waiting = list(zip(executor.map_array(job, specs), specs, strict=True))

    def records(self, on_progress: OnProgress | None, look_seconds: float) -> Iterator[Run]:
        while self.waiting:
            for entry in list(self.waiting):
                if on_progress is not None:
                    self._report(entry[1], on_progress)
                if entry[0].done():
                    run = self._outcome(*entry)
                    self.waiting.remove(entry)
                    if run is not None:
                        yield run
            if self.waiting:
                time.sleep(look_seconds)

    def stop(self) -> None:
        """Cancel the jobs, which save and end."""
        for job, _ in self.waiting:
            job.cancel(check=False)
        end = time.monotonic() + STOP_SECONDS
        for job, _ in self.waiting:
            while not job.done(force_check=True) and time.monotonic() < end:
                time.sleep(0.2)

    def _outcome(self, job: SubmittedJob, spec: RunSpec) -> Run | None:
        """The record that a job ended with; None if the job is submitted again."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return job.results()[0]
        except UncompletedJobError as error:
            reason = str(error).strip().splitlines()[-1]
            if isinstance(error, FailedJobError) and (
                refused := re.search(r"StoreError: (.*)", str(error))
            ):
                raise StoreError(refused[1]) from error
            may_retry = "not requeued" in reason or "BrokenDevice" in str(error)
            if isinstance(error, FailedJobError) and not may_retry:  # it would hit every run
                raise PlanError(
                    f"A job could not do its work: {reason}; its log is {job.paths.stderr}."
                ) from error
            if not self.deaths.may_retry(spec):
                return self.deaths.failed_run(spec, f"{reason}; its log is {job.paths.stderr}")
            self.waiting.append((self.executor.submit(self.job, spec), spec))
            return None

    def _report(self, spec: RunSpec, on_progress: OnProgress) -> None:
        with suppress(FileNotFoundError):
            num_tokens, loss = json.loads(self.job.progress(spec).read_text())
            if self.reported.get(spec.id) != num_tokens:
                self.reported[spec.id] = num_tokens
                on_progress(Progress(spec, num_tokens, loss))


def _folder_of(work: Work) -> Path:
    if work.store.folder is None:
        raise PlanError(
            "Slurm() needs a store in a folder that all nodes share, or Slurm(folder=...)."
        )
    return work.store.folder / "slurm"


def _whole(value: object, name: str, least: int) -> int:
    return arguments.whole(value, f"Slurm: {name}", least=least, most=100_000, error=PlanError)


def _minutes(time_limit: int | str) -> int:
    """Minutes, rounded up, of a time limit in a form of sbatch (minutes, "HH:MM:SS", "D-HH:MM")."""
    if not isinstance(time_limit, str | int | float) or isinstance(time_limit, bool):
        raise arguments.refused(
            time_limit, "Slurm: time", 'minutes or as in "1-12:00:00"', error=PlanError
        )
    days, dash, clock = str(time_limit)[:40].rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        if dash:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
        elif len(parts) == 3:
            hours, minutes, seconds = parts
        else:
            hours, minutes, seconds = 0, *(*parts, 0)[:2]
        return int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0)
    except ValueError as error:
        raise PlanError(
            f'time must be minutes or as in "1-12:00:00", but got {quoted(time_limit)}.'
        ) from error

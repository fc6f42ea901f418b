"""DataWorkers: in how many processes the data of each run are read."""

import os
from dataclasses import dataclass
from typing import Literal

from isoflop import arguments
from isoflop.counting.cores import num_cores
from isoflop.errors import PlanError
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes

__all__ = ["AS_LOADED", "DataWorkers", "data_workers_of"]

MOST = 1_000
"""Processes for one run; more are a slip of the pen."""


@dataclass(frozen=True)
class DataWorkers:
    """Processes that read the data of a run.

    requested: their number, or "auto" for those of the user's DataLoader, and without any for as
        many as slow reading needs.
    spare_cores: cores that the executor leaves to each run, the most that "auto" uses by itself.
    """

    requested: int | Literal["auto"] = "auto"
    spare_cores: int = 0


AS_LOADED = DataWorkers()
"""Those of the user's DataLoader; without any the process that trains reads."""


def data_workers_of(
    value: object, executor: Executor, num_runs: int, num_ranks: int
) -> DataWorkers:
    """Read the argument `data_workers` of train().

    num_runs: number of runs to train, of which an executor may train several at once.

    Raises PlanError for anything but "auto" or a whole number.
    """
    if value != "auto":
        read = arguments.whole(value, "train: data_workers", most=MOST, error=PlanError)
        return DataWorkers(read)
    return DataWorkers("auto", _spare_cores(executor, num_runs, num_ranks))


def _spare_cores(executor: Executor, num_runs: int, num_ranks: int) -> int:
    """Cores of this machine beyond those that train, per process; none where it is unknown."""
    if num_ranks > 1:
        training, threads = int(os.environ.get("LOCAL_WORLD_SIZE", num_ranks)), 1
    elif isinstance(executor, Processes):
        training, threads = min(executor.at_once(), max(1, num_runs)), executor.num_threads
    elif isinstance(executor, InProcess):
        training, threads = 1, executor.num_threads
    else:
        return 0
    return max(0, num_cores() - training * threads) // training

"""Checks of a sweep before it is trained, and the description of its task in the store."""

import math
from collections.abc import Mapping

from isoflop import __version__
from isoflop.counting.sizes import Sizes
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.planning.sweep import Sweep
from isoflop.task import Task
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.devices import devices_of
from isoflop.training.executors.in_process import InProcess
from isoflop.training.ranks import Ranks
from isoflop.training.trainer import Trainer, name_of

__all__ = ["check_elsewhere", "check_sweep", "description"]


def check_sweep(
    sizes: Sizes, sweep: Sweep, executor: Executor, ranks: Ranks, *, own_loop: bool
) -> None:
    if not sweep.specs:
        raise PlanError("A sweep must have at least one run, but this one is empty.")
    if ranks.num_ranks > 1 and not isinstance(executor, InProcess):
        raise PlanError(
            f"Under torchrun all {ranks.num_ranks} processes train each run together, so the "
            f"executor must be InProcess(), but got {type(executor).__name__}; start the program "
            f"without torchrun to use that one."
        )
    for spec in sweep.specs:
        _check_finite(vars(spec))
        if own_loop:
            _check_finite(vars(spec.settings))
    task_fingerprint = sizes.fingerprint
    if len(set(ranks.gathered([task_fingerprint]))) > 1:
        raise PlanError(
            f"All {ranks.num_ranks} processes of torchrun must have the same task, but their "
            f"fingerprints differ: a file was edited while they started, or the task depends on "
            f"the rank; start them again."
        )
    strangers = [spec for spec in sweep.specs if spec.fingerprint != task_fingerprint]
    if strangers:
        raise PlanError(
            f"The sweep was planned for another task: {len(strangers)} of {len(sweep.specs)} runs "
            f"carry fingerprint {strangers[0].fingerprint or 'none'}, but this task's is "
            f"{task_fingerprint}; plan again for this task."
        )


def _check_finite(fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise PlanError(
                f"A run's numbers must be finite, but the {name} of one is {value}; "
                f"make runs with plan()."
            )


def check_elsewhere(
    executor: Executor, ranks: Ranks, devices_per_run: object, own: Mapping[str, bool]
) -> None:
    """Raise PlanError for what only isoflop's own loop can do; own: options given, by name."""
    if ranks.num_ranks > 1:
        raise PlanError(
            f"A trainer is called once for each run, but torchrun started {ranks.num_ranks} "
            "processes; start this program without torchrun, and let the trainer start its own, as "
            'Command("torchrun ...") does.'
        )
    if devices_of(executor, 1).per_run > 1 or devices_per_run not in ("auto", 1):
        raise PlanError(
            "A trainer is called once for each run and spreads it over devices itself; ask for one "
            "task per run, with all its devices (Slurm(ntasks_per_node=1, gres='gpu:8')), and let "
            "the trainer use torchrun or srun."
        )
    for name, given in own.items():
        if given:
            raise PlanError(
                f"{name} are of isoflop's own loop: leave them out where a trainer of yours "
                "trains; Command(timeout=) ends a command that hangs."
            )


def description(
    task: Task | Family, trainer: Trainer | None, sweep: Sweep
) -> dict[str, str | None]:
    """The task in words, for people who open the store."""
    common = {
        "unit": task.unit,
        "fingerprint": sweep.specs[0].fingerprint,
        "isoflop": __version__,
        **({} if trainer is None else {"trainer": name_of(trainer)}),
    }
    if isinstance(task, Family):
        return {"model": task.name, "size_param": task.size_param, **common}
    size_param = (
        task.size_param
        if isinstance(task.size_param, str)
        else getattr(task.size_param, "__name__", "joint")
    )
    return {
        "model": getattr(task.model, "__qualname__", type(task.model).__name__),
        "size_param": size_param,
        **common,
    }

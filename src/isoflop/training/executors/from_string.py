"""Executors by name, as on a command line.

Examples: `processes:8`, `ray://host:10001`, `slurm:gpu,time=04:00:00`.
"""

from typing import Any

from isoflop.display.format import quoted
from isoflop.errors import PlanError
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.slurm import Slurm

__all__ = ["NAMES", "executor_from"]

NAMES = "in-process, processes, processes:8, ray, ray:auto, ray://host:10001, slurm:partition"


def executor_from(text: str) -> Executor:
    """The executor with the given name.

    `ray:ADDRESS` takes an address as `Ray(address=...)` does. After `slurm:` come the partition or
    options of sbatch, separated by commas: `slurm:gpu,time=04:00:00,gres=gpu:1`. Raises PlanError
    for any other text.
    """
    name, colon, rest = text.strip().partition(":")
    if name == "in-process" and not colon:
        return InProcess()
    if name == "processes" and (rest.isdigit() or not colon):
        return Processes(int(rest[:9]) if rest else None)
    if name == "ray" and (rest or not colon):
        return Ray(address=text if rest.startswith("//") else rest or None)
    if name == "slurm" and (rest or not colon):
        return Slurm(**_sbatch(rest))
    raise PlanError(f"An executor is named as one of {NAMES}, but got {quoted(text)}.")


def _sbatch(text: str) -> dict[str, Any]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        options.update({key.strip().replace("-", "_"): value} if equals else {"partition": part})
    return options

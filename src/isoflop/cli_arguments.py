"""What is written on the command line, as values: a task by its address, columns, approaches, executors, forms."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.errors import ContractError, DataError

if TYPE_CHECKING:
    from isoflop.task import Task
    from isoflop.training.executors.contract import Executor

__all__ = ["APPROACHES", "FORMS", "approach_of", "columns_of", "executor_of", "load_task", "prior_of", "writer_of"]

APPROACHES = {
    "bayesian": ("isoflop.fitting.bayesian.approach", "Bayesian"),
    "kriging": ("isoflop.fitting.kriging", "Kriging"),
    "parametric": ("isoflop.fitting.parametric", "Parametric"),
    "isoflop": ("isoflop.fitting.isoflop", "IsoFLOP"),
    "envelope": ("isoflop.fitting.envelope", "Envelope"),
}

FORMS = {"text": "to_text", "markdown": "to_markdown", "latex": "to_latex", "csv": "to_csv"}


def writer_of(name: str) -> str:
    """The function of written.py for a form."""
    if name not in FORMS:
        raise DataError(f"--format must be {' or '.join(FORMS)}, but got {name!r}.")
    return FORMS[name]


def columns_of(pairs: Sequence[str]) -> dict[str, str]:
    """Field -> column's name, from field=name."""
    for pair in pairs:
        if "=" not in pair:
            raise DataError(f"--column must be written as field=name, as in params=my_col, but got {pair!r}.")
    return {field: name for field, _, name in (pair.partition("=") for pair in pairs)}


def approach_of(name: str | None) -> Any:
    """The approach of a name; None for the default."""
    if name is None:
        return None
    if name.lower() not in APPROACHES:
        raise DataError(f"--approach must be {' or '.join(APPROACHES)}, but got {name!r}.")
    module, public = APPROACHES[name.lower()]
    return getattr(importlib.import_module(module), public)()


def prior_of(words: str | None) -> Any:
    """The prior of "flat" or of a slope as "0.5±0.05"; None for the default's own."""
    from isoflop.fitting.bayesian.prior import Prior

    if words is None:
        return None
    if words.strip().lower() == "flat":
        return Prior.flat()
    mean, _, width = words.replace("+-", "±").partition("±")
    try:
        return Prior(slope=(float(mean), float(width)))
    except ValueError:
        raise DataError(f"--prior must be flat, or a slope such as 0.5±0.05, but got {words!r}.") from None


def executor_of(name: str | None, processes: int | None) -> "Executor":
    """The executor of --executor, or of --processes, which is short for the commonest one."""
    from isoflop.training.executors.named import executor_from

    if name is not None and processes is not None:
        raise DataError(f"--processes {processes} is short for --executor processes:{processes}; give one of them.")
    return executor_from(name or (f"processes:{processes}" if processes else "in-process"))


def load_task(address: str) -> "Task":
    """The task at module:name or file.py:name; a function without arguments is called for it."""
    from isoflop.task import Task

    module_name, _, name = address.rpartition(":")
    if not module_name or not name:
        raise ContractError(f"A task is named as module:task or file.py:task, but got {address!r}.")
    value = getattr(_load_module(module_name), name, None)
    task = value() if callable(value) else value
    if not isinstance(task, Task):
        raise ContractError(f"{address} must be an isoflop.Task or a function that gives one, but is {value!r}.")
    return task


def _load_module(name: str) -> Any:
    """A module by name or by file, as Python would find it from the current folder."""
    path = Path(name)
    folder, module = (str(path.resolve().parent), path.stem) if path.suffix == ".py" else (str(Path.cwd()), name)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the task's own code imports something that is missing
        raise ContractError(f"There is no module {name!r} in {folder} or among the installed packages.") from error

"""Words of the command line as values: tasks by address, columns, approaches, executors, forms."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar

from isoflop import arguments
from isoflop.cli.families import family_of, is_table
from isoflop.display.format import one_line, quoted
from isoflop.errors import ContractError, DataError, IsoflopError, first_line
from isoflop.extras import TRAIN, require_train

if TYPE_CHECKING:
    from isoflop.family import Family
    from isoflop.fitting.approaches.base import Approach
    from isoflop.fitting.bayesian.prior import Prior
    from isoflop.task import Task
    from isoflop.training.executors.contract import Executor

__all__ = [
    "APPROACHES",
    "FORMS",
    "approach_of",
    "columns_of",
    "data_workers_of",
    "executor_of",
    "load_task",
    "one_form",
    "prior_of",
    "writer_of",
]

T = TypeVar("T")

APPROACHES = ("bayesian", "kriging", "parametric", "isoflop", "envelope")

FORMS = {"text": "to_text", "markdown": "to_markdown", "latex": "to_latex", "csv": "to_csv"}


def writer_of(name: str) -> str:
    """Name of the function in display/writers.py that writes a form."""
    if name not in FORMS:
        raise DataError(f"--format must be {' or '.join(FORMS)}, but got {quoted(name)}.")
    return FORMS[name]


def one_form(form: str, *, as_json: bool) -> None:
    """Raise DataError where --json and --format both say how a result is written."""
    if as_json and form != "text":
        raise DataError(
            f"--json and --format {form} both say how the result is written; give one of them."
        )


def columns_of(pairs: Sequence[str]) -> dict[str, str]:
    """Field -> column's name, from field=name."""
    for pair in pairs:
        if "=" not in pair:
            raise DataError(
                f"--column must be written as field=name, as in params=my_col, but got "
                f"{quoted(pair)}."
            )
    return {field: name for field, _, name in (pair.partition("=") for pair in pairs)}


def approach_of(name: str | None) -> "Approach | None":
    """The approach of a name; None for the default."""
    if name is None:
        return None
    from isoflop.fitting.from_name import approach_from

    return approach_from(arguments.one_of(name, "--approach", APPROACHES), "fit")


def prior_of(words: str | None) -> "Prior | None":
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
        raise DataError(
            f"--prior must be flat, or a slope such as 0.5±0.05, but got {quoted(words)}."
        ) from None


def executor_of(name: str | None, processes: str | None) -> "Executor":
    """The executor of --executor, or of --processes, which is short for `processes:N`."""
    from isoflop.training.executors.from_string import executor_from

    if processes is not None:
        processes = str(arguments.whole(processes, "--processes", least=1, most=10_000))
    if name is not None and processes is not None:
        raise DataError(
            f"--processes {processes} is short for --executor processes:{processes}; give one of "
            f"them."
        )
    return executor_from(name or (f"processes:{processes}" if processes else "in-process"))


def data_workers_of(words: str) -> int | Literal["auto"]:
    """The number of --data-workers, or "auto"."""
    return "auto" if words == "auto" else arguments.whole(words, "--data-workers", most=1_000)


def load_task(address: str, settings: Sequence[str] | None = None) -> "Task | Family":
    """The task at module:name or file.py:name; a function without arguments is called for it.

    A table of sizes gives a family, with `settings` as its fields.

    Raises ContractError if there is none of that name, or if the code behind it fails; InstallError
    if that code needs torch and it is not installed.
    """
    from isoflop.family import Family
    from isoflop.task import Task

    if is_table(address):
        return family_of(address, settings)
    if settings:
        raise DataError(
            f"--set is for a table of sizes, but {quoted(address, 80)} is a task; set its fields "
            "in its code."
        )
    module_name, _, name = address.rpartition(":")
    if not module_name or not name:
        raise ContractError(
            f"A task is named as module:task or file.py:task, and a family by its table of sizes, "
            f"but got {quoted(address)}."
        )
    module = _load_module(module_name)
    if not hasattr(module, name):
        raise ContractError(
            f"{module_name} has nothing of the name {quoted(name)}{_nearest(name, module)}."
        )
    value = getattr(module, name)
    task = _ran(value, address) if callable(value) else value
    if not isinstance(task, Task | Family):
        raise ContractError(
            f"{one_line(address, 80)} must be an isoflop.Task or Family, or a function that gives "
            f"one, but is {quoted(value)}."
        )
    return task


def _nearest(name: str, module: ModuleType) -> str:
    """A suggestion: similar names, or the tasks of the module; empty without any."""
    from isoflop.task import Task

    tasks = [other for other, value in vars(module).items() if isinstance(value, Task)]
    public = [other for other in vars(module) if not other.startswith("_")]
    likely = list(dict.fromkeys([*get_close_matches(name, public, n=2), *tasks]))[:3]
    return f"; did you mean {' or '.join(likely)}?" if likely else ""


def _load_module(name: str) -> ModuleType:
    """A module by name or by file, as Python would find it from the current folder."""
    path = Path(name)
    folder, module = (
        (str(path.resolve().parent), path.stem) if path.suffix == ".py" else (str(Path.cwd()), name)
    )
    sys.path.insert(0, folder)
    try:
        missing = importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # of the package that it would lie in
        missing = True
    if missing:
        raise ContractError(
            f"There is no module {quoted(name)} in {one_line(folder, 120)} or among the installed "
            f"packages."
        )
    return _ran(lambda: importlib.import_module(module), name)


def _ran(call: Callable[[], T], name: str) -> T:
    """The value that the user's code returns; raises ContractError with the line where it fails."""
    try:
        return call()
    except IsoflopError:
        raise
    except SyntaxError as error:
        raise ContractError(
            f"{name} cannot be read: {error.msg} ({error.filename}, line {error.lineno})."
        ) from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in TRAIN:
            require_train()
        own = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if _is_the_users(frame.filename)
        ]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        text = f"{type(error).__name__}: {first_line(error)}"
        raise ContractError(
            f"{name} must give a task, but its code raises {text}{where}."
        ) from error


def _is_the_users(file: str) -> bool:
    return not (
        "site-packages" in file
        or file.startswith(("<", sys.base_prefix, str(Path(__file__).parent)))
    )

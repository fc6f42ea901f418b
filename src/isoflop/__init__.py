"""How big a model and how much data for a compute budget: plan, train, fit, predict, report.

Names are imported on first use, so that `import isoflop` loads neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "find_optimal": "pipeline",
    "plan": "planning.sweep",
    "train": "training.runner",
    "read_runs": "storage.tables",
    "fit": "fitting.fit",
    "predict": "optimum",
    "report": "reporting.page",
    "Task": "task",
    "Recipe": "recipe",
    "Sweep": "planning.sweep",
    "RunSpec": "runs",
    "Run": "runs",
    "Fit": "fitting.fit",
    "Optimum": "optimum",
    "Estimate": "optimum",
    "Parametric": "fitting.parametric",
    "IsoFLOP": "fitting.isoflop",
    "Envelope": "fitting.envelope",
    "compare": "fitting.compare",
    "Comparison": "fitting.compare",
    "holdout": "fitting.holdout",
    "Holdout": "fitting.holdout",
    "valleys": "fitting.isoflop",
    "ChinchillaLaw": "fitting.laws",
    "PowerLaw": "fitting.laws",
    "InProcess": "training.executors.in_process",
    "Processes": "training.executors.processes",
    "DirectoryStore": "storage.directory",
    "MemoryStore": "storage.store",
    "IsoflopError": "errors",
    "ContractError": "errors",
    "DataError": "errors",
    "PlanError": "errors",
    "StoreError": "errors",
}

__all__ = [*_HOMES]

if TYPE_CHECKING:
    from isoflop.errors import ContractError, DataError, IsoflopError, PlanError, StoreError
    from isoflop.fitting.compare import Comparison, compare
    from isoflop.fitting.envelope import Envelope
    from isoflop.fitting.fit import Fit, fit
    from isoflop.fitting.holdout import Holdout, holdout
    from isoflop.fitting.isoflop import IsoFLOP, valleys
    from isoflop.fitting.laws import ChinchillaLaw, PowerLaw
    from isoflop.fitting.parametric import Parametric
    from isoflop.optimum import Estimate, Optimum, predict
    from isoflop.pipeline import find_optimal
    from isoflop.planning.sweep import Sweep, plan
    from isoflop.recipe import Recipe
    from isoflop.reporting.page import report
    from isoflop.runs import Run, RunSpec
    from isoflop.storage.directory import DirectoryStore
    from isoflop.storage.store import MemoryStore
    from isoflop.storage.tables import read_runs
    from isoflop.task import Task
    from isoflop.training.executors.in_process import InProcess
    from isoflop.training.executors.processes import Processes
    from isoflop.training.runner import train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isoflop' has no attribute {name!r}")
    value = getattr(import_module(f"isoflop.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

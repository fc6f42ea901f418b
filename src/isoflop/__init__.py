"""How big a model and how much data for a compute budget: plan, train, fit, predict, report.

Names are imported on first use, so that `import isoflop` loads neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "find_optimal": "stages",
    "plan": "planning.plan",
    "train": "training.runner",
    "read_runs": "storage.tables",
    "read_groups": "storage.groups",
    "fingerprint": "user_code.fingerprint",
    "fit": "fitting.fit",
    "predict": "answers.predict",
    "report": "reporting.page",
    "watch": "answers.watch",
    "Watched": "answers.watch",
    "parse_compute": "compute.phrases",
    "parse_hardware": "compute.phrases",
    "Compute": "compute.compute",
    "Hardware": "compute.compute",
    "Task": "task",
    "Family": "family",
    "Command": "training.command",
    "Recipe": "recipe",
    "PowerRule": "recipe",
    "tune": "training.tuning",
    "Tuning": "training.tuning",
    "coordinate_check": "training.coordinates",
    "Sweep": "planning.sweep",
    "RunSpec": "runs",
    "Run": "runs",
    "Fit": "fitting.fit",
    "Optimum": "answers.predict",
    "Optima": "answers.predict",
    "RunLoss": "answers.run_loss",
    "RunLosses": "answers.run_loss",
    "Estimate": "answers.predict",
    "Parametric": "fitting.approaches.parametric",
    "IsoFLOP": "fitting.approaches.isoflop",
    "Bayesian": "fitting.bayesian.approach",
    "Prior": "fitting.bayesian.prior",
    "Kriging": "fitting.kriging.approach",
    "Nonlinear": "fitting.approaches.nonlinear",
    "Envelope": "fitting.approaches.envelope",
    "compare": "fitting.compare",
    "Comparison": "fitting.compare",
    "holdout": "fitting.holdout",
    "Holdout": "fitting.holdout",
    "valleys": "fitting.approaches.isoflop",
    "fit_systems": "fitting.systems",
    "fit_rates": "fitting.rates",
    "Rates": "fitting.rates",
    "fit_metric": "fitting.metrics",
    "MetricFit": "fitting.metrics",
    "fit_log_metric": "fitting.log_metrics",
    "LogMetricFit": "fitting.log_metrics",
    "ChinchillaLaw": "laws.additive",
    "DataConstrainedLaw": "laws.other_laws",
    "KaplanLaw": "laws.other_laws",
    "FarseerLaw": "laws.curved_laws",
    "OuterPowerLaw": "laws.curved_laws",
    "OvertrainingLaw": "laws.other_laws",
    "PowerLaw": "laws.base",
    "InProcess": "training.executors.in_process",
    "Processes": "training.executors.processes",
    "Ray": "training.executors.ray",
    "Slurm": "training.executors.slurm",
    "DirectoryStore": "storage.directory",
    "MemoryStore": "storage.store",
    "IsoflopError": "errors",
    "ContractError": "errors",
    "DataError": "errors",
    "PlanError": "errors",
    "StoreError": "errors",
    "InstallError": "errors",
}

__all__ = [*_HOMES]

if TYPE_CHECKING:
    from isoflop.answers.predict import Estimate as Estimate
    from isoflop.answers.predict import Optima as Optima
    from isoflop.answers.predict import Optimum as Optimum
    from isoflop.answers.predict import predict as predict
    from isoflop.answers.run_loss import RunLoss as RunLoss
    from isoflop.answers.run_loss import RunLosses as RunLosses
    from isoflop.answers.watch import Watched as Watched
    from isoflop.answers.watch import watch as watch
    from isoflop.compute.compute import Compute as Compute
    from isoflop.compute.compute import Hardware as Hardware
    from isoflop.compute.phrases import parse_compute as parse_compute
    from isoflop.compute.phrases import parse_hardware as parse_hardware
    from isoflop.errors import ContractError as ContractError
    from isoflop.errors import DataError as DataError
    from isoflop.errors import InstallError as InstallError
    from isoflop.errors import IsoflopError as IsoflopError
    from isoflop.errors import PlanError as PlanError
    from isoflop.errors import StoreError as StoreError
    from isoflop.family import Family as Family
    from isoflop.fitting.approaches.envelope import Envelope as Envelope
    from isoflop.fitting.approaches.isoflop import IsoFLOP as IsoFLOP
    from isoflop.fitting.approaches.isoflop import valleys as valleys
    from isoflop.fitting.approaches.nonlinear import Nonlinear as Nonlinear
    from isoflop.fitting.approaches.parametric import Parametric as Parametric
    from isoflop.fitting.bayesian.approach import Bayesian as Bayesian
    from isoflop.fitting.bayesian.prior import Prior as Prior
    from isoflop.fitting.compare import Comparison as Comparison
    from isoflop.fitting.compare import compare as compare
    from isoflop.fitting.fit import Fit as Fit
    from isoflop.fitting.fit import fit as fit
    from isoflop.fitting.holdout import Holdout as Holdout
    from isoflop.fitting.holdout import holdout as holdout
    from isoflop.fitting.kriging.approach import Kriging as Kriging
    from isoflop.fitting.log_metrics import LogMetricFit as LogMetricFit
    from isoflop.fitting.log_metrics import fit_log_metric as fit_log_metric
    from isoflop.fitting.metrics import MetricFit as MetricFit
    from isoflop.fitting.metrics import fit_metric as fit_metric
    from isoflop.fitting.rates import Rates as Rates
    from isoflop.fitting.rates import fit_rates as fit_rates
    from isoflop.fitting.systems import fit_systems as fit_systems
    from isoflop.laws.additive import ChinchillaLaw as ChinchillaLaw
    from isoflop.laws.base import PowerLaw as PowerLaw
    from isoflop.laws.curved_laws import FarseerLaw as FarseerLaw
    from isoflop.laws.curved_laws import OuterPowerLaw as OuterPowerLaw
    from isoflop.laws.other_laws import DataConstrainedLaw as DataConstrainedLaw
    from isoflop.laws.other_laws import KaplanLaw as KaplanLaw
    from isoflop.laws.other_laws import OvertrainingLaw as OvertrainingLaw
    from isoflop.planning.plan import plan as plan
    from isoflop.planning.sweep import Sweep as Sweep
    from isoflop.recipe import PowerRule as PowerRule
    from isoflop.recipe import Recipe as Recipe
    from isoflop.reporting.page import report as report
    from isoflop.runs import Run as Run
    from isoflop.runs import RunSpec as RunSpec
    from isoflop.stages import find_optimal as find_optimal
    from isoflop.storage.directory import DirectoryStore as DirectoryStore
    from isoflop.storage.groups import read_groups as read_groups
    from isoflop.storage.store import MemoryStore as MemoryStore
    from isoflop.storage.tables import read_runs as read_runs
    from isoflop.task import Task as Task
    from isoflop.training.command import Command as Command
    from isoflop.training.coordinates import coordinate_check as coordinate_check
    from isoflop.training.executors.in_process import InProcess as InProcess
    from isoflop.training.executors.processes import Processes as Processes
    from isoflop.training.executors.ray import Ray as Ray
    from isoflop.training.executors.slurm import Slurm as Slurm
    from isoflop.training.runner import train as train
    from isoflop.training.tuning import Tuning as Tuning
    from isoflop.training.tuning import tune as tune
    from isoflop.user_code.fingerprint import fingerprint as fingerprint


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isoflop' has no attribute {name!r}")
    value = getattr(import_module(f"isoflop.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

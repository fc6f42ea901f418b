"""Values that users might give by mistake, and every argument of the public functions that may get one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import isoflop
from fitting.sweeps import a_sweep
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.kriging.approach import Kriging
from tasks import mlp_task

TEXTS = (
    "", " ", "70B", "1T", "1e21", "1,300", "5 %", "40%", "kriging", "Kriging", "flat", "abc", "nan", "inf", "-1", "0",
    "8xH100", "80 GB", "runs.csv", "\x1b[2J\x1b[1;1H", "a\nb", "\x00", "‮1e21", "½", "x" * 200_000, "9" * 5000,
    "loss", "module:task", "--help", "slurm:gpu", "processes:0", "sound", "lean", "None",
)  # fmt: skip
NUMBERS = (
    0, 1, 2, 3, -1, 16, 80, 0.5, 0.9, 1.5, -2.7e8, 1e6, 1e21, 1e-310, 5e-324, 1e60, 1e300, 1.8e308, 10**400, -(10**400),
    math.nan, math.inf, -math.inf, True, False, 1j, np.float64(1e21), np.float32("nan"), np.int64(-5), np.uint8(3),
    np.bool_(True), np.array(1e21), Decimal("1e21"), Decimal("NaN"), Decimal("1e400"), Fraction(1, 3),
    Fraction(10**400, 3),
)  # fmt: skip
OBJECTS: tuple[Callable[[], Any], ...] = (
    lambda: None, list, tuple, dict, set, object, lambda: object, lambda: Kriging, lambda: Kriging(), lambda: Envelope,
    lambda: b"1e21", lambda: [1e20, 1e21], lambda: (1e20, "1e21"), lambda: [None], lambda: ["a", 1], lambda: [[1e21]],
    lambda: [math.nan], lambda: {"a": 1}, lambda: {"loss": "loss"}, lambda: {1e21}, lambda: range(3), lambda: iter([1e20]),
    lambda: (budget for budget in (1e20, "x")), lambda: np.array([1e20, 1e21]), lambda: np.array([]),
    lambda: np.zeros((2, 2)), lambda: np.array(["a"]), lambda: pd.DataFrame({"params": [1.0], "loss": [2.0]}),
    lambda: pd.DataFrame(), lambda: pd.Series([1e20, 1e21]), lambda: pd.NA, lambda: pd.NaT, lambda: date(2026, 1, 1),
    lambda: Path("nowhere"), lambda: print, lambda: Unwritable(), lambda: isoflop.Recipe(), lambda: isoflop.Prior(),
    lambda: runs(), lambda: runs()[0], lambda: fitted(), lambda: [1e21] * 600, lambda: isoflop.ChinchillaLaw(),
    lambda: isoflop.Recipe, lambda: isoflop.InProcess(), lambda: isoflop.InProcess,
)  # fmt: skip


class Unwritable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("this has no words")


def values() -> st.SearchStrategy[Any]:
    """Any of them, some of them in lists, and random numbers and texts."""
    plain = st.one_of(
        st.sampled_from(TEXTS),
        st.sampled_from(NUMBERS),
        st.sampled_from(OBJECTS).map(lambda make: make()),
        st.floats(),
        st.integers(),
        st.text(max_size=30),
    )
    return st.one_of(plain, plain, st.lists(plain, max_size=3), st.tuples(plain, plain))


@cache
def runs() -> tuple[isoflop.Run, ...]:
    return tuple(a_sweep(budgets=(1e18, 1e19, 1e20, 1e21), noise=0.002))


@cache
def fitted() -> isoflop.Fit:
    return isoflop.fit(runs(), resamples=40)


@cache
def answer() -> isoflop.Optimum:
    return isoflop.predict(fitted(), flops=1e22)


@cache
def task() -> isoflop.Task:
    return mlp_task(sizes=(4, 8, 16, 32))


@cache
def sweep() -> isoflop.Sweep:
    return isoflop.plan(task(), budgets=[1e6])


def _fields_of(cls: Any, **needed: Any) -> dict[str, Callable[[Any], Any]]:
    return {
        f"{cls.__name__}({one.name})": partial(_with, cls, needed, one.name)
        for one in fields(cls)
        if one.init
    }


def _with(call: Callable[..., Any], needed: Mapping[str, Any], name: str, value: Any) -> Any:
    return call(**{**needed, name: value})


def _arguments(
    call: Callable[..., Any], names: str, **needed: Any
) -> dict[str, Callable[[Any], Any]]:
    return {
        f"{call.__name__}({name})": partial(_with, call, needed, name) for name in names.split()
    }


def makers() -> dict[str, Callable[[Any], Any]]:
    """Arguments of the values that questions are asked with; quick."""
    spec = {"num_params": 1e6, "num_tokens": 2e7, "flops": 1.2e14}
    made = {
        "Recipe.mup(lr)": lambda value: isoflop.Recipe.mup(16, value),
        "Recipe.mup(base_size)": lambda value: isoflop.Recipe.mup(value, 0.1),
        "Ray(address)": lambda value: isoflop.Ray(address=value),
        "Slurm(time)": lambda value: isoflop.Slurm(time=value),
        "Slurm(nodes)": lambda value: isoflop.Slurm(nodes=value).run_devices(),
        "DirectoryStore": lambda value: isoflop.DirectoryStore(value),
    }
    for cls in (
        isoflop.Recipe, isoflop.Parametric, isoflop.IsoFLOP, isoflop.Kriging, isoflop.Bayesian, isoflop.Prior,
        isoflop.Processes, isoflop.Ray,
    ):  # fmt: skip
        made |= _fields_of(cls)
    given = {"model": dict, "size_param": "a", "train_data": [1], "val_data": [1], "loss": print}
    made |= _fields_of(isoflop.Task, **given)
    made |= _fields_of(isoflop.PowerRule, coefficient=1.0)
    made |= _fields_of(isoflop.RunSpec, **spec)
    made |= _fields_of(
        isoflop.Run,
        spec=isoflop.RunSpec(**spec),
        status="completed",
        loss=2.0,
        num_tokens=2e7,
        flops=1.2e14,
    )
    made |= _arguments(isoflop.Slurm, "folder retries num_threads cluster look_seconds")
    made |= _arguments(
        isoflop.parse_compute, "value mfu price precision", value="8xH100 for 3 days"
    )
    made |= _arguments(isoflop.parse_hardware, "value mfu price precision", value="8xH100")
    return made


def questions() -> dict[str, Callable[[Any], Any]]:
    """Arguments of the functions that answer from runs."""
    fit, metric = fitted(), [_with_metric(run) for run in runs()]
    quick = {"runs": runs(), "resamples": 20}
    made = _arguments(isoflop.predict, "fit flops", fit=fit)
    made |= _arguments(isoflop.predict, "num_params num_tokens loss", fit=fit)
    made |= _arguments(
        isoflop.predict, "served_tokens unique_tokens device_memory task flops", fit=fit, flops=1e22
    )
    kriged = isoflop.fit(runs(), Kriging(), resamples=20)
    made |= {
        f"Kriging {name}": call
        for name, call in _arguments(
            isoflop.predict, "served_tokens unique_tokens device_memory", fit=kriged, flops=1e22
        ).items()
    }
    made |= _arguments(
        isoflop.fit, "runs approach prior resamples level seed intervals keep", **quick
    )
    made |= _arguments(isoflop.holdout, "runs approach budgets", runs=runs())
    made |= _arguments(
        isoflop.compare,
        "first second flops approach resamples level seed",
        first=runs(), second=runs(), flops=1e21, resamples=20,
    )  # fmt: skip
    made |= _arguments(
        isoflop.fit_systems,
        "systems delta resamples level seed",
        systems={"a": runs(), "b": runs()}, resamples=20,
    )  # fmt: skip
    made |= _arguments(
        isoflop.fit_metric,
        "source name worst best resamples level seed",
        source=metric, name="accuracy", resamples=20,
    )  # fmt: skip
    made |= _arguments(isoflop.valleys, "runs window curve", runs=runs())
    made |= _arguments(isoflop.read_runs, "source columns fingerprint", source=runs())
    frame = pd.DataFrame({"params": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [3.0, 2.9]})
    made["read_runs(frame, columns)"] = lambda value: isoflop.read_runs(frame, columns=value)
    made |= _arguments(
        isoflop.report, "fit optimum path task", fit=fit, optimum=answer(), path="page.html"
    )
    return made


def doings() -> dict[str, Callable[[Any], Any]]:
    """Arguments of the functions that plan and train."""
    made = _arguments(
        isoflop.plan,
        "task budgets runs epochs hardware design allow_far",
        task=task(),
        budgets=[1e6],
    )
    made |= _arguments(isoflop.plan, "target spend design", task=task(), target=1e9, spend=0.1)
    store = isoflop.MemoryStore()
    isoflop.train(task(), sweep(), store=store, progress=False)
    made |= _arguments(
        isoflop.train,
        "task sweep store executor devices_per_run on_record checkpoint_seconds trackers",
        task=task(), sweep=sweep(), store=store, progress=False,
    )  # fmt: skip
    made |= _arguments(
        isoflop.tune,
        "task sweep store executor share",
        task=task(), sweep=sweep(), store=store, progress=False,
    )  # fmt: skip
    made |= _arguments(
        isoflop.coordinate_check,
        "task sizes num_steps num_examples num_seeds",
        task=task(),
        sizes=(4, 8, 16),
        num_seeds=1,
    )
    made["fingerprint(task)"] = isoflop.fingerprint
    return made


def _with_metric(run: isoflop.Run) -> isoflop.Run:
    from dataclasses import replace

    return replace(run, metrics={"accuracy": 1 / (1 + run.loss)})


@cache
def exact_runs() -> tuple[isoflop.Run, ...]:
    return tuple(a_sweep(budgets=(1e18, 1e19, 1e20, 1e21)))

"""Published measurements and simulated sweeps for the tests of fitting."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from isoflop.laws.additive import ChinchillaLaw
from isoflop.runs import Run, RunSpec

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def a_run(
    N,
    D,
    loss,
    *,
    flops=None,
    budget=None,
    group=None,
    status="completed",
    epochs=None,
    error=None,
    size=None,
):
    """A run as a table gives it."""
    flops = 6 * N * D if flops is None else flops
    spec = RunSpec(num_params=N, num_tokens=D, flops=flops, budget=budget, epochs=epochs, size=size)
    return Run(
        spec=spec, status=status, loss=loss, num_tokens=D, flops=flops, group=group, error=error
    )


def a_sweep(law=LAW, budgets=(1e18, 1e19, 1e20), sizes=7, reach=4.0, noise=0.0, seed=0, drift=1.0):
    """IsoFLOP runs of a law: sizes spread over x/÷reach of each budget's true optimum (off by `drift` at the last)."""
    random = np.random.default_rng(seed)
    runs = []
    for number, budget in enumerate(budgets):
        centre = law.optimum(budget)[0] * drift ** (number / max(len(budgets) - 1, 1))
        for N in centre * np.geomspace(1 / reach, reach, sizes):
            D = budget / (6 * N)
            runs.append(
                a_run(
                    N,
                    D,
                    float(law.loss(N, D) * np.exp(noise * random.standard_normal())),
                    budget=budget,
                )
            )
    return runs


def data_folder():
    return Path(
        os.environ.get("ISOFLOP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")
    )


def published(name, *, outliers=False):
    """Runs of a public table, without the rows that its source left out; skips where the table is absent."""
    path = data_folder() / name
    if not path.exists():
        pytest.skip(
            f"{name} is not on this machine; ISOFLOP_DATA names the folder of public measurements"
        )
    with path.open() as lines:
        rows = [
            row
            for row in csv.DictReader(lines)
            if outliers or row.get("outlier_source", "0") in ("0", "")
        ]
    return [
        a_run(
            float(row["params"]),
            float(row["tokens"]),
            float(row["loss"]),
            flops=float(row["flops"]),
            budget=float(row["compute_budget"]) if row["compute_budget"] else None,
            group=row.get("run"),
        )
        for row in rows
    ]

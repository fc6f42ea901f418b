"""Small tables as researchers have them: sweeps, checkpoints and mistakes besides clean rows."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweeps import LAW

BUDGETS = (1e18, 1e19, 1e20)
TARGET = 1e21


def a_table(budgets=BUDGETS, sizes=9, reach=4.0, noise=0.0, seed=0, law=LAW):
    """An IsoFLOP sweep of a law."""
    random = np.random.default_rng(seed)
    rows = []
    for budget in budgets:
        for params in law.optimum(budget)[0] * np.geomspace(1 / reach, reach, sizes):
            tokens = budget / (6 * params)
            loss = float(law.loss(params, tokens)) * math.exp(noise * random.standard_normal())
            rows.append(
                {"compute_budget": budget, "params": params, "tokens": tokens, "loss": loss}
            )
    return pd.DataFrame(rows)


def best_lr(params, tokens):
    return 1.8 * params**-0.7 * tokens**0.3


def best_batch(tokens):
    return 0.6 * tokens**0.55


def a_swept_table(step=2.0, shift=0.0, noise=0.0, sizes=7):
    """The same with a grid of rates and batches in each cell, off the best by up to half a step."""
    random = np.random.default_rng(1)
    rows = []
    for row in a_table(sizes=sizes).to_dict("records"):
        off = shift * random.uniform(-0.5, 0.5, 2)
        for i in range(-2, 3):
            for j in range(-2, 3):
                away = np.array([i, j]) + off
                worse = math.log(step) ** 2 * (0.02 * away[0] ** 2 + 0.01 * away[1] ** 2)
                lr = best_lr(row["params"], row["tokens"]) * step ** away[0]
                batch = best_batch(row["tokens"]) * step ** away[1]
                loss = row["loss"] * math.exp(worse + noise * random.standard_normal())
                rows.append({**row, "lr": lr, "batch_size": round(batch), "loss": loss})
    return pd.DataFrame(rows)


def checkpoints(penalty=0.2, num=6, shares=(0.2, 0.4, 0.6, 0.8, 1.0)):
    """Runs with checkpoints whose loss lies above that of a finished run, as under a cosine."""
    rows = []
    for number, params in enumerate(np.geomspace(5e7, 1.6e9, num)):
        tokens = 20 * params * (0.3, 3.0, 1.0)[number % 3]
        for share in shares:
            above = penalty * 0.5 * (1 + math.cos(math.pi * share))
            loss = float(LAW.loss(params, share * tokens)) + above
            rows.append(
                {"params": params, "tokens": share * tokens, "loss": loss, "run": f"run{number}"}
            )
    return pd.DataFrame(rows)


def public(name):
    """Path of a public table; skips where it is absent."""
    folder = os.environ.get("ISOFLOP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine; ISOFLOP_DATA names the folder of public data")
    return path

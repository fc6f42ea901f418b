"""Published measurements for the tests of fitting, beside runs of a known law."""

import csv
import os
from pathlib import Path

import pytest

from known_law import LAW, a_run, a_sweep

__all__ = ["LAW", "a_run", "a_sweep", "data_folder", "published"]


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

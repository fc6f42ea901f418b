"""The tables of the golden answers: four simulated ones here, four public ones where present."""

import os
from pathlib import Path

import pytest

import isoflop

SIMULATED = ("plain", "hard", "scattered", "checkpoints")
PUBLIC = ("chinchilla_epoch", "marin_dclm", "porian_rw_5_tuned", "xlstm_llama_ctx8192")

BUNDLED = Path(__file__).parent / "tables"
OUTSIDE = Path(os.environ.get("ISOFLOP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def path_of(name):
    path = (BUNDLED if name in SIMULATED else OUTSIDE) / f"{name}.csv"
    if not path.exists():
        pytest.skip(
            f"{path.name} is not on this machine; ISOFLOP_DATA names the folder of public measurements"
        )
    return path


def runs_of(name):
    return isoflop.read_runs(path_of(name))

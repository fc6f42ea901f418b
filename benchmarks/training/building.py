"""Main memory that two processes take to build a sharded model of 200 MB.

    python benchmarks/training/building.py [--write]

The processes share one machine through gloo, so their halves of the model lie in main memory, too.
"""

import argparse
import datetime
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

import isoflop
from isoflop.training.ranks import current_ranks
from isoflop.training.sharded_model import new_sharded_model
from isoflop.training.sharding import shard
from isoflop.user_code.model import build, build_without_values

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "training-building.md"
EACH, FIRST = "each process builds the model", "the first builds it and hands out the parts"


class Deep(nn.Module):
    """Layers that all have the same size."""

    def __init__(self, width: int, num_layers: int = 20) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))


def megabytes(name: str) -> float:
    """A line of this process's status, such as its memory now or its largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3 * 1.024


def measure(how: str, width: int) -> None:
    """Print this process's memory for one of the two ways."""
    ranks = current_ranks()
    task = isoflop.Task(
        model=Deep, size_param="width", train_data=[(0.0, 0.0)], val_data=[(0.0, 0.0)], loss=None
    )
    whole = partial(build, task, width)
    shard(nn.Linear(4, 4))  # what the first sharded model of a program loads
    torch.distributed.barrier()
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the largest is measured anew
    torch.manual_seed(0)
    if how == EACH:
        model = whole()
        shard(model)
    else:
        model = new_sharded_model(whole, partial(build_without_values, task, width), ranks)
    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    peak, after = megabytes("VmHWM") - before, megabytes("VmRSS") - before
    row = f"| {how} | {ranks.rank + 1} | {num_bytes / 1e6:.0f} | {peak:.0f} | {after:.0f} |"
    sys.stdout.write(f"RESULT {row}\n")  # in one piece, as both processes write


def rows(how: str, width: int) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, __file__, "--measure", how, "--width", str(width)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return sorted(line.removeprefix("RESULT ") for line in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure")
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.width)
        return
    text = f"""# Main memory to build a sharded model

{datetime.date.today()}, two processes of one machine, no GPU, torch {torch.__version__}, gloo.
Megabytes beyond those before the build; a half of the model stays in each process.
`python benchmarks/training/building.py --write`

| | process | model, MB | at most | after |
| --- | --- | --- | --- | --- |
""" + "".join(f"{row}\n" for how in (EACH, FIRST) for row in rows(how, given.width))
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()

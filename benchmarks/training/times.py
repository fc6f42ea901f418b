"""Predicted against actual seconds of a run, for eight kinds of task.

    python benchmarks/training/times.py [--only tiny stream] [--write]

Each kind stresses one part of the time. A plan predicts each of its runs, and one of them is then
trained in this process, on one thread: the one whose prediction is nearest to a few seconds. Times
are wall times, so the machine should have nothing else to do.
"""

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

import isoflop
from isoflop.counting.run_seconds import RunSeconds
from isoflop.counting.speed import measure_speed
from isoflop.training.loop import train_model

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "training-times.md"
SECONDS = 4.0
"""About the seconds of each run."""


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(16, width)
        self.middle, self.outer = nn.Linear(width, width), nn.Linear(width, 8)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.relu(self.middle(torch.relu(self.inner(inputs)))))


def examples(number: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 16, generator=generator)
    teacher = torch.randn(16, 8, generator=torch.Generator().manual_seed(7))
    return TensorDataset(inputs, (inputs.sin() @ teacher).argmax(dim=1))


class Slow(Dataset):
    """Examples that take a while each: of waiting, as for a disk, or of work."""

    def __init__(self, data: TensorDataset, waits: float = 0.0, works: int = 0) -> None:
        self.data, self.waits, self.works = data, waits, works

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        if self.waits:
            time.sleep(self.waits)
        for _ in range(self.works):
            np.sort(np.arange(20_000)[::-1] % 977)
        return self.data[index]


class Stream(IterableDataset):
    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self):
        for index in range(len(self.data)):
            np.sort(np.arange(5_000)[::-1] % 977)
            yield self.data[index]


def heavy_collate(items: list[tuple[torch.Tensor, ...]]) -> object:
    for _ in items:
        np.sort(np.arange(20_000)[::-1] % 977)
    return default_collate(items)


def task_of(train_data: object, sizes: list[int], **recipe: object) -> isoflop.Task:
    fields = {"epochs": None, "batch_tokens": 64, "eval_tokens": 2000, **recipe}
    return isoflop.Task(
        model=MLP,
        size_param="width",
        sizes=sizes,
        train_data=train_data,
        val_data=examples(20_000, 1),
        loss=F.cross_entropy,
        recipe=isoflop.Recipe(**fields),
    )


SMALL, WIDE = [16, 32, 64], [512, 1024, 2048]
KINDS: dict[str, Callable[[TensorDataset], isoflop.Task]] = {
    "tiny": lambda data: task_of(data, [4, 8, 16]),
    "wide": lambda data: task_of(data, WIDE, batch_tokens=256),
    "slow items": lambda data: task_of(Slow(data, waits=0.001), SMALL),
    "heavy collate": lambda data: task_of(
        DataLoader(data, batch_size=64, collate_fn=heavy_collate), SMALL
    ),
    "long evaluation": lambda data: task_of(data, SMALL, eval_tokens=20_000, eval_passes=20),
    "stream": lambda data: task_of(Stream(data), SMALL),
    "two workers, items that wait": lambda data: task_of(
        DataLoader(Slow(data, waits=0.001), batch_size=64, num_workers=2), SMALL
    ),
    "two workers, items that work": lambda data: task_of(
        DataLoader(Slow(data, works=1), batch_size=64, num_workers=2), SMALL
    ),
    "many steps": lambda data: task_of(data, SMALL, batch_tokens=1),
}


def measured(kind: str) -> tuple[RunSeconds, float]:
    """The prediction of a run of about a few seconds, and the seconds that it took."""
    task = KINDS[kind](examples(20_000, 0))
    planned = isoflop.plan(task, budgets=[1e12]).specs
    spec = planned[len(planned) // 2]
    speed = measure_speed(task, planned)
    assert speed is not None
    rest = speed.seconds(spec)
    wanted = max(1.0, SECONDS - rest.evaluation) / rest.training
    spec = replace(spec, num_tokens=spec.num_tokens * wanted, flops=spec.flops * wanted)
    run = train_model(task, spec, isoflop.MemoryStore())
    assert run.wall_seconds is not None
    return speed.seconds(spec), run.wall_seconds


def cells(kind: str, told: RunSeconds, took: float) -> list[str]:
    parts = (told.compute, told.overhead, told.data, told.evaluation, told.startup)
    return [
        kind,
        *(f"{part:.2f}" for part in parts),
        f"{told.total:.2f}",
        f"{took:.2f}",
        f"**{told.total / took:.2f}**",
    ]


def table(rows: list[list[str]]) -> str:
    parts = ["compute", "overhead", "data", "evaluation", "start-up"]
    header = ["task", *parts, "predicted s", "actual s", "predicted / actual"]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    text = table([cells(kind, *measured(kind)) for kind in given.only])
    loads = f"{before:.1f} and {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    text += f"\n\nLoad of the machine when it began and ended: {loads}."
    print(text)
    if given.write:
        RESULTS.write_text(f"{_head()}\n\n{text}\n")


def _head() -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}"
    return (
        f"# Predicted and actual times\n\n{datetime.date.today()}, {machine}, one thread. "
        "`python benchmarks/training/times.py --write`"
    )


if __name__ == "__main__":
    main()

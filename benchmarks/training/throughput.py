"""Cost of the training loop: train_model() against a bare PyTorch loop, two workers against one.

Data in memory, and examples that take milliseconds to read, by a DataLoader with four workers.

    python benchmarks/training/throughput.py [--seconds 1] [--pairs 21] [--write]

Runs of the same model, batch, steps, schedule and clipping alternate in one process, so that load
falls on both alike. Times are of whole calls. CPU time is what a busy machine distorts least; wall
time is shown beside it.
"""

import argparse
import datetime
import math
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import isoflop
from isoflop.training.loop import train_model

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from python_source_gpt import GPT, loss, python_source  # noqa: E402

BATCHES = {16: 4, 64: 8, 256: 16}
"""Sequences per step by width: what the default recipe gives near 2e10, 1e12 and 1e14 FLOPs."""
RESULTS = ROOT / "benchmarks" / "results" / "training-throughput.md"


def bare_loop(task: isoflop.Task, spec: isoflop.RunSpec) -> float:
    """What a researcher would write by hand; gives the last loss."""
    model = task.model(**task.kwargs_for(spec.size))
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.95), fused=True)
    loader = loader_of(task.train_data, spec.batch)
    num_steps = num_steps_of(spec)
    num_warm = spec.warmup * num_steps
    for step, (inputs, targets) in enumerate(loader):
        if step == num_steps:
            break
        share = max(0.0, (step - num_warm) / (num_steps - num_warm))
        factor = (
            (step + 1) / num_warm if step + 1 <= num_warm else 0.5 * (1 + math.cos(math.pi * share))
        )
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * factor
        value = task.loss(model(inputs), targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return value.item()


class Slow(Dataset):
    """A data set each of whose examples takes a while to read, without using a core."""

    def __init__(self, data: Dataset, seconds: float) -> None:
        self.data, self.seconds = data, seconds

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> object:
        time.sleep(self.seconds)
        return self.data[index]


def loader_of(data: Dataset | DataLoader, batch: int) -> DataLoader:
    """The bare loop's loader: that of the task, with the run's batch."""
    num_workers = 0
    if isinstance(data, DataLoader):
        data, num_workers = data.dataset, data.num_workers
    return DataLoader(data, batch_size=batch, shuffle=True, drop_last=True, num_workers=num_workers)


def num_steps_of(spec: isoflop.RunSpec) -> int:
    return round(spec.num_tokens / (spec.batch * spec.tokens_per_example))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU and of wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def spec_of(task: isoflop.Task, width: int, seconds: float) -> isoflop.RunSpec:
    """A run of about so many seconds on this machine."""
    planned = isoflop.plan(
        replace(task, sizes=[width // 2, width, 2 * width]), budgets=[1e12]
    ).specs
    spec = replace(
        next(spec for spec in planned if spec.size == width), batch=BATCHES[width], seed=0
    )
    trial = with_steps(spec, 30)
    bare_loop(task, trial)
    return with_steps(spec, max(30, round(30 * seconds / timed(lambda: bare_loop(task, trial))[0])))


def with_steps(spec: isoflop.RunSpec, num_steps: int) -> isoflop.RunSpec:
    num_tokens = round(num_steps * spec.batch * spec.tokens_per_example)
    return replace(spec, num_tokens=num_tokens, flops=spec.flops_per_token * num_tokens)


def compare(task: isoflop.Task, width: int, seconds: float, num_pairs: int) -> list[str]:
    """One row: the speed of train_model as a share of the bare loop's, by quicker quartiles."""
    spec = spec_of(task, width, seconds)
    calls = [lambda: bare_loop(task, spec), lambda: train_model(task, spec, isoflop.MemoryStore())]
    times: list[list[tuple[float, float]]] = [[], []]
    for k in range(num_pairs):
        for which in (0, 1) if k % 2 == 0 else (1, 0):
            times[which].append(timed(calls[which]))
    (bare, bare_wall), (ours, our_wall) = (
        [quarter(column) for column in zip(*rows, strict=True)] for rows in times
    )
    return [
        str(width),
        str(spec.batch),
        str(num_steps_of(spec)),
        f"{1e3 * bare / num_steps_of(spec):.2f}",
        f"**{bare / ours:.3f}**",
        f"{bare_wall / our_wall:.3f}",
    ]


def quarter(values: Sequence[float]) -> float:
    """The quicker quartile: load only ever adds time."""
    return sorted(values)[len(values) // 4]


def read_ahead(
    task: isoflop.Task, milliseconds: float, seconds: float, num_pairs: int
) -> list[str]:
    """One row: the same for examples that take a while, read by four workers; wall time."""
    width = 16
    spec = replace(spec_of(task, width, 0.1), batch=16)
    # four workers read this many examples in the time of a run
    spec = with_steps(spec, max(20, round(seconds * 4e3 / milliseconds / spec.batch)))
    data = DataLoader(Slow(task.train_data, milliseconds / 1e3), num_workers=4)
    slow = replace(task, train_data=data)
    calls = [lambda: bare_loop(slow, spec), lambda: train_model(slow, spec, isoflop.MemoryStore())]
    train_model(slow, with_steps(spec, 20), isoflop.MemoryStore())  # starts the workers
    times: list[list[float]] = [[], []]
    for k in range(num_pairs):
        for which in (0, 1) if k % 2 == 0 else (1, 0):
            times[which].append(timed(calls[which])[1])
    bare, ours = map(quarter, times)
    return [
        f"{milliseconds:g} ms",
        str(num_steps_of(spec)),
        f"{num_steps_of(spec) * spec.batch / bare:.0f}",
        f"{num_steps_of(spec) * spec.batch / ours:.0f}",
        f"**{bare / ours:.3f}**",
    ]


def workers(task: isoflop.Task, num_pairs: int) -> list[str]:
    """Wall seconds of the same runs on one one-thread worker and on two, their start included."""
    sized = replace(
        task, sizes=[12, 16, 24], recipe=isoflop.Recipe(seeds=tuple(range(8)), eval_tokens=2**14)
    )
    sweep = isoflop.plan(sized, budgets=[3e11])
    sweep = replace(sweep, specs=tuple(spec for spec in sweep.specs if spec.size == 16))
    took: dict[int, list[float]] = {1: [], 2: []}
    for k in range(2 * num_pairs):
        count = (1, 2)[k % 2]
        with tempfile.TemporaryDirectory() as folder:
            call = lambda folder=folder, count=count: isoflop.train(  # noqa: E731
                sized, sweep, store=folder, executor=isoflop.Processes(count), progress=False
            )
            took[count].append(timed(call)[1])
    ratios = sorted(one / two for one, two in zip(took[1], took[2], strict=True))
    return [
        f"{len(sweep)} runs of width 16",
        f"{statistics.median(took[1]):.1f} s",
        f"{statistics.median(took[2]):.1f} s",
        f"**{statistics.median(ratios):.2f}x** ({ratios[0]:.2f}-{ratios[-1]:.2f})",
    ]


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1.0, help="of each timed run")
    arguments.add_argument("--pairs", type=int, default=21)
    arguments.add_argument("--widths", type=int, nargs="*", default=list(BATCHES))
    arguments.add_argument("--items", type=float, nargs="*", default=[2.0, 10.0], help="ms each")
    arguments.add_argument("--no-workers", action="store_true")
    arguments.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    train_data, val_data = python_source()
    # Almost nothing is held out: training is what is timed.
    recipe = isoflop.Recipe(eval_tokens=64, epochs=None)
    fields = {
        "model": GPT,
        "size_param": "width",
        "train_data": train_data,
        "val_data": val_data,
        "loss": loss,
    }
    task = isoflop.Task(**fields, recipe=recipe)
    header = [
        "width",
        "batch",
        "steps",
        "ms a step",
        "train_model, share of the bare loop's speed (CPU)",
        "(wall)",
    ]
    texts = []
    if given.widths:
        texts.append(
            table(
                header, [compare(task, width, given.seconds, given.pairs) for width in given.widths]
            )
        )
    if given.items:
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores
        rows = [read_ahead(task, each, given.seconds, given.pairs) for each in given.items]
        header = [
            "an example takes",
            "steps of 16",
            "bare loop, examples/s",
            "train_model, examples/s",
            "share of the bare loop's speed (wall)",
        ]
        texts.append(table(header, rows))
    if not given.no_workers:
        texts.append(table(["sweep", "one worker", "two workers", "speed-up"], [workers(task, 1)]))
    loads = f"{load:.1f} and {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    texts.append(
        f"Load of the machine when it began and ended: {loads}. "
        f"Quicker quartiles of {given.pairs} alternating pairs; workers: median (range)."
    )
    text = "\n\n".join(texts)
    print(text)
    if given.write:
        RESULTS.write_text(f"{_head()}\n\n{text}\n")


def _head() -> str:
    machine = (
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}, "
        "one thread"
    )
    return (
        f"# Throughput of training\n\n{datetime.date.today()}, {machine}. "
        f"`python benchmarks/training/throughput.py --write`"
    )


if __name__ == "__main__":
    main()

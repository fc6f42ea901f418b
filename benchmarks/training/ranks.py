"""Throughput of a run on two processes against one, with and without overlap, and PyTorch's DDP.

    python benchmarks/training/ranks.py [--batch 128] [--steps 3] [--rounds 3] [--write]

Each process has one thread, and the two share one machine through gloo. The two processes take
turns with the variants, round by round, so that load falls on all alike. Only steps after the first
two of each turn are timed.
"""

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import isoflop
from isoflop.counting.counting import BatchCounter
from isoflop.training.batches import training_batches
from isoflop.training.device_copies import DeviceCopies
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.reduction import GradientSum
from isoflop.training.sharding import shard
from isoflop.training.state import State
from isoflop.training.step import StepContext, train_step
from isoflop.user_code.data import open_data, to_device
from isoflop.user_code.loss import batch_loss
from isoflop.user_code.optimiser import make_optimizer, new_model

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))
from python_source_gpt import GPT, loss, python_source  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "training-ranks.md"
NUM_WARM = 2
ALONE, OVERLAP, AFTER, DDP, SHARDED = (
    "one process",
    "two, sums during the backward pass",
    "two, sums after the backward pass",
    "two, PyTorch's DDP in a bare loop",
    "two, sharded (FSDP2)",
)


def setting(width: int, batch: int) -> tuple[isoflop.Task, isoflop.RunSpec]:
    train_data, val_data = python_source()
    task = isoflop.Task(
        model=GPT,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        sizes=[width // 2, width, 2 * width],
        recipe=isoflop.Recipe(eval_tokens=64, epochs=None),
    )
    planned = isoflop.plan(task, budgets=[1e12]).specs
    spec = next(spec for spec in planned if spec.size == width)
    return task, replace(spec, batch=batch, seed=0)


class Watched(GradientSum):
    """Notes the share of sums that have arrived when the backward pass ends."""

    arrived: ClassVar[list[float]] = []

    def launch_all(self) -> None:
        if self.overlaps:
            done = sum(work.is_completed() for work in self._sums)
            Watched.arrived.append(done / len(self._buckets))
        super().launch_all()


def steps_of(
    task: isoflop.Task, spec: isoflop.RunSpec, ranks: Ranks, variant: str
) -> Callable[[], object]:
    """A function that takes one step of a variant."""
    torch.manual_seed(0)
    model = new_model(task, spec.size).train()
    if variant == SHARDED:
        shard(model)
    state = State(model, make_optimizer(task, spec.settings, model))
    order = training_batches(
        open_data(task.train_data, "train_data"),
        spec.batch,
        0,
        0,
        None,
        (ranks.rank, ranks.num_ranks),
    )
    if variant == DDP:
        return ddp_step(task, model, state, order)
    sums = None
    if variant in (OVERLAP, AFTER):
        sums = Watched(state.parameters, overlaps=variant == OVERLAP)
    counter = BatchCounter(task, spec.size, spec.flops_per_token)
    copies = DeviceCopies(ranks.device)
    context = StepContext(task, spec, ranks, model, nullcontext(), counter, copies, sums)
    batches = copies.ahead(order)
    return lambda: train_step(context, state, batches, None)


def ddp_step(
    task: isoflop.Task, model: nn.Module, state: State, batches: Iterator[object]
) -> Callable[[], object]:
    """What a researcher would write by hand."""
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)

    def step() -> None:
        value = batch_loss(task, parallel, to_device(next(batches), "cpu"))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        state.optimizer.step()
        state.drop_gradients()
        value.item()

    return step


def timed(step: Callable[[], object], num_steps: int) -> float:
    """Seconds per step."""
    for _ in range(NUM_WARM):
        step()
    began = time.perf_counter()
    for _ in range(num_steps):
        step()
    return (time.perf_counter() - began) / num_steps


def measure(width: int, batch: int, num_steps: int, num_rounds: int) -> None:
    """Print the median seconds per step of each variant, and the share of sums that were hidden."""
    torch.set_num_threads(1)
    ranks = current_ranks()
    task, spec = setting(width, batch)
    variants = [ALONE] if ranks.num_ranks == 1 else [OVERLAP, AFTER, DDP, SHARDED]
    steps = {name: steps_of(task, spec, ranks, name) for name in variants}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(num_rounds):
        for name in variants:
            seconds[name].append(timed(steps[name], num_steps))
    if ranks.is_first:
        for name, values in seconds.items():
            arrived = statistics.mean(Watched.arrived) if name == OVERLAP else 0.0
            print(f"RESULT|{name}|{statistics.median(values)}|{arrived}", flush=True)


def results_of(num_ranks: int, options: list[str]) -> dict[str, tuple[float, float]]:
    """Seconds per step and share of hidden sums by variant, from processes of their own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_ranks}"]
    command = [sys.executable, *(launcher if num_ranks > 1 else []), __file__, "--measure"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("RESULT|")]
    return {name: (float(median), float(hidden)) for _, name, median, hidden in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument(
        "--batch", type=int, default=128, help="sequences, of all processes together"
    )
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = parser.parse_args()
    if given.measure:
        measure(given.width, given.batch, given.steps, given.rounds)
        return
    options = [f"--{name}={getattr(given, name)}" for name in ("width", "batch", "steps", "rounds")]
    alone, pair = results_of(1, options), results_of(2, options)
    again = results_of(1, options)
    base = statistics.mean([alone[ALONE][0], again[ALONE][0]])
    rows = [f"| {ALONE} | {1e3 * base:.1f} | 1 |"]
    rows += [
        f"| {name} | {1e3 * median:.1f} | {base / median:.2f}x |"
        for name, (median, _) in pair.items()
    ]
    hidden = pair[OVERLAP][1]
    text = "\n".join(["| variant | ms a step | throughput |", "| --- | --- | --- |", *rows])
    text += (
        f"\n\nWhen the backward pass ended, the sums of {hidden:.0%} of the buckets had arrived on "
        f"the first process."
    )
    print(text)
    if given.write:
        RESULTS.write_text(f"{_head(given)}\n\n{text}\n")


def _head(given: argparse.Namespace) -> str:
    return (
        f"# Throughput of a run on two processes\n\n{datetime.date.today()}, {os.cpu_count()} "
        f"cores ({platform.machine()}), no GPU, torch {torch.__version__}, gloo, one thread per "
        f"process. "
        f"Width {given.width}, {given.batch} sequences a step; medians of {given.rounds} turns of "
        f"{given.steps} steps. `python benchmarks/training/ranks.py --write`"
    )


if __name__ == "__main__":
    main()

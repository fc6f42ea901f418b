"""How long a sweep takes on 1 to 64 slots against the shortest time that any order could take.

    python benchmarks/executors/makespan.py [--write]

63 runs of the demo's byte-level GPT (3 budgets, 7 sizes, 3 seeds) with the times that the plan
predicts. Once as arithmetic, in the order that executors use; once for real, through Processes with
workers that sleep, the times shrunk so that the bound is 20 s. About two minutes, and little of it
is work.
"""

import heapq
import random
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import isoflop
from isoflop.training.executors.contract import Demand, longest_first

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
sys.path.insert(0, str(Path(__file__).parent))
from report import publish, table

SLOTS = (1, 2, 8, 64)
BOUND_SECONDS = 20.0


@dataclass(frozen=True)
class Sleeping:
    """Work that takes the time that the plan predicts, shrunk."""

    demands: Mapping[str, Demand]
    scale: float

    def __call__(self, spec: isoflop.RunSpec) -> isoflop.Run:
        time.sleep(self.demands[spec.id].seconds * self.scale)
        return isoflop.Run(
            spec=spec, status="completed", loss=1.0, num_tokens=spec.num_tokens, flops=spec.flops
        )


def planned() -> isoflop.Sweep:
    from python_source_gpt import GPT, loss, python_source

    train_data, val_data = python_source()
    recipe = isoflop.Recipe(seeds=(0, 1, 2))
    task = isoflop.Task(
        model=GPT,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        recipe=recipe,
    )
    return isoflop.plan(task, budgets=[2e10, 5.3e10, 1.4e11])


def bound(seconds: Iterable[float], slots: int) -> float:
    """No order ends before its longest run, nor before all slots have shared the work evenly."""
    seconds = list(seconds)
    return max(max(seconds), sum(seconds) / slots)


def makespan(seconds: Iterable[float], slots: int) -> float:
    """The end of the last run when each next one goes to the slot that is free first."""
    ends = [0.0] * slots
    for one in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + one)
    return max(ends)


def measured(work: Sleeping, specs: list[isoflop.RunSpec], slots: int) -> float:
    started = time.perf_counter()
    for _ in isoflop.Processes(slots).map(work, specs):
        pass
    return time.perf_counter() - started


def main() -> None:
    sweep = planned()
    specs = list({spec.id: spec for spec in sweep.specs}.values())
    demands = {spec.id: Demand(seconds=sweep.seconds[spec.id]) for spec in specs}
    ordered = [demands[spec.id].seconds for spec in longest_first(Sleeping(demands, 1.0), specs)]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    rows = [
        (
            "slots",
            "longest first / bound",
            "planned order / bound",
            "shuffled / bound",
            "Processes / bound",
        )
    ]
    for slots in SLOTS:
        least = bound(ordered, slots)
        ratios = [
            makespan(order, slots) / least
            for order in (ordered, [demands[s.id].seconds for s in specs], shuffled)
        ]
        real = measured(Sleeping(demands, BOUND_SECONDS / least), specs, slots) / BOUND_SECONDS
        rows.append((str(slots), *(f"{ratio:.3f}" for ratio in (*ratios, real))))
    longest, total = max(ordered), sum(ordered)
    about = (
        f"{len(specs)} runs of the demo's GPT at 3 budgets, 7 sizes, 3 seeds; predicted times "
        f"{min(ordered):.2g} to {longest:.2g} s, {total:.3g} s together. The bound is the longer "
        "of the longest run and the even share. The last column is `isoflop.Processes` with "
        "workers that sleep, times shrunk to a bound of "
        f"{BOUND_SECONDS:.0f} s, the start of all workers included; the others are arithmetic."
    )
    publish(
        "executors-makespan",
        "Makespan of a sweep against its lower bound",
        [about, table(rows)],
        "--write" in sys.argv,
    )


if __name__ == "__main__":
    main()

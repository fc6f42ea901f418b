"""A sweep that is configured with argparse, on any executor.

    python examples/argparse_sweep.py --model llama --budgets 2e10 6e10 2e11 --seeds 0 1
    python examples/argparse_sweep.py --executor ray://head:10001 --store /shared/gpt

Several of these on one store share the work: each run is trained by one of them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import isoflop
import train_gpt
from isoflop.training.executors.from_string import NAMES, executor_from


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", choices=train_gpt.FAMILIES, default="gpt")
    options.add_argument("--corpus", choices=train_gpt.CORPORA, default="stdlib")
    options.add_argument(
        "--budgets", type=float, nargs="+", default=[2e10, 6e10, 2e11], help="FLOPs"
    )
    options.add_argument("--target", type=float, default=1e13, help="FLOPs of the final run")
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--store", default="runs/argparse")
    options.add_argument("--executor", type=executor_from, default=isoflop.Processes(), help=NAMES)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    task = replace(
        train_gpt.task(given.model, given.corpus), recipe=isoflop.Recipe(seeds=tuple(given.seeds))
    )
    sweep = isoflop.plan(task, budgets=given.budgets)
    print(sweep)
    runs = isoflop.train(task, sweep, store=given.store, executor=given.executor)
    print(isoflop.predict(isoflop.fit(runs), flops=given.target, task=task))


if __name__ == "__main__":
    main()

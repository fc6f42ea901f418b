"""One sweep, with the executor that its first argument names."""

import sys

import isoflop

from teacher import task

name = sys.argv[1]
executors = {
    "in-process": lambda: isoflop.InProcess(),
    "processes": lambda: isoflop.Processes(2),
    "ray": lambda: isoflop.Ray("local"),
    "slurm": lambda: isoflop.Slurm(cluster="local"),
    "torchrun": lambda: isoflop.InProcess(),
}

sweep = isoflop.plan(task, budgets=[1e6])
runs = isoflop.train(
    task, sweep, store=f"runs/{name}", executor=executors[name](), progress=False
)
best = min(runs, key=lambda run: run.loss)
print(f"{len(runs)} runs; the lowest loss is {best.loss!r}, at size {best.size}")

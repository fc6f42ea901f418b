"""What an executor adds to each run, once it is warm, and what the store adds.

    python benchmarks/executors/overhead.py [--write]

Runs that do nothing, one worker: the time from the first record to the last over their number.
About a minute.
"""

import sys
import tempfile
import time
from pathlib import Path

import isoflop
from isoflop.training.executors.contract import Executor

sys.path.insert(0, str(Path(__file__).parent))
from report import publish, table

NUM_RUNS = 200
NUM_JOBS = 4


def specs(number: int) -> list[isoflop.RunSpec]:
    return [
        isoflop.RunSpec(num_params=1e6, num_tokens=2e7, flops=1.2e14, seed=seed)
        for seed in range(number)
    ]


def nothing(spec: isoflop.RunSpec) -> isoflop.Run:
    """The quickest work there is."""
    return isoflop.Run(
        spec=spec, status="completed", loss=1.0, num_tokens=spec.num_tokens, flops=spec.flops
    )


def seconds_per_run(executor: Executor, number: int) -> tuple[float, float]:
    """Until the first record, and between two records after it."""
    started = time.perf_counter()
    ends = [time.perf_counter() for _ in executor.map(nothing, specs(number))]
    return ends[0] - started, (ends[-1] - ends[0]) / (number - 1)


def store_seconds() -> float:
    """What a worker does around a run: lease, look for a record, spec, record, lease given back."""
    store = isoflop.DirectoryStore(tempfile.mkdtemp())
    started = time.perf_counter()
    for spec in specs(NUM_RUNS):
        with store.lease(spec.id, "benchmark"):
            store.read_run(spec.id)
            store.write_spec(spec)
            store.write_run(nothing(spec))
    return (time.perf_counter() - started) / NUM_RUNS


def main() -> None:
    import ray

    ray.init(
        "local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    slurm = isoflop.Slurm(tempfile.mkdtemp(), cluster="local", look_seconds=0.05)
    rows = [("executor", "first record", "each further run", "target")]
    for name, executor, number, target in (
        ("InProcess()", isoflop.InProcess(), NUM_RUNS, ""),
        ("Processes(1)", isoflop.Processes(1), NUM_RUNS, "50 ms"),
        ("Ray(), one CPU, cluster running", isoflop.Ray(), NUM_RUNS, "300 ms"),
        ("Slurm(cluster='local'), all at once", slurm, NUM_JOBS, ""),
    ):
        first, each = seconds_per_run(executor, number)
        rows.append((name, f"{first:.2f} s", f"{each * 1e3:.2f} ms", target))
    rows.append(
        ("a folder as store: lease, spec, record", "", f"{store_seconds() * 1e3:.2f} ms", "")
    )
    about = (
        f"{NUM_RUNS} runs that do nothing ({NUM_JOBS} Slurm jobs, each a new process), one worker."
    )
    publish(
        "executors-overhead",
        "What an executor adds to each run",
        [about, table(rows)],
        "--write" in sys.argv,
    )


if __name__ == "__main__":
    main()

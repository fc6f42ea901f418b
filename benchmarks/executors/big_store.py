"""A store with 10,000 records: the time to write, read and list it, and the memory of its runs.

    python benchmarks/executors/big_store.py [--write]

Each record has a training curve of 100 points. About a minute.
"""

import os
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isoflop
from isoflop.storage.status import stage_statuses

sys.path.insert(0, str(Path(__file__).parent))
from report import publish, table

NUM_RECORDS = 10_000


def fill(store: isoflop.DirectoryStore) -> None:
    specs = [
        isoflop.RunSpec(
            num_params=1e6 + seed, num_tokens=2e7, flops=1.2e14, budget=1.2e14, size=64, batch=32,
            tokens_per_example=128.0, lr=0.00123456789, beta2=0.95, weight_decay=0.1, warmup=0.1,
            schedule="cosine", clip=1.0, precision="auto", epochs=0.37, seed=seed,
            fingerprint="0123456789abcdef",
        )
        for seed in range(NUM_RECORDS)
    ]  # fmt: skip
    store.write_stage("all", tuple(specs), {})
    for spec in specs:
        curve = tuple((spec.num_tokens * (k + 1) / 100, 5.0 - 0.0123456789 * k) for k in range(100))
        store.write_spec(spec)
        store.write_run(
            isoflop.Run(
                spec=spec, status="completed", loss=3.123456789, loss_stderr=0.0123456789,
                curve=curve, num_tokens=spec.num_tokens, flops=spec.flops, seconds=12.3456789,
                device="cpu (x86_64)",
                versions={"isoflop": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            )
        )  # fmt: skip


def timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def megabytes(action: Callable[[], Any]) -> float:
    """Memory of what an action gives."""
    tracemalloc.start()
    kept = action()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return size / 1e6


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        store = isoflop.DirectoryStore(folder)
        rows = [("what", "measured", "target")]
        rows.append(
            (
                "write spec and record",
                f"{timed(lambda: fill(store)) / NUM_RECORDS * 1e3:.2f} ms each",
                "",
            )
        )
        loads = sorted(timed(store.read_runs) for _ in range(5))
        rows.append(
            (
                "load all runs with curves",
                f"{loads[2]:.2f} s (median of 5, files in the page cache)",
                "2 s",
            )
        )
        before = time.process_time()
        store.read_runs()
        rows.append(
            ("the same, time on the processor", f"{time.process_time() - before:.2f} s", "")
        )
        rows.append(("memory of the loaded runs", f"{megabytes(store.read_runs):.0f} MB", ""))
        rows.append(
            (
                "isoflop status: stages, records, leases",
                f"{timed(lambda: stage_statuses(store)):.2f} s",
                "",
            )
        )
        ids = [path.name for path in folder.iterdir() if path.name != "stages"]
        rows.append(
            (
                "look up one record",
                f"{timed(lambda: [store.read_run(i) for i in ids[:1000]]):.2f} ms",
                "",
            )
        )
        about = (
            f"{NUM_RECORDS:,} records, each with a training curve of 100 points, in one folder of "
            f"a local disk. The load average was {os.getloadavg()[0]:.0f}."
        )
        publish(
            "executors-store",
            "A store with 10,000 records",
            [about, table(rows)],
            "--write" in sys.argv,
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""Time and memory of very large inputs: a CSV of a million rows, Approach 1 on 10,000 curves.

Rows are of the law L = 1.8 + 480 / N^.35 + 2100 / D^.37 with noise of .4 %, at sizes from 1M to 10B
params and 1 to 1,000 tokens per param; a curve has 100 points. Each line is a process of its own,
whose peak memory counts all that Python and its libraries need. Times are of the processor; those
of `pandas.read_csv` in the same process say how fast the machine was then.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tables import a_run, markdown, write

LAW = (1.8, 480.0, 2100.0, 0.35, 0.37)
TABLES = (10_000, 100_000, 1_000_000)
CURVES = (1_000, 10_000)

Array = NDArray[np.float64]


def loss_of(N: Array, D: Array) -> Array:
    E, A, B, alpha, beta = LAW
    return np.asarray(E + A * N**-alpha + B * D**-beta)


def drawn(number: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    N = 10 ** random.uniform(6, 10, number)
    return N, N * 10 ** random.uniform(0, 3, number)


def write_table(path: Path, number: int) -> None:
    """A CSV of params, tokens, FLOPs and loss."""
    N, D = drawn(number)
    noise = np.exp(0.004 * np.random.default_rng(1).standard_normal(number))
    rows = np.stack([np.round(N), np.round(D), 6 * N * D, loss_of(N, D) * noise], axis=1)
    head, formats = "params,tokens,flops,loss", ["%d", "%d", "%.16g", "%.6f"]
    np.savetxt(path, rows, fmt=formats, delimiter=",", header=head, comments="")


def seconds(call: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def peak() -> float:
    """Most memory that this process held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def of_table(number: int) -> dict[str, float]:
    """Read, fit and predict, as the command line does."""
    import isoflop

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        write_table(path, number)
        reading, runs = seconds(lambda: isoflop.read_runs(path))
        fitting, fitted = seconds(lambda: isoflop.fit(runs))  # type: ignore[arg-type]
        answering, best = seconds(
            lambda: isoflop.predict(fitted, flops=1e24)  # type: ignore[arg-type]
        )
        memory = peak()
        import pandas as pd

        peer, _ = seconds(lambda: pd.read_csv(path))
    size = float(best.num_params.value)  # type: ignore[attr-defined]
    return {
        "read": reading,
        "answer": fitting + answering,
        "memory": memory,
        "peer": peer,
        "N": size,
    }


def of_curves(number: int) -> dict[str, float]:
    """Approach 1 on training curves."""
    import isoflop

    N, D = drawn(number)
    share = np.linspace(0.01, 1, 100)
    noise = np.exp(0.004 * np.random.default_rng(1).standard_normal((number, 100)))
    losses = loss_of(N[:, None], D[:, None] * share) * noise
    runs = []
    for row in range(number):
        run = a_run(
            float(N[row]), float(D[row]), float(losses[row, -1]), float(6 * N[row] * D[row])
        )
        curve = tuple(zip((D[row] * share).tolist(), losses[row].tolist(), strict=True))
        runs.append(type(run)(**{**vars(run), "curve": curve}))
    before = peak()
    taken, _ = seconds(lambda: isoflop.fit(runs, isoflop.Envelope()))
    return {"answer": taken, "before": before, "memory": peak()}


def measured(kind: str, number: int) -> dict[str, float]:
    """One case in a process of its own."""
    command = [sys.executable, __file__, kind, str(number)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(shown.splitlines()[-1])
    return found


def main() -> None:
    tables = {number: measured("table", number) for number in TABLES}
    curves = {number: measured("curves", number) for number in CURVES}
    _, A, B, alpha, beta = LAW
    true = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (1e24 / 6) ** (beta / (alpha + beta))
    write(
        "fitting-large.md",
        "Time and memory of very large inputs",
        "OMP_NUM_THREADS=1 python benchmarks/fitting/large.py",
        (__doc__ or "").split("\n\n", 1)[1].strip(),
        markdown(
            [
                "rows",
                "read",
                "fit and predict",
                "both, in pandas.read_csv",
                "peak memory",
                "params at 1e24 FLOPs",
            ],
            [
                [
                    f"{number:,}",
                    f"{found['read']:.1f} s",
                    f"{found['answer']:.1f} s",
                    f"{(found['read'] + found['answer']) / found['peer']:.0f}",
                    f"{found['memory']:.2f} GB",
                    f"{found['N'] / true - 1:+.1%} of the law's",
                ]
                for number, found in tables.items()
            ],
        ),
        markdown(
            ["curves of 100 points", "fit(runs, Envelope())", "peak memory", "of which the runs"],
            [
                [
                    f"{number:,}",
                    f"{found['answer']:.1f} s",
                    f"{found['memory']:.2f} GB",
                    f"{found['before']:.2f} GB",
                ]
                for number, found in curves.items()
            ],
        ),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        case = {"table": of_table, "curves": of_curves}[sys.argv[1]]
        print(json.dumps(case(int(sys.argv[2]))))
    else:
        main()

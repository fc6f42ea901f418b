"""Speed of fitting 40 runs and of 1,000 resamples, beside SciPy and the usual 243 starts of L-BFGS.

The law is L = E + A / N^alpha + B / D^beta on log loss. `least_squares` gets one good start and
finite differences; the 243-start grid is that of the public notebooks (Hoffmann et al. 2022, Huber
1e-3, log-sum-exp). All in one process.
Peers that are not installed are skipped. Times are of the processor, the best of several calls.
"""

import importlib.util
import itertools
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares, minimize
from simulated import WORLDS, simulated
from tables import SWEEPS, markdown, published, write

from isoflop.fitting.fit import fit
from isoflop.fitting.isoflop import IsoFLOP
from isoflop.fitting.kriging import Kriging
from isoflop.fitting.parametric import Parametric
from isoflop.fitting.points import Array, Points
from isoflop.fitting.uncertainty import resampled_law
from isoflop.optimum import predict

DELTA = 1e-3
STARTS = list(itertools.product((0, 10, 20), (0, 10, 20), (-1, 0, 1), (0, 0.5, 1), (0, 0.5, 1)))


def best_of(call: Callable[[], object], times: int = 5) -> float:
    """Processor seconds of the fastest call: other work on the machine does not count."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def log_law(p: Array, log_N: Array, log_D: Array) -> Array:
    """p = log A, log B, log E, alpha, beta."""
    parts = np.stack([p[0] - p[3] * log_N, p[1] - p[4] * log_D, np.full(len(log_N), p[2])])
    return np.asarray(np.logaddexp.reduce(parts, axis=0))


def scipy_once(points: Points) -> float:
    """One start of SciPy's least squares at good values; half the sum of squares."""
    x, y, target = np.log(points.N), np.log(points.D), np.log(points.L)
    start = np.array([6.0, 7.0, 0.5, 0.35, 0.37])
    return float(least_squares(lambda p: log_law(p, x, y) - target, start, method="lm").cost)


def usual_grid(points: Points) -> float:
    """The lowest Huber sum of 243 starts of L-BFGS."""
    x, y, target = np.log(points.N), np.log(points.D), np.log(points.L)

    def objective(p: Array) -> tuple[float, Array]:
        parts = np.stack([p[0] - p[3] * x, p[1] - p[4] * y, np.full(len(x), p[2])])
        model = np.logaddexp.reduce(parts, axis=0)
        away, weight = model - target, np.exp(parts - model)
        outer = np.clip(away, -DELTA, DELTA)
        total = np.sum(
            np.where(np.abs(away) <= DELTA, away**2 / 2, DELTA * (np.abs(away) - DELTA / 2))
        )
        gradient = [weight[0], weight[1], weight[2], -weight[0] * x, -weight[1] * y]
        return float(total) * 1e6, np.array([np.sum(outer * part) for part in gradient]) * 1e6

    found = [
        minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000})
        for start in STARTS
    ]
    return min(float(one.fun) for one in found) / 1e6


def peer(points: Points) -> list[list[object]]:
    if importlib.util.find_spec("chinchilla") is None:
        return [["chinchilla (PyPI)", "not installed", "", ""]]
    import tempfile

    import pandas as pd
    from chinchilla import Chinchilla

    grid = {
        "e": [-1, 0, 1],
        "a": [0, 10, 20],
        "b": [0, 10, 20],
        "alpha": [0, 0.5, 1],
        "beta": [0, 0.5, 1],
    }
    with tempfile.TemporaryDirectory() as folder:
        columns = {"C": points.C, "N": points.N, "D": points.D, "loss": points.L}
        pd.DataFrame(columns).to_csv(f"{folder}/df.csv", index=False)
        start = (
            time.perf_counter()
        )  # it works in processes of its own, whose processor time is not seen here
        Chinchilla(folder, grid).fit()
        seconds = time.perf_counter() - start
    return [["chinchilla (PyPI), 243 starts, on the clock", f"{1e3 * seconds:.0f} ms", "", ""]]


def timings(points: Points, runs: list) -> list[list[object]]:
    scipy = best_of(lambda: scipy_once(points), 20)

    def line(what: str, call: Callable[[], object], times: int = 10) -> list[object]:
        seconds = best_of(call, times)
        return [what, f"{1e3 * seconds:.2f} ms", f"{seconds / scipy:.2g}", f"{usual / seconds:.2g}"]

    usual = best_of(lambda: usual_grid(points), 1)
    random = np.random.default_rng
    robust, kriged = Parametric().solve(points), Kriging().solve(points)
    return [
        [
            "SciPy least_squares, one good start",
            f"{1e3 * scipy:.2f} ms",
            "1",
            f"{usual / scipy:.2g}",
        ],
        ["243 starts of L-BFGS", f"{1e3 * usual:.0f} ms", f"{usual / scipy:.2g}", "1"],
        line("Parametric(delta=inf)", lambda: Parametric(delta=np.inf).solve(points)),
        line("Parametric()", lambda: Parametric().solve(points)),
        line("IsoFLOP()", lambda: IsoFLOP().solve(points)),
        line("Kriging(): law and discrepancy, all integrated", lambda: Kriging().solve(points)),
        line("1,000 resamples, Parametric()", lambda: resampled_law(robust, points, 1000, 0)),
        line(
            "1,000 draws, Kriging()", lambda: kriged.draw(1000, random(0)) if kriged.draw else None
        ),
        line("fit(runs, Kriging()), 1,000 draws, all checks", lambda: fit(runs, Kriging()), 3),
        line("... and predict()", lambda: predict(fit(runs, Kriging()), flops=1e21), 3),
        *peer(points),
    ]


def objectives() -> list[list[object]]:
    """A single call against the best of 243 starts on every public sweep."""
    rows: list[list[object]] = []
    for name, file in SWEEPS.items():
        points = Points.of(published(file))
        ours, theirs = Parametric(delta=DELTA).solve(points).objective, usual_grid(points)
        seconds = best_of(lambda points=points: Parametric(delta=DELTA).solve(points), 3)
        rows.append(
            [
                name,
                len(points),
                f"{theirs:.8g}",
                f"{ours:.8g}",
                f"{ours / theirs - 1:+.1e}",
                f"{1e3 * seconds:.1f} ms",
            ]
        )
    return rows


def larger() -> list[list[object]]:
    rows: list[list[object]] = []
    for name, file in {
        **SWEEPS,
        "Gemstones": "gemstones_hot.csv",
        "Gemstones, curves": "gemstones_curves_hot.csv",
    }.items():
        runs = published(file)
        points = Points.of(runs)
        solve = best_of(lambda points=points: Kriging().solve(points), 2)
        whole = best_of(lambda runs=runs: fit(runs, Kriging()), 1)
        rows.append([name, len(runs), f"{1e3 * solve:.0f} ms", f"{1e3 * whole:.0f} ms"])
    return rows


def main() -> None:
    runs = simulated(WORLDS["mild misfit"], np.random.default_rng(0)).runs
    write(
        "fitting-speed.md",
        "Speed of fitting",
        "OMP_NUM_THREADS=1 python benchmarks/fitting/speed.py",
        __doc__.split("\n\n", 1)[1].strip(),
        markdown(
            ["40 runs", "time", "in SciPy fits", "times faster than 243 starts"],
            timings(Points.of(runs), runs),
        ),
        "One call of `Parametric(delta=1e-3)` against the best of 243 starts (Huber sums):",
        markdown(
            ["sweep", "runs", "best of 243 starts", "ours", "difference", "time"],
            objectives(),
        ),
        "Kriging on larger tables: the law alone, and `fit()` with 1,000 draws, the held-out check "
        "and all notes:",
        markdown(["table", "runs", "solve", "fit()"], larger()),
    )


if __name__ == "__main__":
    main()

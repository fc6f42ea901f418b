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
from drawn_worlds import WORLDS, simulated
from scipy.optimize import least_squares, minimize
from tables import SWEEPS, markdown, published, write

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.fitting.uncertainty import resampled_law
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.runs import Run

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
        # It works in processes of its own, whose processor time is not seen here.
        start = time.perf_counter()
        Chinchilla(folder, grid).fit()
        seconds = time.perf_counter() - start
    return [["chinchilla (PyPI), 243 starts, on the clock", f"{1e3 * seconds:.0f} ms", "", ""]]


def timings(points: Points, runs: list[Run]) -> list[list[object]]:
    scipy = best_of(lambda: scipy_once(points), 20)
    usual = best_of(lambda: usual_grid(points), 1)
    robust, kriged, path = (
        approach.solve(points) for approach in (Parametric(), Kriging(), Bayesian())
    )
    found = fit(runs)

    def line(what: str, call: Callable[[], object], times: int = 10) -> list[object]:
        return _line(what, best_of(call, times), scipy, usual)

    return [
        _line("SciPy least_squares, one good start", scipy, scipy, usual),
        _line("243 starts of L-BFGS", usual, scipy, usual),
        line("Parametric(delta=inf)", lambda: Parametric(delta=np.inf).solve(points)),
        line("Parametric()", lambda: Parametric().solve(points)),
        line("IsoFLOP()", lambda: IsoFLOP().solve(points)),
        line("Kriging(): law and discrepancy, all integrated", lambda: Kriging().solve(points)),
        line("Bayesian(), the default", lambda: Bayesian().solve(points)),
        line("1,000 resamples, Parametric()", lambda: resampled_law(robust, points, 1000, 0)),
        line("1,000 draws, Kriging()", lambda: resampled_law(kriged, points, 1000, 0)),
        line("1,000 draws, the default", lambda: resampled_law(path, points, 1000, 0)),
        line("fit(runs, Kriging()), 1,000 draws, all checks", lambda: fit(runs, Kriging()), 3),
        line("fit(runs), the default: the same", lambda: fit(runs), 3),
        line("predict(fit, flops=1e21)", lambda: predict(found, flops=1e21), 3),
        *peer(points),
    ]


def _line(what: str, seconds: float, scipy: float, usual: float) -> list[object]:
    return [what, f"{1e3 * seconds:.2f} ms", f"{seconds / scipy:.2g}", f"{usual / seconds:.2g}"]


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
    tables = {
        **{name: published(file) for name, file in SWEEPS.items()},
        "Chinchilla, outliers kept": published("chinchilla_epoch.csv", outliers=True),
        "Gemstones": published("gemstones_hot.csv"),
        "Gemstones, curves": published("gemstones_curves_hot.csv"),
    }
    return [[name, len(runs), *whole(runs)] for name, runs in tables.items()]


def whole(runs: list[Run]) -> list[str]:
    """By the default: solving alone, all of fit() and predict(); fit() by Kriging."""
    points, found = Points.of(runs), fit(runs)
    calls: list[Callable[[], object]] = [
        lambda: Bayesian().solve(points),
        lambda: fit(runs),
        lambda: predict(found, flops=10 * found.largest),
        lambda: fit(runs, Kriging()),
    ]
    return [f"{1e3 * best_of(call, 2):.0f} ms" for call in calls]


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
        "Larger tables: the law alone, `fit()` with 1,000 draws, the held-out check and all notes, "
        "and `predict()`, by the default; `fit()` by Kriging beside it:",
        markdown(["table", "runs", "solve", "fit()", "predict()", "fit(), Kriging()"], larger()),
    )


if __name__ == "__main__":
    main()

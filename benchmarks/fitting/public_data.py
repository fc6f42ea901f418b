"""Public measurements: what each source published, and what a single call gives.

Each row is one number of one source, the approach that the source used, and ours from the same rows
of the same table. Kriging is beside them where it answers the same question.
"""

import math
from collections.abc import Iterator

import numpy as np
from tables import SWEEPS, markdown, published, write

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.cost import cost_for
from isoflop.laws.points import Points

HUBER = Parametric(delta=1e-3)
EXPONENTS = {
    "Porian 1 (Kaplan's recipe)": (0.8353, 3.14e8),
    "Porian 2 (last layer counted)": (0.7065, 3.37e8),
    "Porian 3 (warm-up)": (0.6020, 3.92e8),
    "Porian 4 (cosine)": (0.5715, 3.44e8),
    "Porian 5 (tuned)": (0.4969, 3.28e8),
}
Row = tuple[str, str, str, str, str]


def row(source: str, what: str, approach: str, theirs: float, ours: float) -> Row:
    return (
        source,
        what,
        approach,
        f"{theirs:.6g}",
        f"{ours:.6g} ({100 * (ours / theirs - 1):+.2g} %)",
    )


def chinchilla() -> Iterator[Row]:
    found = HUBER.solve(Points.of(published("chinchilla_epoch.csv")))
    digits = {"E": 1.817235, "A": 477.842, "B": 2143.864, "alpha": 0.347313, "beta": 0.367183}
    for name, theirs in digits.items():
        yield row(
            "Chinchilla (240 points)",
            name,
            "Parametric(delta=1e-3)",
            theirs,
            getattr(found.law, name),
        )
    yield row(
        "Chinchilla (240 points)",
        "Huber sum",
        "Parametric(delta=1e-3)",
        0.00101827,
        found.objective,
    )
    N, D = found.law.optimum(5.76e23)
    yield row("Chinchilla (240 points)", "N at 5.76e23", "Parametric(delta=1e-3)", 7.32e10, N)
    yield row("Chinchilla (240 points)", "D at 5.76e23", "Parametric(delta=1e-3)", 1.31e12, D)
    every = HUBER.solve(Points.of(published("chinchilla_epoch.csv", outliers=True))).law
    yield row("Chinchilla (245 points)", "beta", "Parametric(delta=1e-3)", 0.453, every.beta)
    yield row(
        "Chinchilla (245 points)",
        "N at 5.76e23",
        "Parametric(delta=1e-3)",
        1.19e11,
        every.optimum(5.76e23)[0],
    )


def porian() -> Iterator[Row]:
    for name, (exponent, size) in EXPONENTS.items():
        points = Points.of(published(SWEEPS[name]))
        minima, kriged = IsoFLOP().solve(points).law, Kriging().solve(points).law
        yield row(name, "exponent of N", "IsoFLOP()", exponent, minima.num_params.exponent)
        yield row(name, "N at 1e19", "IsoFLOP()", size, minima.num_params(1e19))
        yield row(name, "N at 1e19", "Kriging()", size, kriged.optimum(1e19)[0])


def xlstm() -> Iterator[Row]:
    law = IsoFLOP(window=None).solve(Points.of(published("xlstm_llama_ctx8192.csv"))).law
    theirs = {"num_params": (0.002281, 0.574909), "num_tokens": (58.460, 0.424271)}
    for name, (coefficient, exponent) in theirs.items():
        power, symbol = getattr(law, name), "N" if name == "num_params" else "D"
        yield row(
            "xLSTM's Llama",
            f"coefficient of {symbol}",
            "IsoFLOP(window=None)",
            coefficient,
            power.coefficient,
        )
        yield row(
            "xLSTM's Llama",
            f"exponent of {symbol}",
            "IsoFLOP(window=None)",
            exponent,
            power.exponent,
        )


def gemstones() -> Iterator[Row]:
    law = HUBER.solve(Points.of(published("gemstones_hot.csv"))).law
    for name, theirs in {"alpha": 0.2928687, "beta": 0.7128722, "E": 2.14312}.items():
        yield row("Gemstones", name, "Parametric(delta=1e-3)", theirs, getattr(law, name))
    hull = Envelope().solve(Points.of(published("gemstones_curves_hot.csv"))).law
    yield row("Gemstones, curves", "exponent of N", "Envelope()", 0.49938, hull.num_params.exponent)
    yield row("Gemstones, curves", "exponent of D", "Envelope()", 0.48099, hull.num_tokens.exponent)


def marin_and_gadre() -> Iterator[Row]:
    for approach, label in ((HUBER, "Parametric(delta=1e-3)"), (Kriging(), "Kriging()")):
        law = approach.solve(Points.of(published("marin_comma.csv"))).law
        for run in published("marin_comma_validation_optimal.csv"):
            if 6e18 <= (run.budget or 0) <= 1e20:
                ours = law.loss(run.num_params, run.num_tokens)
                yield row(
                    "Marin comma, own optimal runs",
                    f"loss at {run.budget:.0e}",
                    label,
                    run.loss,
                    ours,
                )
        runs = published("gadre_rpj.csv")
        largest = max(runs, key=lambda run: run.flops)
        law = approach.solve(Points.of([run for run in runs if run.flops < 1e20])).law
        ours = law.loss(largest.num_params, largest.num_tokens)
        yield row("Gadre, runs below 1e20", "loss of the 6.9B run", label, largest.loss, ours)


def cs336() -> Iterator[Row]:
    points = Points.of(published("cs336_isoflops.csv"))
    for approach, label in ((Parametric(), "Parametric()"), (Kriging(), "Kriging()")):
        law = approach.solve(points).law
        for name, theirs in {
            "E": 2.69,
            "A": 1606.4,
            "B": 3210.7,
            "alpha": 0.34,
            "beta": 0.36,
        }.items():
            yield row("CS336 (synthetic)", name, label, theirs, float(getattr(law, name)))
        yield row("CS336 (synthetic)", "N at 1e23", label, 9.189e10, law.optimum(1e23)[0])


def defaults() -> Iterator[list[object]]:
    """The default call on each sweep: the answer 10 times beyond its largest run."""
    for name, file in SWEEPS.items():
        runs = published(file)
        found = fit(runs, Kriging())
        best = predict(found, flops=10 * found.largest)
        least_squares = Parametric(delta=math.inf).solve(Points.of(runs)).law
        other = least_squares.optimum(best.flops, cost_for(least_squares, runs))[0]
        width = math.sqrt(best.num_params.high / best.num_params.low)
        loss = best.loss
        assert loss is not None
        yield [
            name,
            len(runs),
            f"{best.flops:.2g}",
            f"{best.num_params.value:.3g} (x/÷{width:.2f})",
            f"{loss.value:.3f} ({loss.low:.3f} to {loss.high:.3f})",
            f"{float(other):.3g}",
            f"{np.median(best.regret.value):.1%}",
        ]


def main() -> None:
    rows = [*chinchilla(), *porian(), *xlstm(), *gemstones(), *marin_and_gadre(), *cs336()]
    answers = [
        "sweep",
        "runs",
        "FLOPs",
        "N, Kriging",
        "loss, Kriging",
        "N, least squares",
        "expected waste",
    ]
    write(
        "fitting-public-data.md",
        "Public measurements, published and ours",
        "python benchmarks/fitting/public_data.py",
        __doc__.split("\n\n", 1)[1].strip(),
        markdown(["source", "number", "approach", "published", "ours"], rows),
        "What the default says ten times beyond the largest run of each sweep (intervals at 90 %):",
        markdown(answers, defaults()),
    )


if __name__ == "__main__":
    main()

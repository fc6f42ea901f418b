"""The tables of `tables/`: `python tests/golden/simulate.py` writes them again.

Files of numbers, so that neither a law's nor a generator's change moves what is fitted.
"""

import csv
import math
from pathlib import Path

import numpy as np

E, A, B, ALPHA, BETA = 1.8, 480.0, 2100.0, 0.35, 0.37
TABLES = Path(__file__).parent / "tables"


def loss(N, D):
    return E + A / N**ALPHA + B / D**BETA


def best(C):
    """Params of the lowest loss at C = 6ND."""
    return ((ALPHA * A / (BETA * B)) * (C / 6) ** BETA) ** (1 / (ALPHA + BETA))


def plain(random):
    """Four budgets, seven sizes each around the best, noise of .1 %."""
    for C in (1e18, 1e19, 1e20, 1e21):
        for N in best(C) * np.geomspace(1 / 4, 4, 7):
            D = C / (6 * N)
            yield {
                "params": N,
                "tokens": D,
                "loss": loss(N, D) * math.exp(0.001 * random.normal()),
                "compute_budget": C,
            }


def hard(random):
    """Five budgets off centre, noise of .5 %, two seeds at one, a spoilt and a diverged run."""
    for number, C in enumerate((1e17, 4e17, 1.6e18, 6.4e18, 2.56e19)):
        for N in best(C) * 1.3 ** (number - 2) * np.geomspace(1 / 5, 5, 8):
            per_token = 6 * N * (1 + 3 * N**-0.2)
            D = C / per_token
            for seed in (0, 1) if number == 1 else (0,):
                made = loss(N, D) * math.exp(0.005 * random.normal())
                yield {
                    "params": N,
                    "tokens": D,
                    "flops": C,
                    "loss": made,
                    "compute_budget": C,
                    "seed": seed,
                }
    spoilt, diverged = best(6.4e18) * 1.1, best(1.6e18) * 0.8
    yield {
        "params": spoilt,
        "tokens": 6.4e18 / (7 * spoilt),
        "flops": 6.4e18,
        "loss": 4.6,
        "compute_budget": 6.4e18,
    }
    yield {
        "params": diverged,
        "tokens": 1.6e18 / (7 * diverged),
        "flops": 1.6e18,
        "compute_budget": 1.6e18,
    }


def scattered(random):
    """Runs without budgets, of 5 to 300 tokens per param, whose terms are coupled a little."""
    for _ in range(45):
        N = math.exp(random.uniform(math.log(1e7), math.log(2e9)))
        D = N * math.exp(random.uniform(math.log(5), math.log(300)))
        coupled = ((A / N**ALPHA) ** 0.9 + (B / D**BETA) ** 0.9) ** (1 / 0.9)
        yield {"params": N, "tokens": D, "loss": (E + coupled) * math.exp(0.003 * random.normal())}


def checkpoints(random):
    """Ten models with thirty checkpoints each."""
    for number, N in enumerate(np.geomspace(2e7, 4e9, 10)):
        for D in N * np.geomspace(2, 200, 30):
            made = loss(N, D) * math.exp(0.0005 * random.normal())
            yield {"run": f"model {number}", "params": N, "tokens": D, "loss": made}


def written(value):
    return value if isinstance(value, str | int) else f"{value:.10g}"


if __name__ == "__main__":
    TABLES.mkdir(exist_ok=True)
    for seed, make in enumerate((plain, hard, scattered, checkpoints)):
        rows = list(make(np.random.default_rng(seed)))
        with (TABLES / f"{make.__name__}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows([{name: written(value) for name, value in row.items()} for row in rows])

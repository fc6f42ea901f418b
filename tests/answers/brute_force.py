"""Every question, answered by looking at dense grids of law.loss(N, D) and of what a token costs; nothing else."""

import numpy as np

NUM = 240


def spread(middle, reach):
    """Sizes within x/÷reach of some middles, shape (..., NUM)."""
    return np.asarray(middle)[..., None] * np.geomspace(1 / reach, reach, NUM)


def lowest(objective, middle):
    """Where an objective of N is lowest within x/÷1000 of a middle: a grid, then a finer one around its best point."""
    for reach in (1e3, 1.2, 1.003):
        N = spread(middle, reach)
        values = objective(N)
        middle = np.take_along_axis(N, np.nanargmin(values, axis=-1)[..., None], axis=-1)[..., 0]
    return middle


def best_at(loss, cost, C, served=0.0):
    """(N, D) of the lowest loss where C pays for D tokens and a third of the served ones."""
    C = np.asarray(C, dtype=float)

    def objective(N):
        D = C[..., None] / cost(N) - served / 3
        return np.where(D > 0, loss(N, np.maximum(D, 1.0)), np.inf)

    N = lowest(objective, np.full(C.shape, 1e9))
    return N, C / cost(N) - served / 3


def tokens_for(loss, N, wanted):
    """Tokens with which each of some sizes reaches a loss, read off a grid; NaN where none does."""
    D = np.geomspace(1e6, 1e16, 20_000)
    rows = [
        np.interp(-wanted, -loss(np.full_like(D, n), D), np.log(D), left=np.nan, right=np.nan)
        for n in N.ravel()
    ]
    return np.exp(np.reshape(rows, N.shape))


def cheapest_for(loss, cost, wanted, served=0.0):
    """(N, D) that reach a loss with the fewest FLOPs of training and serving."""
    N = lowest(lambda N: cost(N) * (tokens_for(loss, N, wanted) + served / 3), 1e9)
    return N, tokens_for(loss, N, wanted)


def compute_where(loss, cost, number, wanted):
    """C whose best N (number 0) or D (number 1) is wanted."""
    C = np.geomspace(1e16, 1e26, 60)
    for _ in range(3):
        at = np.interp(np.log(wanted), np.log(best_at(loss, cost, C)[number]), np.arange(60))
        low, high = C[max(int(at) - 1, 0)], C[min(int(at) + 2, 59)]
        C = np.geomspace(low, high, 60)
    return float(
        np.exp(np.interp(np.log(wanted), np.log(best_at(loss, cost, C)[number]), np.log(C)))
    )


def repeating(loss, cost, U, R_D=15.39, R_N=5.31):
    """The loss of repeated data, as Muennighoff et al. 2023 write it: eq. 5 for tokens, eq. 6 for params."""
    U_N = best_at(loss, cost, compute_where(loss, cost, 1, U))[0]

    def repeated(N, D):
        new_D, new_N = np.minimum(U, D), np.minimum(U_N, N)
        return loss(
            new_N + new_N * R_N * (1 - np.exp(-(N / new_N - 1) / R_N)),
            new_D + new_D * R_D * (1 - np.exp(-(D / new_D - 1) / R_D)),
        )

    return repeated

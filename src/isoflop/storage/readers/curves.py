"""Training curves from logged tokens and losses."""

import numpy as np

from isoflop.runs import CurvePoint
from isoflop.storage.readers.tracked import Floats, Series, increasing

__all__ = ["MOST_POINTS", "curve_of"]

MOST_POINTS = 1_000
"""Most points of a curve; of more, neighbours are averaged."""


def curve_of(tokens: Series, losses: Series, scale: float = 1.0) -> tuple[CurvePoint, ...]:
    """(tokens, loss) along a run; empty where tokens are known at one step only.

    Tokens between two logged numbers grow evenly. scale: factor of the logged tokens.
    """
    inside = (losses.steps >= tokens.steps[0]) & (losses.steps <= tokens.steps[-1])
    if len(tokens.steps) < 2 or not inside.any():
        return ()
    seen = scale * np.interp(losses.steps[inside], tokens.steps, tokens.values)
    values = losses.values[inside]
    kept = increasing(seen) & (np.isfinite(values) | (np.arange(len(values)) == len(values) - 1))
    return tuple(zip(*_averaged(seen[kept], values[kept]), strict=True))


def _averaged(tokens: Floats, losses: Floats) -> tuple[list[float], list[float]]:
    """Mean loss of neighbouring points, at the tokens of the last of each."""
    size = -(-len(tokens) // MOST_POINTS)
    if size <= 1:
        return tokens.tolist(), losses.tolist()
    starts = np.arange(0, len(tokens), size)
    ends = np.append(starts[1:], len(tokens)) - 1
    means = np.add.reduceat(losses, starts) / (ends - starts + 1)
    return tokens[ends].tolist(), means.tolist()

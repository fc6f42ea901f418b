"""A training program that knows nothing of isoflop, nor of PyTorch: NumPy is all it needs.

A network of one hidden layer learns a function of 8 numbers by stochastic gradient descent.
"""

import argparse
import json
from pathlib import Path

import numpy as np

INPUTS = 8


def examples(number, seed):
    points = np.random.default_rng(seed).standard_normal((number, INPUTS))
    weights = np.random.default_rng(7).standard_normal((INPUTS, 64))
    return points, np.tanh(points @ weights).sum(axis=1, keepdims=True) / 4


def cost(width):
    """Params, and FLOPs per example: 6 for each weight."""
    num_params = width * (INPUTS + 2) + 1
    return num_params, 6.0 * num_params


def train(width, steps, batch, lr, seed):
    """The held-out loss, and the number of examples trained."""
    draw = np.random.default_rng(seed)
    hidden = draw.standard_normal((INPUTS, width)) / INPUTS**0.5
    shift, out, offset = np.zeros(width), np.zeros((width, 1)), np.zeros(1)
    points, targets = examples(steps * batch, 1000 + seed)
    for step in range(steps):
        x, y = (rows[step * batch : (step + 1) * batch] for rows in (points, targets))
        z = np.tanh(x @ hidden + shift)
        error = (z @ out + offset - y) / batch
        back = (error @ out.T) * (1 - z**2)
        rate = lr * (1 - step / steps)
        out -= rate * z.T @ error
        offset -= rate * error.sum(axis=0)
        hidden -= rate * x.T @ back
        shift -= rate * back.sum(axis=0)
    x, y = examples(2000, 1)
    loss = float(np.mean((np.tanh(x @ hidden + shift) @ out + offset - y) ** 2))
    return loss, steps * batch


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    for name in ("width", "steps", "batch", "seed"):
        options.add_argument(f"--{name}", type=int, required=True)
    options.add_argument("--lr", type=float, required=True)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    loss, trained = train(given.width, given.steps, given.batch, given.lr, given.seed)
    print(f"{trained} examples, held-out loss {loss:.6f}")
    result = {"eval": {"loss": loss}, "examples": trained}
    (given.out / "result.json").write_text(json.dumps(result))

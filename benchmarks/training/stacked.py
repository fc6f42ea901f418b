"""What packing tiny runs into one program gains on a CPU: stacked models against single ones.

    python benchmarks/training/stacked.py [--pairs 9] [--write]

Bare loops, so an upper bound of what a training loop over stacked models can gain. Both take turns
in one process on one thread, so that load falls on both alike.
"""

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks" / "gpu")]
from stacking import train_apart, train_stacked  # noqa: E402

from models.gpt import GPT, Attention, rotated  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "training-stacked.md"
NUM_MODELS, NUM_STEPS, BATCH, CONTEXT = 8, 30, 4, 64


class PlainAttention(Attention):
    """Attention by matrix products, for which vmap has rules on a CPU."""

    def forward(self, x):
        q, k, v = (
            project(x).unflatten(-1, (-1, self.head_width)).transpose(-3, -2)
            for project in (self.query, self.key, self.value)
        )
        scores = rotated(q) @ rotated(k).transpose(-2, -1) / self.head_width**0.5
        later = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class PlainGPT(GPT):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        for block in self.blocks:
            block.attention.__class__ = PlainAttention


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def compare(model: type[nn.Module], width: int, num_pairs: int) -> list[str]:
    """One row: milliseconds of a step of all models, one after the other and stacked."""
    tokens = torch.randint(0, 256, (NUM_MODELS, BATCH, CONTEXT))
    times: dict[str, list[float]] = {"apart": [], "stacked": []}
    losses = {}
    for pair in range(num_pairs + 1):
        for name, train in (("apart", train_apart), ("stacked", train_stacked)):
            torch.manual_seed(0)
            models = [model(width) for _ in range(NUM_MODELS)]
            began = time.perf_counter()
            losses[name] = train(models, tokens, loss, NUM_STEPS)
            if pair:  # the first warms up
                times[name].append(time.perf_counter() - began)
    assert abs(losses["apart"] - losses["stacked"]) < 1e-3, losses
    ratios = sorted(a / s for a, s in zip(times["apart"], times["stacked"], strict=True))
    return [
        "fused (PyTorch's)" if model is GPT else "by matrix products",
        str(width),
        *(f"{1e3 * min(times[name]) / NUM_STEPS:.1f}" for name in times),
        f"**{statistics.median(ratios):.2f}x** ({ratios[0]:.2f} to {ratios[-1]:.2f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    header = ["attention", "width", "ms a step, one after the other", "stacked", "gain"]
    rows = [
        compare(model, width, given.pairs) for model in (GPT, PlainGPT) for width in (8, 16, 32, 64)
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * 5, *rows])
    text = (
        f"# Tiny runs packed into one program\n\n{datetime.date.today()}, "
        f"{platform.machine()}, no GPU, torch {torch.__version__}, one thread. "
        f"`python benchmarks/training/stacked.py --write`\n\n{NUM_MODELS} GPTs of two layers, "
        f"{BATCH} sequences of {CONTEXT} tokens a step each. Median of {given.pairs} pairs "
        f"(range).\n\n{table}\n"
    )
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()

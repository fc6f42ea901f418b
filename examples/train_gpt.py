"""A GPT for a compute budget: pick a family of models and a corpus, train a sweep, get the size.

    python examples/train_gpt.py --model llama --budgets 2e10 6e10 2e11 --processes 2
    isoflop plan examples/train_gpt.py:dial --budget 1e11 --budget 3e11

Run it again with the same store and it goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F

import isoflop
from data.hub import tiny_stories
from data.python_source import python_source
from models.gpt import GPT, depth_dial

CONTEXT = 64

FAMILIES: dict[str, dict[str, Any]] = {
    # width grows; two layers, two heads, the head tied to the embedding
    "gpt": {"size_param": "width"},
    # four layers, grouped-query attention, a head of its own
    "llama": {
        "size_param": "width",
        "model_kwargs": {"num_layers": 4, "num_heads": 4, "queries_per_kv": 2, "tied": False},
    },
    # one dial for width, heads and layers together
    "dial": {"size_param": depth_dial},
}
CORPORA = {"stdlib": python_source, "tinystories": tiny_stories}


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def task(family: str = "gpt", corpus: str = "stdlib", context: int = CONTEXT) -> isoflop.Task:
    """A family of models on a corpus of bytes."""
    train_data, val_data = CORPORA[corpus](context)
    return isoflop.Task(
        model=GPT,
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        unit="byte",
        **FAMILIES[family],
    )


def gpt() -> isoflop.Task:
    return task("gpt")


def llama() -> isoflop.Task:
    return task("llama")


def dial() -> isoflop.Task:
    return task("dial")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=FAMILIES, default="gpt")
    parser.add_argument("--data", choices=CORPORA, default="stdlib")
    parser.add_argument("--context", type=int, default=CONTEXT, help="bytes per window")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[2e10, 6e10, 2e11], help="FLOPs of each curve"
    )
    parser.add_argument(
        "--target", type=float, help="FLOPs to answer for; 30 times the largest budget if left out"
    )
    parser.add_argument(
        "--store", type=Path, default=Path("runs/gpt"), help="folder of the runs and the page"
    )
    parser.add_argument("--processes", type=int, default=1, help="runs trained at the same time")
    chosen = parser.parse_args(arguments)

    family = task(chosen.model, chosen.data, chosen.context)
    sweep = isoflop.plan(family, budgets=chosen.budgets)
    print(sweep, end="\n\n")
    executor = isoflop.Processes(chosen.processes) if chosen.processes > 1 else isoflop.InProcess()
    runs = isoflop.train(family, sweep, store=chosen.store, executor=executor)
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=chosen.target or 30 * max(chosen.budgets), task=family)
    print(answer)
    print(
        f"\nReport: {isoflop.report(fit, answer, path=chosen.store / 'report.html', task=family)}"
    )


if __name__ == "__main__":
    main()

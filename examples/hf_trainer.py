"""Hugging Face's `Trainer` trains the runs: the Llama of `hf_llama.py` and the same data.

Run it as `python examples/hf_trainer.py` after `pip install "isoflop[hf]"`. The family is counted
on the model without data; `TransformersTrainer` passes each run's steps, batch, learning rate and
schedule on to `Trainer`, which resumes a killed run from its own checkpoint.
"""

import argparse
from collections.abc import Sequence

import torch

import isoflop
from data.python_source import python_source
from hf_llama import CONTEXT, CausalWindows, llama
from isoflop.integrations.transformers import TransformersTrainer

BUDGETS = [3e9, 1.2e10]
SIZES = [4, 8, 12, 16, 24, 32]


def family() -> isoflop.Family:
    """Sizes of the Llama; the model shifts its labels, so a window has one target less."""
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    return isoflop.Family.of_model(
        llama,
        "width",
        {"input_ids": tokens, "labels": tokens},
        sizes=SIZES,
        name="llama on bytes",
        unit="byte",
        tokens_per_example=CONTEXT - 1,
        recipe=isoflop.Recipe(batch_tokens=512),
    )


def trainer() -> TransformersTrainer:
    train_data, val_data = python_source(CONTEXT)
    return TransformersTrainer(
        model=lambda spec: llama(spec.size),
        train_dataset=CausalWindows(train_data),
        eval_dataset=torch.utils.data.Subset(CausalWindows(val_data), range(1024)),
        arguments={"per_device_eval_batch_size": 256},
    )


def main(arguments: Sequence[str] | None = None) -> list[isoflop.Run]:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="FLOPs")
    options.add_argument("--store", default="runs/hf_trainer")
    given = options.parse_args(arguments)
    llamas = family()
    sweep = isoflop.plan(llamas, budgets=given.budgets)
    print(sweep)
    runs = isoflop.train(llamas, sweep, trainer=trainer(), store=given.store)
    fit = isoflop.fit(runs)
    print(fit)
    print(isoflop.predict(fit, flops=10 * max(given.budgets), task=llamas))
    return runs


if __name__ == "__main__":
    main()

"""Lightning's `Trainer` trains the runs: a `LightningModule` and a `LightningDataModule`.

Run it as `python examples/lightning_trainer.py` after `pip install "isoflop[pl]"`. The
module has no `configure_optimizers`, so it gets AdamW with each run's learning rate, decay and
schedule; one with its own optimiser would keep it.
"""

import argparse
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset

import isoflop
from data.python_source import python_source
from isoflop.integrations.lightning import LightningTrainer
from models.gpt import GPT

CONTEXT = 64
BUDGETS = [3e9, 1.2e10]
SIZES = [4, 8, 12, 16, 24, 32]


class ByteModel(pl.LightningModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = GPT(width)

    def loss(self, batch):
        inputs, targets = batch
        return F.cross_entropy(self.net(inputs).flatten(0, 1), targets.flatten())

    def training_step(self, batch, index):
        return self.loss(batch)

    def validation_step(self, batch, index):
        self.log("val_loss", self.loss(batch))


class Source(pl.LightningDataModule):
    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.train_data, val_data = python_source(CONTEXT)
        self.val_data = Subset(val_data, range(1024))

    def train_dataloader(self):
        return DataLoader(self.train_data, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val_data, 256)


def family() -> isoflop.Family:
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    return isoflop.Family.of_model(
        GPT,
        "width",
        (tokens, tokens),
        loss=lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        sizes=SIZES,
        name="gpt on bytes",
        unit="byte",
        recipe=isoflop.Recipe(batch_tokens=512),
    )


def trainer() -> LightningTrainer:
    return LightningTrainer(
        module=lambda spec: ByteModel(spec.size),
        data=lambda spec, batch_size: Source(batch_size),
    )


def main(arguments: Sequence[str] | None = None) -> list[isoflop.Run]:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="FLOPs")
    options.add_argument("--store", default="runs/lightning_trainer")
    given = options.parse_args(arguments)
    gpts = family()
    sweep = isoflop.plan(gpts, budgets=given.budgets)
    print(sweep)
    runs = isoflop.train(gpts, sweep, trainer=trainer(), store=given.store)
    fit = isoflop.fit(runs)
    print(fit)
    print(isoflop.predict(fit, flops=10 * max(given.budgets), task=gpts))
    return runs


if __name__ == "__main__":
    main()

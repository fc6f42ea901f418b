"""Lightning's Trainer as a trainer: it obeys each spec, resumes, and agrees with isoflop's own."""

import os
import signal
import statistics
from dataclasses import replace

import pytest

pytest.importorskip("lightning", reason="the extra pl is not installed")

import lightning.pytorch as pl
import torch
from tiny_text import BUDGET, CONTEXT, RECIPE, TRAIN, VAL, Net, task
from torch.utils.data import DataLoader

import isoflop
from isoflop.integrations.lightning import LightningTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class Module(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.net = Net(width)

    def training_step(self, batch, index):
        return self.net(**batch)["loss"]

    def validation_step(self, batch, index):
        self.log("val_loss", self.net(**batch)["loss"])
        self.log("batches", 1.0, reduce_fx="sum")


class Data(pl.LightningDataModule):
    def __init__(self, batch_size, data=TRAIN):
        super().__init__()
        self.batch_size, self.data = batch_size, data

    def train_dataloader(self):
        return DataLoader(self.data, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(VAL, 64)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(task(), budgets=[BUDGET])


def spec_of(sweep, size=12, **changes):
    return replace(next(spec for spec in sweep.specs if spec.size == size), **changes)


def trainer(**fields):
    given = {
        "module": lambda spec: Module(spec.size),
        "data": lambda spec, batch_size: Data(batch_size),
        "arguments": {"accelerator": "cpu"},
        **fields,
    }
    return LightningTrainer(**given)


def watched(callback, **fields):
    return trainer(arguments={"accelerator": "cpu", "callbacks": callback}, **fields)


class Watch(pl.Callback):
    def __init__(self):
        self.rates, self.trainer = [], None

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.trainer = trainer
        self.rates.append(
            [
                (each["lr"], each.get("betas"), each["weight_decay"])
                for each in optimizer.param_groups
            ]
        )


def test_it_agrees_with_isoflops_own_training_within_the_noise_of_seeds(sweep, tmp_path):
    specs = [spec_of(sweep, seed=seed) for seed in range(4)]
    planned = isoflop.Sweep(specs=tuple(specs))
    runs = isoflop.train(task(), planned, store=isoflop.MemoryStore(), progress=False)
    own = [run.loss for run in runs]
    theirs = [trainer()(spec, tmp_path / str(spec.seed))["loss"] for spec in specs]
    spread = max(statistics.stdev(own), statistics.stdev(theirs))
    assert abs(statistics.mean(own) - statistics.mean(theirs)) < 2.5 * spread
    assert spread < 0.02 * statistics.mean(own)


def test_the_spec_decides_steps_batch_rates_and_seed(tmp_path):
    from isoflop.training.schedule import lr_factor

    recipe = replace(RECIPE, clip=0.5, lr=0.01, beta2=0.9)
    spec = spec_of(isoflop.plan(task(recipe), budgets=[BUDGET]), 24, seed=3)
    watch = Watch()
    result = watched(watch, batch_at_once=6)(spec, tmp_path)
    assert torch.initial_seed() == 3
    steps = round(spec.num_tokens / (spec.batch * CONTEXT))
    assert (watch.trainer.accumulate_grad_batches, spec.batch) == (4, 16)
    assert (watch.trainer.gradient_clip_val, watch.trainer.max_steps) == (0.5, steps)
    assert [each[0][0] for each in watch.rates] == pytest.approx(
        [0.01 * lr_factor("cosine", spec.warmup, k, steps) for k in range(steps)]
    )
    matrices, gains = watch.rates[0]
    assert (matrices[1:], gains[1:]) == (((0.9, 0.9), 0.1), ((0.9, 0.9), 0.0))
    assert result["num_tokens"] == spec.num_tokens
    assert result["metrics"] == {"batches": 4}
    assert [at for at, _ in result["curve"]] == [
        spec.batch * CONTEXT * (k + 1) for k in range(steps)
    ]


def test_an_optimiser_of_the_modules_own_is_kept(sweep, tmp_path):
    class Own(Module):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.125)

    watch = Watch()
    watched(watch, module=lambda spec: Own(spec.size))(spec_of(sweep, 24), tmp_path)
    assert {type(optimizer) for optimizer in watch.trainer.optimizers} == {torch.optim.SGD}


class Ended(pl.Callback):
    def __init__(self, end):
        self.end = end

    def on_train_batch_end(self, trainer, *others):
        if trainer.global_step == 13:
            self.end()


def network_failed():
    raise ConnectionResetError("the network")


def test_a_killed_run_continues_from_its_checkpoint(sweep, tmp_path):
    spec = spec_of(sweep)
    steps = round(spec.num_tokens / (spec.batch * CONTEXT))
    whole = trainer()(spec, tmp_path / "whole")
    with pytest.raises(ConnectionResetError):
        watched(Ended(network_failed))(spec, tmp_path / "killed")
    watch = Watch()
    resumed = watched(watch)(spec, tmp_path / "killed")
    assert 0 < len(watch.rates) < steps - 5
    assert resumed["num_tokens"] == whole["num_tokens"] == spec.num_tokens
    assert resumed["loss"] == whole["loss"]
    assert [at for at, _ in resumed["curve"]] == [at for at, _ in whole["curve"]]
    assert not [*(tmp_path / "killed").glob("*.ckpt")]


def test_several_passes_resume_in_the_middle_of_one(sweep, tmp_path):
    few = torch.utils.data.Subset(TRAIN, range(130))
    spec = replace(spec_of(sweep), epochs=40.0)
    give = {"data": lambda spec, batch_size: Data(batch_size, few)}
    whole = trainer(**give)(spec, tmp_path / "whole")
    with pytest.raises(ConnectionResetError):
        watched(Ended(network_failed), **give)(spec, tmp_path / "killed")
    resumed = trainer(**give)(spec, tmp_path / "killed")
    assert (resumed["loss"], resumed["num_tokens"]) == (whole["loss"], spec.num_tokens)


def test_an_interrupt_stops_the_sweep(sweep, tmp_path):
    interrupt = Ended(lambda: os.kill(os.getpid(), signal.SIGINT))
    planned = isoflop.Sweep(specs=(spec_of(sweep),))
    with pytest.raises(KeyboardInterrupt):
        isoflop.train(task(), planned, trainer=watched(interrupt), store=tmp_path, progress=False)
    assert isoflop.DirectoryStore(tmp_path).read_runs() == []
    assert [*tmp_path.glob("*/trainer/*.ckpt")]


REFUSED = {
    "a decided argument": (
        lambda spec: trainer(arguments={"max_steps": 3}),
        "max_steps is decided by each run",
    ),
    "no factory": (lambda spec: trainer(module=3), "must be a function of a spec"),
    "no module": (lambda spec: trainer(module=lambda spec: Net(8)), "must give a LightningModule"),
    "an average": (lambda spec: trainer().check([replace(spec, ema=0.05)]), "ema=0.05"),
    "a part": (
        lambda spec: trainer().check([replace(spec, unique_tokens=64)]),
        "part of the data",
    ),
    "too few data": (
        lambda spec: trainer(data=lambda spec, batch_size: Data(batch_size, TRAIN_FEW)),
        r"Family\(unique_tokens=3072\)",
    ),
    "another batch": (
        lambda spec: trainer(data=lambda spec, batch_size: Data(5)),
        "the 16 examples that are asked for, but the first one has 5",
    ),
    "no such loss": (lambda spec: trainer(monitor="loss"), "must log 'loss', but logs val_loss"),
}
TRAIN_FEW = torch.utils.data.Subset(TRAIN, range(100))


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_is_refused_in_one_sentence(name, sweep, tmp_path):
    make, words = REFUSED[name]
    spec = spec_of(sweep)
    with pytest.raises(isoflop.ContractError, match=words) as caught:
        make(spec)(spec, tmp_path)
    assert len(str(caught.value)) < 300

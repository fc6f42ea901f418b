"""Hugging Face's Trainer as a trainer: it obeys each spec, resumes, and agrees with isoflop's own."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")

import torch
from tiny_text import BUDGET, CONTEXT, RECIPE, TRAIN, VAL, Net, Text, task
from transformers import TrainerCallback

import isoflop
from hidden import run_without
from isoflop.integrations.transformers import TransformersTrainer

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:accelerate", "ignore:lr_scheduler.step"
)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(task(), budgets=[BUDGET])


def spec_of(sweep, size=8, **changes):
    return replace(next(spec for spec in sweep.specs if spec.size == size), **changes)


def trainer(**fields):
    given = {
        "model": lambda spec: Net(spec.size),
        "train_dataset": TRAIN,
        "eval_dataset": VAL,
        "arguments": {"use_cpu": True},
        **fields,
    }
    return TransformersTrainer(**given)


def own_loss(spec):
    sweep = isoflop.Sweep(specs=(spec,))
    (run,) = isoflop.train(task(), sweep, store=isoflop.MemoryStore(), progress=False)
    return run.loss


def test_it_agrees_with_isoflops_own_training_within_the_noise_of_seeds(sweep, tmp_path):
    specs = [spec_of(sweep, 12, seed=seed) for seed in range(3)]
    own = [own_loss(spec) for spec in specs]
    theirs = [trainer()(spec, tmp_path / str(spec.seed))["loss"] for spec in specs]
    spread = max(statistics.stdev(own), statistics.stdev(theirs))
    assert abs(statistics.mean(own) - statistics.mean(theirs)) < 2.5 * spread
    assert spread < 0.02 * statistics.mean(own)


class Watch(TrainerCallback):
    """Keeps what the optimiser was given at each step."""

    def __init__(self):
        self.rates, self.args = [], None

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.args, group = args, optimizer.param_groups[0]
        self.rates.append((group["lr"], group["betas"], group["weight_decay"]))


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_the_spec_decides_steps_batch_rates_and_seed(schedule, tmp_path):
    from isoflop.training.schedule import lr_factor

    recipe = replace(RECIPE, schedule=schedule, clip=None, lr=0.01, beta2=0.9)
    spec = spec_of(isoflop.plan(task(recipe), budgets=[BUDGET]), 24, seed=3)
    watch = Watch()
    arguments = {"use_cpu": True, "per_device_train_batch_size": 6, "logging_steps": 1}
    result = trainer(arguments=arguments, options={"callbacks": [watch]})(spec, tmp_path)
    steps = round(spec.num_tokens / (spec.batch * CONTEXT))
    assert (watch.args.per_device_train_batch_size, spec.batch) == (4, 16)
    assert (watch.args.gradient_accumulation_steps, watch.args.seed) == (4, 3)
    assert watch.args.max_grad_norm == 0
    rates, betas, decays = zip(*watch.rates, strict=True)
    cooldown = spec.cooldown or 0.0
    assert rates == pytest.approx(
        [0.01 * lr_factor(schedule, spec.warmup, k, steps, cooldown) for k in range(steps)]
    )
    assert ({*betas}, {*decays}) == ({(0.9, 0.9)}, {0.1})
    assert result["num_tokens"] == spec.num_tokens
    assert [at for at, _ in result["curve"]] == pytest.approx(
        [spec.batch * CONTEXT * (k + 1) for k in range(steps)]
    )


class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 13:
            raise ConnectionResetError("the network")


def test_a_killed_run_continues_from_its_checkpoint_and_gives_the_same_loss(sweep, tmp_path):
    spec = spec_of(sweep, 12)
    whole = trainer()(spec, tmp_path / "whole")
    with pytest.raises(ConnectionResetError):
        trainer(options={"callbacks": [Killed()]})(spec, tmp_path / "killed")
    half_written = tmp_path / "killed" / "checkpoint-999"
    half_written.mkdir()
    watch = Watch()
    resumed = trainer(options={"callbacks": [watch]})(spec, tmp_path / "killed")
    assert len(watch.rates) < spec.num_tokens / (spec.batch * CONTEXT) - 5
    assert resumed["loss"] == whole["loss"]
    assert resumed["num_tokens"] == whole["num_tokens"] == spec.num_tokens
    assert not [*Path(tmp_path / "killed").glob("checkpoint-*")]


def test_runs_of_several_passes_take_whole_batches(tmp_path):
    family = isoflop.Family(task(replace(RECIPE, epochs=None)))
    spec = spec_of(isoflop.plan(family, budgets=[BUDGET]), 24)
    few = replace(spec, epochs=spec.num_tokens / (43 * CONTEXT), unique_tokens=43 * CONTEXT)
    assert trainer()(few, tmp_path)["num_tokens"] == spec.num_tokens


def test_a_sweep_of_a_family_is_trained(tmp_path):
    family = isoflop.Family(task())
    sweep = isoflop.plan(family, budgets=[BUDGET])
    two = isoflop.Sweep(specs=sweep.specs[-2:])
    runs = isoflop.train(family, two, trainer=trainer(), store=tmp_path, progress=False)
    assert [run.status for run in runs] == ["completed"] * 2
    assert all(run.num_tokens == run.spec.num_tokens and run.curve for run in runs)


REFUSED = {
    "a decided argument": (
        lambda spec: trainer(arguments={"learning_rate": 1e-3}),
        "learning_rate is decided by each run",
    ),
    "a decided option": (lambda spec: trainer(options={"optimizers": ()}), "optimizers is decided"),
    "no factory": (lambda spec: trainer(model=Net(8)(TRAIN.inputs)), "a function spec -> model"),
    "an average": (lambda spec: trainer().check([replace(spec, ema=0.05)]), "ema=0.05"),
    "a trunk": (lambda spec: trainer().check([replace(spec, trunk="t")]), "branches off a trunk"),
    "no batch": (
        lambda spec: trainer().check([replace(spec, batch=None)]),
        "must have its batch",
    ),
    "too few data": (
        lambda spec: trainer(train_dataset=Text(100, 1)).check([spec]),
        r"Family\(unique_tokens=3200\)",
    ),
    "other targets": (
        lambda spec: trainer()(replace(spec, tokens_per_example=1.0, num_tokens=999), Path("x")),
        r"Family\(tokens_per_example=32\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_is_refused_in_one_sentence(name, sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = REFUSED[name]
    with pytest.raises(isoflop.IsoflopError, match=words) as caught:
        call(spec_of(sweep))
    assert len(str(caught.value)) < 300


def test_a_model_without_an_evaluation_loss_is_refused(sweep, tmp_path):
    unlabelled = [{"input_ids": torch.zeros(4, dtype=torch.long)}]
    with pytest.raises(isoflop.ContractError, match="eval_loss"):
        trainer(eval_dataset=unlabelled)(spec_of(sweep, 24), tmp_path)


def test_without_the_library_it_is_one_sentence():
    code = """
import isoflop
from isoflop.integrations.transformers import TransformersTrainer
try:
    TransformersTrainer(model=len, train_dataset=[], eval_dataset=[])
except isoflop.InstallError as error:
    print(error)
"""
    shown = run_without(("transformers",), code)
    assert "pip install 'isoflop[hf]'" in str(shown)

"""Runs of one size in one program: the losses of each alone, and one by one where that cannot be."""

import math
import random
import signal
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import isoflop
from isoflop import stages
from isoflop.errors import PlanError
from isoflop.training import loop, packed_loop
from isoflop.training.executors.in_process import InProcess
from isoflop.training.loop import train_model
from isoflop.training.packed_loop import train_pack
from isoflop.training.packing import MOST, packs_of
from isoflop.training.saving import Saver
from isoflop.training.stack import NotPacked
from tasks import MLP, examples, mlp_task

NEAR = {"rel": 1e-5}
"""Equal but for the order of sums."""


def small_task(**changes):
    """One whose sizes are given, which takes no search."""
    return mlp_task(sizes=(4, 8, 17), **changes)


def spec_of(task, size=8):
    specs = isoflop.plan(task, budgets=[3e5], check_rates=None).specs
    return next(spec for spec in specs if spec.size == size)


def pack_of(task, *changes):
    """Specs of one cell: a pack."""
    spec = spec_of(task)
    return [replace(spec, **change) for change in changes]


SEEDS = ({"seed": 0}, {"seed": 1}, {"seed": 2})


def trained(task, specs, store=None, **options):
    sweep = isoflop.Sweep(specs=tuple(specs), unit=task.unit)
    store = isoflop.MemoryStore() if store is None else store
    return isoflop.train(task, sweep, store=store, progress=False, **options)


def alone(task, specs):
    return [train_model(task, spec, isoflop.MemoryStore()) for spec in specs]


def check_equal(packed, own):
    for run, other in zip(packed, own, strict=True):
        assert run.versions["packed"] == f"{len(own)} runs"
        assert run.status == other.status == "completed"
        assert run.loss == pytest.approx(other.loss, **NEAR)
        assert run.loss_stderr == pytest.approx(other.loss_stderr, **NEAR)
        assert run.metrics == pytest.approx(other.metrics, **NEAR)
        assert [point for point, _ in run.curve] == [point for point, _ in other.curve]
        losses, own_losses = ([loss for _, loss in each.curve] for each in (run, other))
        assert losses == pytest.approx(own_losses, **NEAR)
        assert (run.num_tokens, run.flops) == (other.num_tokens, other.flops)


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"clip": None, "beta2": 0.9, "schedule": "wsd"},
        {"clip": 0.01, "warmup": 0.5},
        {"mup_base": 4, "lr": 0.02},
    ],
    ids=lambda recipe: " ".join(recipe) or "default",
)
def test_packed_runs_give_the_losses_curves_and_counts_of_each_alone(recipe, capsys):
    task = small_task(recipe=isoflop.Recipe(epochs=None, **recipe))
    specs = pack_of(task, *SEEDS, {"lr": 0.1}, {"weight_decay": 0.0, "seed": 5})
    check_equal(trained(task, specs, packed=True), alone(task, specs))
    assert capsys.readouterr().err == ""


def right(outputs, targets):
    return outputs.argmax(dim=-1) == targets


def masked_loss(outputs, targets):
    return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


class Masked(torch.utils.data.Dataset):
    """Dicts whose numbers of targets differ, read with random noise."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        x = torch.randn(6, 8, generator=torch.Generator().manual_seed(index))
        y = x.argmax(dim=1) % 4
        return {
            "x": x + 0.01 * torch.randn(()),
            "labels": y.masked_fill(torch.arange(6) > index % 6, -100),
        }


class OwnLoss(MLP):
    """Has weights that are tied or frozen, a buffer of its own, and a loss."""

    def __init__(self, width):
        super().__init__(width)
        self.again = self.hidden
        self.frozen = nn.Parameter(torch.randn(8), requires_grad=False)
        self.register_buffer("scale", torch.rand(8))

    def forward(self, x, labels):
        outputs = self.out(torch.relu(self.again(self.scale * x + self.frozen)))
        return {"loss": masked_loss(outputs, labels), "logits": outputs}


def test_batches_of_any_form_targets_that_differ_and_models_with_their_own_loss_are_packed():
    task = small_task(model=OwnLoss, loss=None, train_data=Masked(3000), val_data=Masked(300))
    specs = pack_of(task, *SEEDS)
    runs = trained(task, specs, packed=True)
    check_equal(runs, alone(task, specs))
    assert len({run.num_tokens for run in runs}) > 1


def test_metrics_a_step_of_ones_own_and_repeated_parts_of_the_data_are_packed():
    task = small_task(metrics={"accuracy": right})
    unique = 2.0 * spec_of(task).batch
    specs = pack_of(task, *({"seed": seed, "unique_tokens": unique} for seed in range(3)))
    check_equal(trained(task, specs, packed=True), alone(task, specs))
    stepped = small_task(
        loss=None, step=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])
    )
    specs = pack_of(stepped, *SEEDS)
    check_equal(trained(stepped, specs, packed=True), alone(stepped, specs))


def test_a_pack_computes_in_the_precision_of_its_runs():
    task = small_task(recipe=isoflop.Recipe(epochs=None, precision="bf16"))
    specs = pack_of(task, *SEEDS)
    runs, exact = (
        trained(task, specs, packed=True),
        trained(small_task(), pack_of(small_task(), *SEEDS)),
    )
    for run, other, own in zip(runs, exact, alone(task, specs), strict=True):
        assert run.loss == pytest.approx(own.loss, rel=0.02)
        assert abs(run.curve[0][1] / other.curve[0][1] - 1) > 1e-6


def test_a_run_that_diverges_leaves_the_others_untouched():
    task = small_task()
    specs = pack_of(task, {"seed": 0}, {"lr": 1e30, "seed": 1}, {"seed": 2})
    first, bad, last = trained(task, specs, packed=True)
    own = alone(task, specs)
    assert bad.status == "diverged"
    assert (bad.error, bad.num_tokens) == (own[1].error, own[1].num_tokens)
    assert first.loss == pytest.approx(own[0].loss, **NEAR)
    assert last.loss == pytest.approx(own[2].loss, **NEAR)


def test_the_seconds_of_a_pack_are_shared_out():
    import time

    task, began = small_task(), time.perf_counter()
    runs = trained(task, pack_of(task, *SEEDS), packed=True)
    assert sum(run.wall_seconds for run in runs) <= time.perf_counter() - began
    assert all(0 < run.seconds < run.wall_seconds for run in runs)


# -- what cannot be packed ------------------------------------------------------------------------


class Dropout(MLP):
    def forward(self, x):
        return self.out(nn.functional.dropout(torch.relu(self.hidden(x)), 0.1, self.training))


class LayerDrop(MLP):
    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)) * (random.random() < 0.9 or not self.training))


class BatchNorm(MLP):
    def __init__(self, width):
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.hidden(x))))


class Branching(MLP):
    def forward(self, x):
        outputs = super().forward(x)
        return outputs * 2 if outputs.mean() > 0 else outputs


class Reading(MLP):
    def forward(self, x):
        return super().forward(x) * (1 + 0 * self.out.weight.sum().item())


class Idle(MLP):
    def __init__(self, width):
        super().__init__(width)
        self.idle = nn.Parameter(torch.ones(3))


class Wrong(MLP):
    """Wrong where it is stacked, in a part that starts at zero."""

    def __init__(self, width):
        super().__init__(width)
        self.gate = nn.Parameter(torch.zeros(1, 8))

    def forward(self, x):
        factor = 1.001 if torch._C._functorch.is_functorch_wrapped_tensor(x) else 1.0
        return super().forward(x + factor * self.gate * x)


class Short(nn.Module):
    """Stores its weights in bf16 and computes in fp32, so that its gradients are equal."""

    def __init__(self, width):
        super().__init__()
        first, second = torch.randn(8, width), torch.randn(width, 4)
        self.hidden = nn.Parameter((0.3 * first).to(torch.bfloat16))
        self.out = nn.Parameter((0.3 * second).to(torch.bfloat16))

    def forward(self, x):
        return torch.relu(x @ self.hidden.float()) @ self.out.float()


REFUSED = {
    "draws random numbers": [{"model": Dropout}, {"model": LayerDrop}],
    "changes buffers in training": [{"model": BatchNorm}],
    "the model's step cannot be stacked": [{"model": Branching}, {"model": Reading}],
    "get no gradient": [{"model": Idle}],
    "of a shorter type than fp32": [{"model": Short}],
    "stacked, the gradients differ by": [{"model": Wrong}],
    "train_data cannot be read by index": [{"train_data": lambda seed: batches_of(seed)}],
    "optimizer of its own": [
        {"recipe": {"optimizer": lambda groups, lr, betas: torch.optim.SGD(groups, lr=lr)}}
    ],
    "groups of its own": [
        {"recipe": {"groups": lambda model, lr, decay: [{"params": list(model.parameters())}]}}
    ],
    "averages weights": [{"recipe": {"ema": 0.1}}],
    "has branches": [{"recipe": {"schedule": "wsd", "branches": True, "batch_tokens": 64}}],
}


def batches_of(seed):
    data = examples(4000, seed=1).tensors
    return ((data[0][k : k + 32], data[1][k : k + 32]) for k in range(0, 4000, 32))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        pytest.param(reason, one, id=f"{reason} {k}")
        for reason, all_ in REFUSED.items()
        for k, one in enumerate(all_)
    ],
)
def test_what_cannot_be_packed_is_trained_one_by_one_and_said(reason, changes, capsys):
    recipe = isoflop.Recipe(epochs=None, **changes.get("recipe", {}))
    task = small_task(**{**changes, "recipe": recipe})
    specs = pack_of(task, *SEEDS[:2])
    runs = trained(task, specs, packed=True)
    said = capsys.readouterr().err
    assert said.count("runs are trained one by one, not packed: ") == 1
    assert reason in said
    assert [run.loss for run in runs] == [run.loss for run in alone(task, specs)]


def test_compiled_models_and_trackers_are_not_packed(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda model, mode: model)
    task = small_task(recipe=isoflop.Recipe(epochs=None, compile=True))
    trained(task, pack_of(task, *SEEDS), packed=True)
    assert "not packed: the recipe compiles the model." in capsys.readouterr().err
    pytest.importorskip("tensorboard")
    trained(
        small_task(),
        pack_of(small_task(), *SEEDS),
        packed=True,
        store=tmp_path,
        trackers="tensorboard",
    )
    assert "not packed: trackers log one run at a time." in capsys.readouterr().err


def test_executors_that_cannot_pack_say_so(capsys):
    class Own:
        def map(self, work, specs):
            return map(work, specs)

    trained(small_task(), pack_of(small_task(), *SEEDS), packed=True, executor=Own())
    assert "only InProcess() and Processes() can pack them" in capsys.readouterr().err


def test_a_sweep_without_two_runs_of_a_kind_says_so(capsys):
    task = small_task()
    trained(task, isoflop.plan(task, budgets=[1e6], check_rates=None).specs[:2], packed=True)
    assert "no two of them have the same size, tokens and batch" in capsys.readouterr().err


def test_a_trainer_of_ones_own_cannot_be_packed():
    with pytest.raises(PlanError, match="packed runs are of isoflop's own loop"):
        trained(
            small_task(),
            pack_of(small_task(), *SEEDS),
            trainer=lambda spec, folder: 1.0,
            packed=True,
        )
    with pytest.raises(PlanError, match="packed must be True or False, but got 3"):
        trained(small_task(), pack_of(small_task(), *SEEDS), packed=3)


def test_a_pack_that_fails_on_its_way_is_trained_one_by_one(capsys):
    calls = count()

    class Failing(MLP):
        def forward(self, x):
            if torch._C._functorch.is_functorch_wrapped_tensor(x) and next(calls) == 7:
                raise ValueError("too many")
            return super().forward(x)

    task = small_task(model=Failing)
    specs = pack_of(task, *SEEDS)
    runs = trained(task, specs, packed=True)
    assert "not packed: ValueError: too many." in capsys.readouterr().err
    assert [run.loss for run in runs] == [
        run.loss for run in alone(small_task(), pack_of(small_task(), *SEEDS))
    ]


# -- stops and resumes ----------------------------------------------------------------------------


def stop_after(steps):
    numbers = count(1)
    return lambda: signal.SIGINT if next(numbers) == steps else None


def test_a_stopped_pack_is_resumed_by_a_pack_or_by_each_run_alone(tmp_path):
    task = small_task()
    specs, store = pack_of(task, *SEEDS), isoflop.DirectoryStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(train_pack(task, specs, store, stop_requested=stop_after(9)))
    assert len(list(tmp_path.glob("*/checkpoint"))) == 3
    first = train_model(task, specs[0], store)
    steps = iter(range(1000))
    rest = list(train_pack(task, specs[1:], store, stop_requested=lambda: next(steps) and None))
    assert next(steps) < specs[0].num_steps  # of which nine were taken before
    for run, own in zip([first, *rest], alone(task, specs), strict=True):
        assert run.loss == pytest.approx(own.loss, **NEAR)
        assert run.num_tokens == own.num_tokens
        assert [loss for _, loss in run.curve] == pytest.approx(
            [loss for _, loss in own.curve], **NEAR
        )


def test_runs_that_were_stopped_alone_at_different_steps_go_on_in_a_pack(tmp_path):
    task = small_task()
    specs, store = pack_of(task, *SEEDS), isoflop.DirectoryStore(tmp_path)
    for spec, steps in zip(specs, (3, 12), strict=False):
        with pytest.raises(KeyboardInterrupt):
            train_model(task, spec, store, stop_requested=stop_after(steps))
    runs = {run.spec.seed: run for run in train_pack(task, specs, store)}
    assert list(runs) == [1, 0, 2]  # as they end
    for own in alone(task, specs):
        assert runs[own.spec.seed].loss == pytest.approx(own.loss, **NEAR)


def test_a_stop_between_two_evaluations_loses_no_run_that_has_ended(tmp_path, monkeypatch):
    task = small_task()
    specs, store = pack_of(task, *SEEDS), isoflop.DirectoryStore(tmp_path)
    evaluate = packed_loop.evaluate

    def stopped(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments)

    monkeypatch.setattr(packed_loop, "evaluate", stopped)
    with pytest.raises(SystemExit) as left:
        trained(task, specs, store, packed=True)
    assert left.value.code == 75
    assert len(list(tmp_path.glob("*/record.json"))) == 1
    assert len(list(tmp_path.glob("*/checkpoint"))) == 2
    monkeypatch.undo()
    runs = trained(task, specs, store, packed=True)
    assert [run.loss for run in runs] == pytest.approx(
        [run.loss for run in alone(task, specs)], **NEAR
    )


def alone_in_turn(task, specs, store, **options):
    return [train_model(task, spec, store, **options) for spec in specs]


@pytest.mark.parametrize("train", [alone_in_turn, train_pack])
def test_a_slow_disk_does_not_take_all_of_the_time(train, tmp_path, monkeypatch):
    seconds, num_saved = count(), count()

    def slowly(*arguments, **options):
        next(num_saved)
        for _ in range(30):
            next(seconds)

    monkeypatch.setattr(Saver, "save", slowly)
    for module in (loop, packed_loop):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    task = small_task()
    specs = pack_of(task, *SEEDS[:2])
    list(train(task, specs, isoflop.DirectoryStore(tmp_path), checkpoint_seconds=20))
    assert 0 < next(num_saved) < specs[0].num_steps / 2


# -- where ----------------------------------------------------------------------------------------


def test_workers_train_a_pack_each_and_every_run_comes_back_once(warm_python, tmp_path):
    task = small_task()
    specs = [*pack_of(task, *SEEDS, {"seed": 3}), spec_of(task, 4)]
    seen = []
    runs = trained(
        task,
        specs,
        tmp_path,
        packed=True,
        executor=isoflop.Processes(2),
        on_record=lambda run: seen.append(run.id),
    )
    assert sorted(seen) == sorted(spec.id for spec in specs)
    assert [run.versions.get("packed") for run in runs] == ["2 runs"] * 4 + [None]
    assert [run.loss for run in runs] == pytest.approx(
        [run.loss for run in alone(task, specs)], **NEAR
    )


def test_one_call_and_the_command_line_pass_it_on(run, monkeypatch):
    def seen(*arguments, packed, **options):
        raise PlanError(f"packed is {packed}")

    monkeypatch.setattr(stages, "train", seen)
    budgets, store = [1e6, 3e6], isoflop.MemoryStore()
    with pytest.raises(PlanError, match="packed is True"):
        isoflop.find_optimal(small_task(), budgets=budgets, target=1e7, store=store, packed=True)
    code, _, said = run("train", "owned.py:task", "--budget=1e6", "--store=runs", "--packed")
    assert (code, "packed is True" in said) == (2, True)


def test_workers_cannot_write_packs_to_a_store_in_memory(capsys, warm_python):
    trained(
        small_task(), pack_of(small_task(), *SEEDS[:2]), packed=True, executor=isoflop.Processes(1)
    )
    assert "workers cannot write to a store in memory" in capsys.readouterr().err


def test_runs_of_another_program_are_left_to_it(tmp_path):
    task = small_task()
    specs, store = pack_of(task, *SEEDS), isoflop.DirectoryStore(tmp_path)
    trained(task, specs[:1], store)
    first, *others = trained(task, specs, store, packed=True)
    assert "packed" not in first.versions
    assert [run.versions["packed"] for run in others] == ["2 runs"] * 2


def test_packs_hold_equal_parts_of_the_specs_that_differ_in_seed_rate_and_decay_alone():
    task = small_task()
    cell = pack_of(task, *({"seed": seed, "lr": 0.1 / (1 + seed)} for seed in range(MOST + 1)))
    other = pack_of(
        task, {"batch": 3}, {"batch": 3, "weight_decay": 0.0}, {"batch": 3, "clip": 9.0}
    )
    packs = packs_of([*cell, *other])
    assert [len(pack) for pack in packs.values()] == [MOST // 2, MOST // 2 + 1, 2]
    assert [spec for pack in packs.values() for spec in pack] == [*cell, *other[:2]]
    assert all(key == pack[0].id for key, pack in packs.items())


def test_packs_leave_no_worker_idle_and_fit_the_memory():
    cell = pack_of(small_task(), *({"seed": seed} for seed in range(8)))
    assert [len(pack) for pack in packs_of(cell, at_once=3).values()] == [2, 3, 3]
    needs = {spec.id: 10.0 for spec in cell}
    assert [len(pack) for pack in packs_of(cell, 1, needs, 25.0).values()] == [2] * 4
    assert packs_of(cell, 1, needs, 19.0) == {}


def test_a_batch_without_targets_is_no_part_of_a_pack(monkeypatch):
    task = small_task()
    monkeypatch.setattr(packed_loop, "count_tokens", lambda task, batch: 0)
    with pytest.raises(NotPacked, match="a batch has no targets"):
        list(train_pack(task, pack_of(task, *SEEDS), isoflop.MemoryStore()))


def test_a_pack_in_this_process_reports_its_progress():
    task, seen = small_task(), []
    specs = pack_of(task, *SEEDS)
    runs = list(train_pack(task, specs, isoflop.MemoryStore(), on_progress=seen.append))
    assert [(p.spec.id, p.num_tokens, p.loss) for p in seen if p.spec == specs[1]] == [
        (specs[1].id, *point) for point in runs[1].curve
    ]
    assert InProcess().run_devices().num_bytes is None or math.isfinite(seen[0].loss)

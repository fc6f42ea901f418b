import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoflop
from isoflop.errors import ContractError
from isoflop.storage.directory import DirectoryStore
from isoflop.training.evaluation import evaluate
from isoflop.training.executors.work import TaskWork
from isoflop.training.loop import train_model
from isoflop.training.ranks import current_ranks
from tasks import MLP, examples, loss, mlp_task


def spec_of(task, budget=1e6, index=3):
    return isoflop.plan(task, budgets=[budget]).specs[index]


class Stop(Exception):
    pass


def stop_after(points):
    seen = []

    def on_progress(progress):
        seen.append(progress)
        if len(seen) == points:
            raise Stop

    return on_progress


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def test_trained_tokens_equal_the_plan_to_within_one_batch(store):
    task = mlp_task()
    for index in range(7):
        spec = spec_of(task, index=index)
        run = train_model(task, spec, store)
        assert 0 <= run.num_tokens - spec.num_tokens <= spec.batch
        assert run.flops == pytest.approx(spec.flops_per_token * run.num_tokens)


def test_tokens_are_counted_from_the_targets_that_are_trained_on(store):
    class Masked(torch.utils.data.Dataset):
        """The number of targets differs from example to example."""

        def __len__(self):
            return 3000

        def __getitem__(self, index):
            x = torch.randn(6, 8, generator=torch.Generator().manual_seed(index))
            y = x.argmax(dim=1) % 4
            return x, y.masked_fill(torch.arange(6) > index % 6, -100)

    task = mlp_task(
        train_data=Masked(),
        val_data=Masked(),
        loss=lambda outputs, targets: nn.functional.cross_entropy(
            outputs.flatten(0, 1), targets.flatten()
        ),
    )
    spec = spec_of(task)
    assert spec.tokens_per_example == pytest.approx(3.5, abs=0.4)
    run = train_model(task, spec, store)
    assert 0 <= run.num_tokens - spec.num_tokens <= 6 * spec.batch


def test_the_loss_is_held_out_and_carries_its_standard_error(store):
    task = mlp_task()
    run = train_model(task, spec_of(task), store)
    assert run.status == "completed"
    assert run.loss < math.log(4)
    assert 0 < run.loss_stderr < 0.1


def test_the_held_out_loss_is_the_mean_over_all_targets():
    task, model = mlp_task(), MLP(5)
    inputs, targets = task.val_data.tensors
    with torch.no_grad():
        each = nn.functional.cross_entropy(model(inputs), targets, reduction="none")
    found = evaluate(task, model, current_ranks(), nullcontext())
    assert found.loss == pytest.approx(each.mean().item(), rel=1e-6)
    assert found.loss_stderr == pytest.approx(each.std().item() / math.sqrt(500), rel=0.3)
    assert found.metrics == {}


def right(outputs, targets):
    return outputs.argmax(dim=1) == targets


def test_metrics_are_means_over_the_same_targets_and_leave_the_loss_as_it_is():
    plain, model = mlp_task(), MLP(5)
    task = mlp_task(
        metrics={
            "accuracy": right,
            "confidence": lambda outputs, _: outputs.softmax(1).amax(1).mean(),
        }
    )
    inputs, targets = task.val_data.tensors
    with torch.no_grad():
        outputs = model(inputs)
    found = evaluate(task, model, current_ranks(), nullcontext())
    assert found.metrics["accuracy"] == pytest.approx(
        right(outputs, targets).float().mean().item(), rel=1e-6
    )
    assert found.metrics["confidence"] == pytest.approx(
        outputs.softmax(1).amax(1).mean().item(), rel=1e-6
    )
    assert found.loss == evaluate(plain, model, current_ranks(), nullcontext()).loss


def test_a_run_records_its_metrics_and_trains_as_one_without(store):
    plain, task = mlp_task(), mlp_task(metrics={"accuracy": right})
    spec = spec_of(task)
    assert spec_of(plain).id == spec.id
    run = train_model(task, spec, store)
    assert 0.3 < run.metrics["accuracy"] < 1
    assert run.loss == train_model(plain, spec, isoflop.MemoryStore()).loss


def test_a_metric_that_gives_no_tensor_is_refused(store):
    task = mlp_task(metrics={"accuracy": lambda outputs, targets: 0.5})
    with pytest.raises(
        ContractError, match="The metric 'accuracy' must give a tensor, but gave float"
    ):
        train_model(task, spec_of(task), store)


def test_the_same_spec_gives_the_same_loss_to_the_last_bit(store):
    task = mlp_task()
    first, second = (train_model(task, spec_of(task), isoflop.MemoryStore()) for _ in range(2))
    assert first.loss == second.loss
    assert first.curve == second.curve


def test_another_seed_gives_another_loss(store):
    task = mlp_task()
    spec = spec_of(task)
    assert (
        train_model(task, spec, store).loss != train_model(task, replace(spec, seed=1), store).loss
    )


class Dropping(MLP):
    """Draws random numbers while it trains."""

    def forward(self, x):
        return self.out(nn.functional.dropout(torch.relu(self.hidden(x)), 0.2, self.training))


@pytest.mark.parametrize("model", [MLP, Dropping])
@pytest.mark.parametrize("points", [1, 37, 60])
def test_a_killed_run_resumes_bit_for_bit(store, model, points):
    task = mlp_task(model=model)
    spec = spec_of(task)
    undisturbed = train_model(task, spec, isoflop.MemoryStore())
    with pytest.raises(Stop):
        train_model(task, spec, store, on_progress=stop_after(points), checkpoint_seconds=0.0)
    steps = []
    resumed = train_model(task, spec, store, on_progress=steps.append)
    assert len(steps) <= 100 - points + 1
    assert resumed.loss == undisturbed.loss
    assert resumed.curve == undisturbed.curve
    assert resumed.num_tokens == undisturbed.num_tokens


def test_a_curve_beyond_the_checkpoint_is_cut_back(store):
    task = mlp_task()
    spec = spec_of(task)
    with pytest.raises(Stop):
        train_model(task, spec, store, on_progress=stop_after(50), checkpoint_seconds=0.0)
    store.append_curve(spec.id, [(10**9, 0.0)])
    assert (
        train_model(task, spec, store).curve == train_model(task, spec, isoflop.MemoryStore()).curve
    )


def test_a_loss_that_becomes_nan_ends_the_run_as_diverged(store):
    def poisoned(outputs, targets):
        return loss(outputs, targets) * (math.nan if not torch.is_grad_enabled() else 1.0)

    def exploding(outputs, targets):
        value = loss(outputs, targets)
        return (
            value / 0 if value < 1.2 and torch.is_grad_enabled() else value
        )  # not in the check of a plan

    for bad, reason in (
        (poisoned, "the held-out loss was nan"),
        (exploding, "the training loss was inf at step"),
    ):
        task = mlp_task(loss=exploding) if bad is exploding else mlp_task()
        spec = spec_of(task)
        run = train_model(replace(task, loss=bad), spec, store)
        assert run.status == "diverged"
        assert reason in run.error
        assert math.isnan(run.loss)


def test_an_exception_in_the_users_code_becomes_a_failed_record(store):
    class Failing(MLP):
        def forward(self, x):
            if self.training and len(x) > 2 and x.device.type == "cpu":
                raise RuntimeError("out of luck")
            return super().forward(x)

    task = mlp_task(model=Failing)
    spec = spec_of(mlp_task())
    run = TaskWork(task, store)(spec)
    assert run.status == "failed"
    assert run.error.startswith("RuntimeError: out of luck (in forward, line ")
    assert store.read_run(spec.id).error == run.error


def test_the_users_random_numbers_are_left_as_they_were(store):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_model(mlp_task(), spec_of(mlp_task()), store)
    assert torch.equal(torch.rand(3), expected)


def test_biases_and_gains_are_not_decayed():
    seen = []

    def optimizer(groups, lr, betas):
        seen.extend(
            (parameter.ndim, group["weight_decay"])
            for group in groups
            for parameter in group["params"]
        )
        return torch.optim.AdamW(groups, lr=lr, betas=betas)

    task = mlp_task(recipe=isoflop.Recipe(epochs=None, optimizer=optimizer))
    train_model(task, spec_of(task), isoflop.MemoryStore())
    assert set(seen) == {(2, 0.1), (1, 0.0)}


def test_the_learning_rate_peaks_at_the_plans_and_ends_near_zero():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    def optimizer(groups, lr, betas):
        return Watched(groups, lr=lr)

    task = mlp_task(recipe=isoflop.Recipe(epochs=None, optimizer=optimizer))
    spec = spec_of(task)
    rates.clear()  # a plan times a few steps
    train_model(task, spec, isoflop.MemoryStore())
    assert len(rates) == round(spec.num_tokens / spec.batch)
    assert max(rates) == pytest.approx(spec.lr, rel=0.01)
    assert rates[-1] < 0.01 * spec.lr


def test_a_stream_is_trained_like_a_dataset():
    class Stream:
        def __init__(self):
            self.data = examples(4000)

        def __iter__(self):
            return iter(self.data)

    task = mlp_task(train_data=Stream())
    run = train_model(task, spec_of(task), isoflop.MemoryStore())
    assert run.status == "completed"
    assert run.loss < math.log(4)


def test_speed_is_recorded_against_a_measured_peak(store):
    task = mlp_task()
    run = train_model(task, spec_of(task), store)
    assert run.tokens_per_second == pytest.approx(run.num_tokens / run.seconds)
    assert run.peak_flops_per_second > 1e8
    assert 0 < run.mfu < 1


def test_params_are_recorded_by_convention():
    spec = spec_of(mlp_task())
    assert spec.param_counts == {
        "total": 13 * spec.size + 4,
        "non_embedding": 13 * spec.size + 4,
        "matmul": 12 * spec.size,
    }

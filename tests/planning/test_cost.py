import math

import pytest
import torch
from torch import nn

import isoflop
from isoflop.compute.memory import STATE_BYTES_PER_PARAM
from isoflop.counting.counting import count_size
from isoflop.counting.memory import run_bytes
from isoflop.counting.peak import is_bf16, peak_flops
from isoflop.counting.speed import MAX_TIMED_BYTES, Rate, Speed, _fit_rate, measure_speed
from tasks import MLP, mlp_task


def test_overhead_and_rate_are_found_from_steps():
    points = [(flops, 0.001 + flops / 2e9) for flops in (1e4, 1e6, 1e8)]
    speed = _fit_rate(points)
    assert speed.overhead_seconds == pytest.approx(0.001)
    assert speed.per_second == pytest.approx(2e9)


def test_steps_that_differ_by_chance_alone_are_all_overhead():
    speed = _fit_rate([(1e3, 0.0011), (1e4, 0.0010), (1e5, 0.0009)])
    assert speed.per_second == math.inf
    assert speed.overhead_seconds == pytest.approx(0.001, rel=0.05)


def test_steps_without_overhead_are_all_rate():
    speed = _fit_rate([(1e6, 0.0009), (1e8, 0.1)])
    assert speed.overhead_seconds == 0
    assert speed.per_second == pytest.approx(1e9, rel=0.1)


def test_a_single_step_gives_a_rate():
    assert _fit_rate([(1e6, 0.01)]) == Rate(0.0, 1e8)


def test_small_models_make_less_of_the_peak():
    speed = Speed(steps=Rate(0.001, 5e9), peak_flops_per_second=1e10)
    small, large = (isoflop.plan(mlp_task(), budgets=[1e7]).specs[i] for i in (0, -1))
    assert speed.mfu(small) < speed.mfu(large) < 0.5


def test_steps_are_timed_in_the_precision_of_the_runs():
    seen = []

    def loss(outputs, targets):
        seen.append(outputs.dtype)
        return torch.nn.functional.cross_entropy(outputs.float(), targets)

    for precision in ("fp32", "bf16"):
        task = mlp_task(loss=loss, recipe=isoflop.Recipe(epochs=None, precision=precision))
        specs = isoflop.plan(task, budgets=[1e6]).specs
        seen.clear()
        measure_speed(task, specs)
        assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_runs_are_in_bf16_where_it_is_asked_for_or_the_device_has_it():
    assert is_bf16("bf16", "cpu")
    assert not is_bf16("auto", "cpu")
    assert not is_bf16("fp32", "cuda")


def test_the_peak_is_measured_once_for_a_number_of_threads():
    assert peak_flops("cpu", False) == peak_flops("cpu", False) > 1e8


def test_a_model_that_raises_at_a_real_batch_is_not_timed():
    class Raises(MLP):
        def forward(self, x):
            if len(x) > 2 and not x.is_meta:
                raise RuntimeError("no such batch")
            return super().forward(x)

    sweep = isoflop.plan(mlp_task(model=Raises), budgets=[1e6])
    assert sweep.specs
    assert not sweep.seconds


def test_memory_counts_the_params_that_a_tasks_own_count_leaves_out():
    task = mlp_task(num_params=lambda model: model.out.weight.numel())
    spec = isoflop.plan(task, budgets=[1e6]).specs[0]
    counted = count_size(task, spec.size)
    activations = spec.batch * counted.activation_bytes
    assert run_bytes(spec, counted) == STATE_BYTES_PER_PARAM * counted.params["total"] + activations


def test_models_that_need_much_memory_are_not_built_to_be_timed():
    class Table(MLP):
        largest = 0

        def __init__(self, width):
            super().__init__(width)
            self.table = nn.Embedding(2_000_000, width)
            if self.table.weight.device.type == "cpu":
                Table.largest = max(Table.largest, self.table.weight.numel())

        def forward(self, x):
            return self.out(torch.relu(self.hidden(x)) + self.table(x[:, 0].long().abs()))

    isoflop.plan(mlp_task(model=Table), budgets=[1e10])
    assert Table.largest <= MAX_TIMED_BYTES / STATE_BYTES_PER_PARAM

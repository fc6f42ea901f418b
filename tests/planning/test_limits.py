import pytest
import torch

import isoflop
from isoflop.compute.compute import HOUR
from isoflop.counting.counting import count_size
from isoflop.counting.memory import run_bytes
from isoflop.counting.sizes import SizeCount
from isoflop.counting.sizes_of import sizes_of
from isoflop.counting.speed import Rate, Speed
from isoflop.planning import limits
from isoflop.planning.limits import Room, least_bytes, room_on, within
from tasks import MLP, mlp_task


def counted(size, num_params, activation_bytes=0.0):
    return SizeCount(
        size=size,
        num_params=num_params,
        flops_per_token=6.0 * num_params,
        params={},
        activation_bytes=activation_bytes,
    )


class Narrow(MLP):
    """Builds at every width, but takes a batch up to one only."""

    def forward(self, x):
        if self.hidden.out_features in (26, 27):
            raise RuntimeError("no kernel for this width\nsee the log")
        return super().forward(x)


def small_device(monkeypatch, num_bytes):
    monkeypatch.setattr(limits, "device_bytes", lambda: float(num_bytes))


def test_what_binds_is_one_of_the_named_accelerators():
    assert room_on("8xH100") == Room("one H100 SXM", 80e9, True)


def test_programs_see_each_die_of_an_accelerator_as_a_device():
    assert room_on("MI250X") == Room("one die of MI250X", 64e9, True)


def test_a_machine_without_a_gpu_binds_only_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not room_on(None).binds
    assert room_on("here").binds


def test_a_gpu_that_is_there_binds(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    small_device(monkeypatch, 24e9)
    assert room_on(None) == Room("this machine's device", 24e9, True)


def test_a_size_needs_16_bytes_per_param_and_the_activations_of_one_example():
    assert least_bytes(counted(1, 1e9, 2e9)) == 18e9


def test_sizes_that_do_not_fit_are_left_out_with_what_they_need_and_what_there_is():
    sizes = [counted(size, size * 1e9) for size in (1, 2, 4, 8)]
    fits, notes = within(Room("one L4", 24e9, True), sizes, 1)
    assert [one.size for one in fits] == [1]
    assert notes[0] == "Size 2 is left out: it needs 32.0 GB, but one L4 has 24.0 GB."
    assert len(notes) == 3


def test_too_few_sizes_that_fit_are_refused_with_the_remedy():
    sizes = [counted(size, size * 1e9) for size in (1, 2, 4, 8)]
    with pytest.raises(
        isoflop.PlanError, match=r"only 1 of 4 fit\. Size 2 .* or name larger hardware="
    ):
        within(Room("one L4", 24e9, True), sizes, 3)


def test_memory_that_does_not_bind_is_a_note_on_the_runs():
    room = Room("this machine's device", 24e9, False)
    assert within(room, [counted(8, 8e9)], 1)[1] == []
    assert room.notes({"a": 128e9}) == [
        "The largest run needs about 128.0 GB, but this machine's device has 24.0 GB."
    ]
    assert room.notes({"a": 1e9}) == []


def test_where_memory_binds_only_whole_batches_are_noted():
    assert "batches are taken in parts" in Room("one L4", 24e9, True).notes({"a": 30e9})[0]


def test_a_plan_leaves_out_what_this_machine_does_not_hold_when_it_is_named(monkeypatch):
    free = isoflop.plan(mlp_task(), budgets=[1e7])
    largest = free.specs[-1]
    small_device(monkeypatch, 16 * largest.num_params - 1)
    bound = isoflop.plan(mlp_task(), budgets=[1e7], hardware="here")
    assert [spec.size for spec in bound.specs] == [spec.size for spec in free.specs[:-1]]
    assert any(
        note.startswith(f"Size {largest.size} is left out: it needs") for note in bound.notes
    )


def test_all_params_need_memory_where_a_tasks_own_count_leaves_some_out(monkeypatch):
    task = mlp_task(num_params=lambda model: model.out.weight.numel())
    free = isoflop.plan(task, budgets=[1e7])
    largest = free.specs[-1]
    small_device(monkeypatch, 16 * largest.param_counts["total"] - 1)
    bound = isoflop.plan(task, budgets=[1e7], hardware="here")
    assert [spec.size for spec in bound.specs] == [spec.size for spec in free.specs[:-1]]
    staged = isoflop.plan(task, target=1e12, spend=1e10, hardware="here")
    assert 0 < max(spec.size for spec in staged.specs) < largest.size
    assert any("is left out: it needs" in note for note in staged.notes)


def test_a_plan_is_told_in_hours_and_money_of_the_named_hardware():
    sweep = isoflop.plan(mlp_task(), budgets=[1e7], hardware="8xT4 at 30% MFU at $0.50/hour")
    hours = sweep.flops / (0.3 * 65e12) / HOUR
    assert sweep.compute.device_hours == pytest.approx(hours)
    assert sweep.compute.money == pytest.approx(0.5 * hours)
    assert "T4 hours at 30 % MFU, at least" in str(sweep).splitlines()[0]
    assert "on T4" in str(sweep).splitlines()[1]


def test_an_assumed_mfu_of_the_hardware_is_noted_once():
    sweep = isoflop.plan(mlp_task(), budgets=["1e-9 T4-hours"], hardware="8xT4")
    assert sum("No MFU was given" in note for note in sweep.notes) == 1


def test_hardware_that_is_not_in_the_table_is_refused_before_anything_is_counted():
    with pytest.raises(isoflop.PlanError, match="is it H100 SXM"):
        isoflop.plan(mlp_task(), budgets=[1e7], hardware="8xH10")


def test_a_size_whose_step_raises_is_left_out_with_its_error():
    task = mlp_task(model=Narrow)
    sweep = isoflop.plan(task, budgets=[1e7])
    assert not {26, 27} & {spec.size for spec in sweep.specs}
    assert len({spec.size for spec in sweep.specs}) == 7
    left_out = [note for note in sweep.notes if "is left out" in note]
    assert (
        "Size 26 is left out: a training step of it raised RuntimeError: no kernel for this width."
        in left_out
    )


def test_where_every_named_size_raises_the_first_error_is_shown():
    with pytest.raises(
        isoflop.PlanError,
        match="No size of 'width' can be trained. Size 2[67] is left out: .* no kernel",
    ):
        sizes_of(mlp_task(model=Narrow, sizes=[26, 27])).several_near([1000])


def test_mfu_is_the_share_of_the_measured_peak(monkeypatch):
    speed = Speed(steps=Rate(0.01, 5e9), peak_flops_per_second=1e10)
    monkeypatch.setattr("isoflop.counting.task_sizes.measure_speed", lambda task, specs: speed)
    sweep = isoflop.plan(mlp_task(), budgets=[1e7])
    for spec in sweep.specs:
        assert sweep.mfu[spec.id] == pytest.approx(spec.flops / sweep.seconds[spec.id] / 1e10)
        assert 0 < sweep.mfu[spec.id] < 0.5
    assert "MFU" in str(sweep).splitlines()[1]


def test_memory_of_a_run_is_that_of_its_whole_batch():
    sweep = isoflop.plan(mlp_task(), budgets=[1e6])
    spec = sweep.specs[0]
    size = count_size(mlp_task(), spec.size)
    assert run_bytes(spec, size) == 16 * size.num_params + spec.batch * size.activation_bytes

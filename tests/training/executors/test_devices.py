"""How many devices a run gets, from stand-in memory and numbers of devices."""

from dataclasses import replace

import promises
import pytest

import isoflop
from isoflop.counting import memory
from isoflop.training.executors.contract import demand_of
from isoflop.training.executors.devices import (
    Devices,
    check_devices,
    devices_of,
    needs_sharding,
    num_devices,
)
from isoflop.training.executors.ray import _Attempt, _Jobs
from isoflop.training.executors.simulated import Simulated
from tasks import mlp_task

GB = 1e9
SPEC = isoflop.RunSpec(num_params=1e9, num_tokens=2e10, flops=1.2e20, size=32, batch=64)
"""16 GB of weights, gradients and optimiser states."""


def of_16_gb_states_and(activations, *, device=80 * GB, most=8):
    return num_devices(SPEC, 16 * GB + activations, Devices(most=most, num_bytes=device), "auto")


class Noting:
    """An executor of 8 devices of some memory, which notes how many each run gets."""

    def __init__(self, num_bytes):
        self.num_bytes, self.given, self.sharded = num_bytes, [], []

    def run_devices(self):
        return Devices(most=8, num_bytes=self.num_bytes)

    def map(self, work, specs):
        self.given += [demand_of(work, spec).num_devices for spec in specs]
        self.sharded += [demand_of(work, spec).sharded for spec in specs]
        return Simulated(lambda N, D: 2.0).map(work, specs)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=[1e6])


def trained(sweep, executor, **options):
    return isoflop.train(
        mlp_task(), sweep, store=isoflop.MemoryStore(), executor=executor, progress=False, **options
    )


def test_a_run_that_fits_one_device_has_one():
    assert of_16_gb_states_and(64 * GB) == 1


def test_a_batch_too_large_for_one_device_has_the_fewest_that_hold_the_states_and_a_part_of_it():
    assert of_16_gb_states_and(65 * GB) == 2
    assert of_16_gb_states_and(128 * GB) == 2
    assert of_16_gb_states_and(129 * GB) == 4
    assert of_16_gb_states_and(512 * GB) == 8


def test_where_no_number_is_enough_it_is_the_most_there_are():
    assert of_16_gb_states_and(9000 * GB) == 8
    assert of_16_gb_states_and(9000 * GB, most=6) == 4
    assert of_16_gb_states_and(9000 * GB, most=1) == 1


def test_no_device_is_left_without_an_example():
    three = replace(SPEC, batch=3)
    assert num_devices(three, 9000 * GB, Devices(most=8, num_bytes=80 * GB), "auto") == 2


def test_what_is_not_known_decides_nothing():
    assert of_16_gb_states_and(9000 * GB, device=None) == 1
    assert num_devices(SPEC, None, Devices(most=8, num_bytes=80 * GB), "auto") == 1


def test_an_executor_is_told_how_many_devices_each_run_gets(sweep):
    states = {spec.id: 16 * spec.num_params for spec in sweep.specs}
    executor = Noting(max(states.values()) + 1000)
    first = states[sweep.specs[0].id]
    memory = {**states, sweep.specs[0].id: first + 3 * (executor.num_bytes - first)}
    trained(replace(sweep, memory_bytes=memory), executor)
    assert executor.given == [4] + [1] * (len(sweep.specs) - 1)


def test_a_number_is_taken_as_it_is(sweep):
    executor = Noting(1.0)
    trained(sweep, executor, devices_per_run=3)
    assert set(executor.given) == {3}


def test_states_that_exceed_a_device_are_one_sentence_with_size_memory_and_remedy():
    with pytest.raises(isoflop.PlanError) as told:
        check_devices(
            isoflop.InProcess(),
            Devices(num_bytes=10 * GB),
            "auto",
            [replace(SPEC, num_params=1e8), SPEC],
        )
    assert str(told.value) == (
        "Size 32 (1.00B params) needs 16.0 GB for weights, gradients and optimiser states, which each device of a run "
        "holds whole, but a device has 10.0 GB; plan with hardware= to leave such sizes out, or train on more devices "
        "or larger ones."
    )


def test_a_sweep_with_such_a_run_is_refused_before_anything_is_trained(sweep, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 1e3)
    store, noting = isoflop.MemoryStore(), Noting(1e3)
    whole, parts = (
        "which each device of a run holds whole",
        "of which each of 8 devices holds a part",
    )
    for executor, held in (
        (isoflop.InProcess(), whole),
        (isoflop.Processes(1), whole),
        (noting, parts),
    ):
        with pytest.raises(isoflop.PlanError, match=held):
            isoflop.train(mlp_task(), sweep, store=store, executor=executor, progress=False)
    assert (noting.given, store.read_runs()) == ([], [])


def test_an_executor_that_trains_nothing_or_elsewhere_is_not_held_to_the_memory_of_this_machine(
    sweep, monkeypatch
):
    monkeypatch.setattr(memory, "device_bytes", lambda: 1e3)
    assert len(trained(sweep, Simulated(lambda N, D: 2.0))) == len(sweep.specs)
    assert isoflop.Slurm(nodes=2, ntasks_per_node=4).run_devices() == Devices(per_run=8)
    assert isoflop.Slurm(nodes="2-4").run_devices() == Devices(per_run=2)


@pytest.mark.parametrize(
    "executor", [isoflop.InProcess(), isoflop.Processes(2), isoflop.Slurm(partition="gpu")]
)
def test_an_executor_that_cannot_spread_a_run_says_what_can(sweep, executor):
    with pytest.raises(
        isoflop.PlanError, match=r"devices_per_run=4 needs Ray\(\).*torchrun --nproc_per_node=4"
    ) as told:
        trained(sweep, executor, devices_per_run=4)
    assert f"{type(executor).__name__} here gives each run 1." in str(told.value)


@pytest.mark.parametrize("asked", [0, 1.5, "all"])
def test_a_number_of_devices_that_is_none_is_refused(sweep, asked):
    with pytest.raises(
        isoflop.PlanError, match=f'must be "auto" or a whole number from 1, but got {asked!r}'
    ):
        trained(sweep, Noting(1e12), devices_per_run=asked)


def test_under_torchrun_a_run_has_the_ranks_there_are():
    devices = devices_of(isoflop.InProcess(), 4)
    assert num_devices(SPEC, 9000 * GB, devices, "auto") == 4
    check_devices(isoflop.InProcess(), devices, 4, [SPEC])
    with pytest.raises(
        isoflop.PlanError, match="devices_per_run=2 needs .* InProcess here gives each run 4"
    ):
        check_devices(isoflop.InProcess(), devices, 2, [SPEC])


def test_ray_tells_its_devices_and_spreads_the_runs_that_one_does_not_hold(
    ray_cluster, sweep, monkeypatch
):
    """Only the number of processes is looked at: test_ray.py trains a run in two."""
    given = []

    def placed(jobs, spec, num_ranks=1):
        given.append(num_ranks)
        return _Attempt(spec, [jobs.ray.put(Simulated(lambda N, D: 2.0).run(spec))])

    monkeypatch.setattr(_Jobs, "_together", placed)
    monkeypatch.setattr(_Jobs, "_alone", placed)
    spec = promises.specs()[0]
    states, predicted = 16 * spec.num_params, sweep.memory_bytes[spec.id]
    ray = isoflop.Ray(gpu_memory=(states + predicted) / 2)
    assert ray.run_devices() == Devices(most=2, num_bytes=(states + predicted) / 2)
    for executor in (ray, isoflop.Ray(gpu_memory=predicted)):
        assert len(trained(replace(sweep, specs=(spec,)), executor)) == 1
    assert given == [2, 1]


def test_a_number_that_ray_was_given_stands(ray_cluster, sweep):
    assert isoflop.Ray(devices_per_run=2).run_devices() == Devices(per_run=2)
    assert isoflop.Ray(devices_per_run=0.25).run_devices() == Devices(per_run=1)
    with pytest.raises(isoflop.PlanError, match="Ray here gives each run 2"):
        trained(sweep, isoflop.Ray(devices_per_run=2), devices_per_run=4)


@pytest.mark.parametrize(
    ("device", "activations", "number", "sharded"),
    [
        (80 * GB, 60 * GB, 1, False),
        (80 * GB, 65 * GB, 2, False),  # the batch is divided first
        (10 * GB, 4 * GB, 2, True),  # 20 GB on devices of 10
        (10 * GB, 24 * GB, 4, True),
        (10 * GB, 900 * GB, 8, True),  # never enough: the states at least have to fit
        (20 * GB, 900 * GB, 8, False),  # never enough, but pieces of the batch are
        (None, 24 * GB, 1, False),
    ],
)
def test_a_run_is_sharded_where_no_number_of_devices_holds_it_otherwise(
    device, activations, number, sharded
):
    devices = Devices(most=8, num_bytes=device)
    needs = 16 * GB + activations
    assert num_devices(SPEC, needs, devices, "auto") == number
    assert needs_sharding(SPEC, needs, devices, number, "auto") is sharded


def test_under_torchrun_a_run_is_sharded_if_its_states_do_not_fit_or_on_request():
    devices = Devices(per_run=4, num_bytes=10 * GB)
    check_devices(isoflop.InProcess(), devices, "auto", [SPEC])
    assert needs_sharding(SPEC, None, devices, 4, "auto")
    assert not needs_sharding(SPEC, None, devices, 4, False)
    assert not needs_sharding(SPEC, None, Devices(per_run=4, num_bytes=80 * GB), 4, "auto")
    assert needs_sharding(SPEC, None, Devices(per_run=4, num_bytes=80 * GB), 4, True)
    assert not needs_sharding(SPEC, None, devices, 1, True)
    with pytest.raises(isoflop.PlanError, match=r"holds whole.*or train on larger devices\.$"):
        check_devices(isoflop.InProcess(), devices, "auto", [SPEC], False)


def test_an_executor_is_told_which_runs_are_sharded(sweep):
    states = {spec.id: 16 * spec.num_params for spec in sweep.specs}
    executor = Noting(0.5 * max(states.values()))
    trained(replace(sweep, memory_bytes=states), executor)
    num_large = sum(num_bytes > executor.num_bytes for num_bytes in states.values())
    assert sum(executor.sharded) == num_large
    assert 0 < num_large < len(states)


def test_sharding_is_yes_no_or_auto(sweep):
    with pytest.raises(isoflop.PlanError, match='sharding must be "auto", True or False'):
        trained(sweep, Noting(1e12), sharding="full")

import numpy as np
import pytest

import isoflop
from isoflop.answers.predict import predict
from isoflop.compute.memory import memory_of
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.training.executors.simulated import Simulated
from known_law import LAW, a_wide_sweep
from tasks import mlp_task

MOST = 80e9 / 16


@pytest.fixture(scope="module")
def known():
    """A fit to exact losses of a law, whose answers are that law's."""
    return fit(a_wide_sweep(), Parametric())


@pytest.mark.parametrize(
    ("device", "bytes_"),
    [
        (80e9, 80e9),
        ("80e9", 80e9),
        ("80 GB", 80e9),
        ("40GiB", 40 * 2**30),
        ("1.5 TB", 1.5e12),
        ("H100", 80e9),
        ("8xH200", 141e9),
    ],
)
def test_a_devices_memory_is_bytes_a_size_or_a_name(device, bytes_):
    assert memory_of(device) == bytes_


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (0, "must be '80 GB', 'H100' or bytes from 1e3"),
        (80, "must be '80 GB', 'H100' or bytes from 1e3 to 1e18, but got 80"),
        ("0 GB", "must be '80 GB'"),
        (float("nan"), "but got nan"),
        ([80e9], "but got"),
        ("H10", "is it H100"),
    ],
)
def test_what_is_no_memory_is_refused(device, message):
    with pytest.raises(isoflop.PlanError, match=message):
        memory_of(device)


def test_the_size_is_kept_to_what_the_device_holds_and_the_rest_of_the_compute_goes_into_tokens(
    known,
):
    answer = predict(known, flops=1e22, device_memory="80 GB")
    N = np.geomspace(1e8, MOST, 2000)
    best = N[np.argmin(LAW.loss(N, 1e22 / (6 * N)))]
    assert answer.num_params.value == pytest.approx(best, rel=1e-3)
    assert answer.num_tokens.value == pytest.approx(1e22 / (6 * best), rel=1e-3)
    assert answer.loss.value == pytest.approx(LAW.loss(MOST, 1e22 / (6 * MOST)), rel=1e-3)
    assert answer.band[1] <= MOST * 1.001


def test_the_note_says_what_is_needed_and_what_the_limit_costs(known):
    answer = predict(known, flops=1e22, device_memory="80 GB")
    free = predict(known, flops=1e22).num_params.value
    C = np.geomspace(1e21, 1e22, 20_000)
    enough = np.interp(
        -LAW.loss(MOST, 1e22 / (6 * MOST)), -LAW.optimal_loss(C), C
    )  # for the same loss without limit
    (note,) = (note for note in answer.notes if "device's memory" in note)
    assert "5.00B params in 80.0 GB at 16 bytes each" in note
    assert f"needs {free * 16 / 1e9:.0f} GB" in note
    assert f"{100 * (1 - enough / 1e22):.0f} % less compute" in note


def test_a_limit_that_does_not_bind_changes_nothing(known):
    limited, free = (predict(known, flops=1e20, device_memory=device) for device in ("80 GB", None))
    assert limited.num_params.value == pytest.approx(free.num_params.value)
    assert limited.loss.value == pytest.approx(free.loss.value)
    assert limited.notes == free.notes


def test_the_least_compute_for_a_loss_is_that_of_the_largest_size_that_fits(known):
    answer = predict(known, loss=2.05, device_memory="80 GB")
    D = np.geomspace(1e10, 1e14, 100_000)
    tokens = np.interp(-2.05, -LAW.loss(MOST, D), D)
    assert answer.num_tokens.value == pytest.approx(tokens, rel=2e-3)
    assert answer.flops == pytest.approx(6 * MOST * tokens, rel=2e-3)


def test_a_loss_that_no_size_within_the_device_reaches_is_refused(known):
    with pytest.raises(isoflop.DataError, match="no compute gives loss 1.86"):
        predict(known, loss=1.86, device_memory="80 GB")


def test_given_tokens_train_the_largest_size_that_fits(known):
    answer = predict(known, num_tokens=1e12, device_memory="80 GB")
    assert answer.flops == pytest.approx(6 * MOST * 1e12, rel=1e-3)


def test_serving_and_finite_data_keep_to_the_device_too(known):
    for condition in ({"served_tokens": 1e12}, {"unique_tokens": 2e10}):
        answer = predict(known, flops=1e22, device_memory="24 GB", **condition)
        assert answer.num_params.value == pytest.approx(1.5e9)
        assert any("device's memory" in note for note in answer.notes)


def test_intervals_of_a_limited_size_do_not_pass_the_limit(known):
    noisy = fit(a_wide_sweep(noise=0.005), Parametric())
    answer = predict(noisy, flops=4e21, device_memory="100 GB")
    assert answer.num_params.low < answer.num_params.high <= 100e9 / 16 * 1.000001


def test_asking_for_more_params_than_fit_is_refused_with_both_sizes(known):
    with pytest.raises(
        isoflop.DataError,
        match=r"8.00B params need 128 GB at 16 bytes each, but the device has 80.0 GB",
    ):
        predict(known, num_params=8e9, device_memory="80 GB")


def test_a_frontier_alone_cannot_tell_what_a_limit_costs():
    with pytest.raises(isoflop.DataError, match="device_memory needs a law of the loss"):
        predict(fit(a_wide_sweep(), IsoFLOP()), flops=1e22, device_memory="80 GB")


def test_compute_may_be_told_in_words(known):
    words = predict(known, flops="8xH100 for 3 days")
    assert words.flops == pytest.approx(8 * 3 * 86400 * 0.38 * 989.4e12)
    assert sum("No MFU was given" in note for note in words.notes) == 1


def test_with_a_task_the_size_to_build_fits_the_device():
    task = mlp_task()
    sweep = isoflop.plan(task, budgets=[1e6, 3e6, 1e7])
    law = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
    runs = isoflop.train(
        task, sweep, store=isoflop.MemoryStore(), executor=Simulated(law.loss), progress=False
    )
    fitted = fit(runs, Parametric())
    free = predict(fitted, flops=1e8, task=task)
    limit = 16.0 * (free.size_num_params - 1)
    limited = predict(fitted, flops=1e8, task=task, device_memory=limit)
    assert limited.size == free.size - 1
    assert limited.size_num_params * 16 <= limit

"""The noise between seeds, from runs that differ in nothing else."""

import math
from dataclasses import replace

import pytest
from sweeps import a_sweep

from isoflop.display.format import format_percent
from isoflop.fitting.fit import fit
from isoflop.fitting.screening.seeds import are_seeds, seed_noise
from isoflop.runs import Run, RunSpec


def made(N: float, seed: int, loss: float) -> Run:
    spec = RunSpec(num_params=N, num_tokens=1e9, flops=6e9 * N, seed=seed)
    return Run(spec=spec, status="completed", loss=loss, num_tokens=1e9, flops=spec.flops)


def test_the_noise_is_the_standard_deviation_of_log_loss_pooled_over_cells():
    runs = [made(1e6, seed, math.exp(value)) for seed, value in enumerate((0.99, 1.00, 1.01))]
    runs += [made(2e6, seed, math.exp(value)) for seed, value in enumerate((0.8, 0.84))]
    assert seed_noise(runs) == pytest.approx(math.sqrt((2e-4 + 8e-4) / 3))


def test_runs_without_repeats_tell_no_noise():
    assert seed_noise([made(1e6, 0, 3.0), made(2e6, 0, 2.9)]) is None


def test_runs_that_differ_in_more_than_the_seed_are_no_repeats():
    first, second = made(1e6, 0, 3.0), made(1e6, 1, 2.9)
    assert seed_noise([first, replace(second, spec=replace(second.spec, lr=0.1))]) is None


def test_other_seeds_are_no_mere_copies():
    assert are_seeds([made(1e6, 0, 3.0), made(1e6, 1, 3.01), made(2e6, 0, 2.9)])
    assert not are_seeds([made(1e6, 0, 3.0), made(1e6, 0, 3.01), made(2e6, 1, 2.9)])


def test_a_fit_tells_the_noise_between_seeds_and_has_nothing_against_them():
    runs = a_sweep()
    again = [
        replace(runs[3], spec=replace(runs[3].spec, seed=seed), loss=runs[3].loss * 1.01**seed)
        for seed in (1, 2)
    ]
    found = fit([*runs, *again], resamples=20)
    assert (
        f"noise     {format_percent(seed_noise(found.runs))} of the loss from seed to seed"
        in str(found)
    )
    assert not any("independent configurations" in note for note in found.notes)

"""The tasks of the campaign are what their descriptions say."""

import importlib

import numpy as np
import pytest
import torch

NETS = {"causal_conv": "CausalConvNet", "feed_forward": "FeedForwardNet", "ssm": "SSM"}


@pytest.fixture
def pendulum(benchmarks_can_be_imported):
    return importlib.import_module("pendulum")


@pytest.mark.parametrize("module", NETS)
def test_no_byte_is_seen_before_it_is_predicted(module):
    torch.manual_seed(0)
    net = getattr(importlib.import_module(module), NETS[module])(16)
    for parameter in net.parameters():  # some start at zero, and would hide what they let through
        torch.nn.init.normal_(parameter, std=0.3)
    text = torch.randint(256, (2, 64))
    other = text.clone()
    other[:, 40:] = torch.randint(256, (2, 24))
    assert torch.equal(net(text)[:, :40], net(other)[:, :40])
    assert not torch.allclose(net(text)[:, 40:], net(other)[:, 40:])


def test_a_pendulum_keeps_its_energy_and_small_swings_have_their_periods(pendulum):
    rng = np.random.default_rng(0)
    angles, speeds = rng.uniform(-2, 2, (2, 500)), rng.uniform(-1, 1, (2, 500))
    start = np.concatenate([angles, speeds])

    def energy(state):
        a, b, u, v = state
        return u**2 + v**2 / 2 + u * v * np.cos(a - b) - 2 * np.cos(a) - np.cos(b)

    drift = np.abs(energy(pendulum.integrated(start)) - energy(start))
    assert np.median(drift) < 1e-3
    assert drift.max() < 0.2  # of the fastest ones, in 40 steps
    # both normal modes: b = +-sqrt(2) a, of squared frequency 2 -+ sqrt(2)
    for sign in (1, -1):
        a = 1e-3 * np.ones((1,))
        mode = np.stack([a, sign * np.sqrt(2) * a, 0 * a, 0 * a])
        time = pendulum.STEPS * pendulum.STEP
        expected = 1e-3 * np.cos(np.sqrt(2 - sign * np.sqrt(2)) * time)
        assert pendulum.integrated(mode)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_pendulums_are_functions_of_their_numbers(pendulum):
    train, held_out = pendulum.pendulums()
    numbers = [train.dataset[index] for index in (5, 2**29)]
    alone, both = train.collate_fn(numbers[:1]), train.collate_fn(numbers)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(alone, both, strict=True))
    assert not set(numbers) & set(range(len(held_out)))
    start, _ = held_out[0]
    assert start.shape == (6,)
    assert torch.allclose(start[:2] ** 2 + start[2:4] ** 2, torch.ones(2))  # sines and cosines
    starts, measured = (values.double().numpy() for values in pendulum.swung(np.arange(4096)))
    angles = np.arctan2(starts[:, :2], starts[:, 2:4])
    end = pendulum.integrated(np.concatenate([angles, starts[:, 4:]], axis=1).T)[:2]
    place = np.stack([np.sin(end).sum(0), -np.cos(end).sum(0)], axis=1)
    assert np.std(measured - place) == pytest.approx(pendulum.NOISE, rel=0.1)

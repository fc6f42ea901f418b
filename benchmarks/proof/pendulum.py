"""Endless double pendulums: where the second bob is after a while, measured with noise.

Two bobs of equal mass on rods of equal length start from random angles and speeds. Where they
start fast or high their motion is chaotic, so that part of the answer stays out of reach of any
model that can be trained here. An error of 1 is a rod's length; the noise alone costs NOISE**2.
"""

import hashlib
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numbered import hashed, numbered
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ANGLE, SPEED = 2.0, 1.0
"""Largest angle from the vertical in radians, and speed in radians per unit of time."""
STEPS, STEP = 40, 0.1
"""Of the integration. The unit of time is the root of a rod's length over the acceleration of
gravity; a single pendulum swings once in 6.3 of them."""
NOISE = 0.1
"""Standard deviation of the measurement, in rods."""
NUM_TRAIN, NUM_HELD_OUT = 2**30, 2**14
SLOTS = 8
"""Random numbers of an example: two angles, two speeds, the noise of two coordinates."""


@cache
def pendulums() -> tuple[DataLoader, TensorDataset]:
    """Training and held-out pendulums; each run reads all of the latter."""
    return numbered(swung, NUM_HELD_OUT, NUM_TRAIN), TensorDataset(*swung(np.arange(NUM_HELD_OUT)))


def swung(numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Sines and cosines of the angles and the speeds at the start, and the second bob's place."""
    random = hashed(numbers.astype(np.uint64), SLOTS)
    angles = ANGLE * (2 * random[:, :2].T - 1)
    speeds = SPEED * (2 * random[:, 2:4].T - 1)
    starts = np.concatenate([np.sin(angles), np.cos(angles), speeds])
    end = integrated(np.concatenate([angles, speeds]))[:2]
    place = np.stack([np.sin(end).sum(0), -np.cos(end).sum(0)], axis=1)
    measured = place + NOISE * np.sqrt(np.float32(12)) * (random[:, 4:6] - 0.5)
    return torch.from_numpy(starts.T.copy()), torch.from_numpy(measured.astype(np.float32))


def integrated(state: np.ndarray) -> np.ndarray:
    """Angles and speeds (4, examples) after STEPS steps of the classical Runge-Kutta method."""
    half = np.float32(STEP / 2)
    for _ in range(STEPS):
        first = motion(state)
        second = motion(state + half * first)
        third = motion(state + half * second)
        fourth = motion(state + 2 * half * third)
        state = state + half / 3 * (first + 2 * (second + third) + fourth)
    return state


def motion(state: np.ndarray) -> np.ndarray:
    """Speeds and accelerations of both angles, by Lagrange's equations."""
    (a, b), (u, v) = state[:2], state[2:]
    sine, cosine = np.sin(a - b), np.cos(a - b)
    across = v * v * sine + 2 * np.sin(a)
    along = u * u * sine - np.sin(b)
    below = 2 - cosine * cosine
    return np.stack(
        [u, v, -(across + along * cosine) / below, (2 * along + across * cosine) / below]
    )


class ResidualNet(nn.Module):
    """Two coordinates from the six numbers of a start."""

    def __init__(self, width: int, num_layers: int = 3) -> None:
        super().__init__()
        self.read = nn.Linear(6, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(num_layers))
        self.ups = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(num_layers))
        self.downs = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(num_layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, 2)

    def forward(self, starts):
        x = self.read(starts)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            x = x + down(F.gelu(up(norm(x))))
        return self.head(self.norm(x))


def digest() -> str:
    """16 hexadecimal digits that identify the pendulums, up to rounding."""
    starts, _ = swung(np.arange(256))
    coarse = torch.round(starts.double() * 1e4).long()
    return hashlib.sha256(coarse.numpy().tobytes()).hexdigest()[:16]

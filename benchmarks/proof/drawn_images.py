"""Endless procedural images, each a function of its number, with labels that a teacher draws.

An image is a few soft blobs of colour with noise. The teacher, a random convolutional network that
sees where in the image something is, turns it into class probabilities, from which the label is
drawn. The loss of a perfect model is the mean entropy of these. All random numbers are hashes of
the image's number, so that no image is stored, and none differs between machines.
"""

import hashlib
import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numbered import hashed, numbered
from torch.utils.data import DataLoader, TensorDataset

SIDE, NUM_BLOBS, NOISE = 16, 4, 0.3
NUM_CLASSES = 16
SHARPNESS = 3.0
"""Standard deviation of the teacher's logits over images."""
NUM_TRAIN, NUM_HELD_OUT = 2**24, 2**13
PIXELS = 3 * SIDE**2
SLOTS = 1024
"""Random numbers of an image: pixels first, then blobs, then the label's."""
LABEL = SLOTS - 1


@cache
def images() -> tuple[DataLoader, TensorDataset]:
    """Training and held-out images; each run reads all of the latter."""
    return numbered(drawn, NUM_HELD_OUT, NUM_TRAIN), TensorDataset(*drawn(np.arange(NUM_HELD_OUT)))


def drawn(numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of some numbers."""
    random = hashed(numbers.astype(np.uint64), SLOTS)
    pictures = torch.from_numpy(painted(random))
    cumulative = teacher().probabilities(pictures).cumsum(1)
    uniform = torch.from_numpy(np.ascontiguousarray(random[:, LABEL : LABEL + 1]))
    return pictures, (uniform > cumulative).sum(1).clamp(max=NUM_CLASSES - 1)


def painted(random: np.ndarray) -> np.ndarray:
    """Blobs with random places, widths and colours, and uniform noise of standard deviation .3."""
    noise = (random[:, :PIXELS] - 0.5) * (NOISE * math.sqrt(12))
    blobs = random[:, PIXELS : PIXELS + 6 * NUM_BLOBS].reshape(-1, NUM_BLOBS, 6)
    x, y = (2 * blobs[..., k, None] - 1 for k in (0, 1))
    width = 0.15 + 0.35 * blobs[..., 2, None]
    grid = np.linspace(-1, 1, SIDE, dtype=np.float32)
    across, down = (np.exp(-((grid - at) ** 2) / (2 * width**2)) for at in (x, y))
    colours = (blobs[..., 3:] - 0.5) * math.sqrt(12)
    painted = np.einsum("nbc,nbh,nbw->nchw", colours, down, across, optimize=True)
    return (painted + noise.reshape(painted.shape)).astype(np.float32)


class Teacher:
    """Three convolutions, means of the quarters of the image, and a linear layer, all random."""

    SHAPES = ((16, 3, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (NUM_CLASSES, 4 * 32))

    def __init__(self) -> None:
        # numbers that no training or held-out image has
        random = hashed(np.arange(2**40, 2**40 + 64, dtype=np.uint64), SLOTS).ravel()
        sizes = np.cumsum([math.prod(shape) for shape in self.SHAPES])
        parts = np.split(random[: sizes[-1]], sizes[:-1])
        self.weights = [
            torch.from_numpy((part - 0.5) * math.sqrt(24 / math.prod(shape[1:]))).reshape(shape)
            for part, shape in zip(parts, self.SHAPES, strict=True)
        ]
        sample = painted(hashed(np.arange(2**41, 2**41 + 4096, dtype=np.uint64), SLOTS))
        logits = self._raw(torch.from_numpy(sample))
        self.mean, self.scale = logits.mean(0), logits.std(0) / SHARPNESS

    @torch.no_grad()
    def probabilities(self, pictures: torch.Tensor) -> torch.Tensor:
        """Of each class (images, classes)."""
        return F.softmax((self._raw(pictures) - self.mean) / self.scale, dim=1)

    def _raw(self, x: torch.Tensor) -> torch.Tensor:
        *convolutions, out = self.weights
        for k, weight in enumerate(convolutions):
            x = F.relu(F.conv2d(x, weight, stride=2 if k == 1 else 1, padding=1))
        return F.adaptive_avg_pool2d(x, 2).flatten(1) @ out.T


@cache
def teacher() -> Teacher:
    return Teacher()


def entropy(num_images: int = NUM_HELD_OUT) -> float:
    """Loss of a perfect model on the held-out images, in nats."""
    pictures = torch.from_numpy(painted(hashed(np.arange(num_images, dtype=np.uint64), SLOTS)))
    p = teacher().probabilities(pictures)
    return float(-(p * p.clamp_min(1e-30).log()).sum(1).mean())


def digest() -> str:
    """16 hexadecimal digits that identify images and labels, up to rounding."""
    pictures, labels = drawn(np.arange(256))
    coarse = torch.round(pictures.double().mean((1, 2, 3)) * 1e4).long()
    return hashlib.sha256(torch.cat([coarse, labels]).numpy().tobytes()).hexdigest()[:16]

"""The tasks that check.py trains, all from data made here or that Python brings."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scale import Scale
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import isoflop
from data.python_source import ByteWindows, python_source
from models.gpt import GPT

__all__ = [
    "Stopwatch",
    "byte_task",
    "gpt_task",
    "image_task",
    "spec_of",
    "token_loss",
    "with_steps",
]

CONTEXT = 64


def token_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def gpt_task(scale: Scale) -> isoflop.Task:
    """A GPT in bf16, compiled, on walks of tokens."""
    return isoflop.Task(
        model=GPT,
        size_param="width",
        model_kwargs={
            "num_layers": scale.layers,
            "num_heads": scale.heads,
            "vocabulary": scale.vocabulary,
        },
        train_data=walks(scale, scale.batch * scale.steps, seed=0),
        val_data=walks(scale, scale.batch, seed=1),
        loss=token_loss,
        sizes=[scale.width // 2, scale.width, 2 * scale.width],
        recipe=isoflop.Recipe(
            compile=scale.compile, epochs=None, eval_tokens=scale.batch * scale.context
        ),
    )


def walks(scale: Scale, num_sequences: int, seed: int) -> TensorDataset:
    """Sequences in which each token is at most seven places after the last: a model can learn."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_sequences, scale.context + 1)
    tokens = torch.randint(0, 8, shape, generator=generator).cumsum(1) % scale.vocabulary
    return TensorDataset(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


def byte_task(
    scale: Scale,
    widths: tuple[int, ...],
    model: type[nn.Module] = GPT,
    seeds: tuple[int, ...] = (0,),
) -> isoflop.Task:
    """Small GPTs on the source of Python's standard library, held in memory."""
    train_data, val_data = (in_memory(part, scale.num_windows) for part in python_source(CONTEXT))
    return isoflop.Task(
        model=model,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=token_loss,
        unit="byte",
        sizes=list(widths),
        recipe=isoflop.Recipe(epochs=None, eval_tokens=scale.eval_tokens, seeds=seeds),
    )


def in_memory(windows: ByteWindows, most: int) -> TensorDataset:
    """Windows of bytes as tensors, so that reading them costs nothing."""
    number = min(most, len(windows))
    text = torch.from_numpy(windows.bytes[: number * CONTEXT + 1].astype(np.int64))
    return TensorDataset(text[:-1].view(number, CONTEXT), text[1:].view(number, CONTEXT))


class PackedImages(Dataset):
    """Compressed images that are decoded, mirrored at random and scaled when they are read."""

    def __init__(self, number: int, side: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.side, self.labels = side, generator.integers(0, 10, number)
        rows = np.arange(side)[:, None, None] // 2
        self.packed = [
            # a level for each class, and noise that compresses to about half of its bytes
            zlib.compress(np.uint8(rows + 9 * label + noise).tobytes())
            for label, noise in zip(
                self.labels, generator.integers(0, 16, (64, side, side, 3)), strict=False
            )
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        which = index % len(self.packed)
        pixels = np.frombuffer(zlib.decompress(self.packed[which]), dtype=np.uint8)
        image = torch.from_numpy(pixels.reshape(self.side, self.side, 3).astype(np.float32))
        image = (image - image.mean()) / (image.std() + 1)
        if torch.rand(()) < 0.5:
            image = image.flip(1)
        return image.permute(2, 0, 1), int(self.labels[which])


class ConvNet(nn.Module):
    """Strided convolutions, their mean and a line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, images):
        for layer in self.layers:
            images = F.relu(layer(images))
        return self.head(images.mean((2, 3)))


def image_task(scale: Scale) -> isoflop.Task:
    """A convolutional net on images whose decoding takes processes of its own."""
    loader = DataLoader(
        PackedImages(scale.num_images, scale.image, seed=0),
        batch_size=scale.images_batch,
        shuffle=True,
        drop_last=True,
        num_workers=scale.workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=scale.workers > 0,
    )
    return isoflop.Task(
        model=ConvNet,
        size_param="channels",
        train_data=loader,
        val_data=PackedImages(8, scale.image, seed=1),
        loss=F.cross_entropy,
        unit="image",
        sizes=[scale.channels // 2, scale.channels, 2 * scale.channels],
        recipe=isoflop.Recipe(epochs=None, eval_tokens=8, precision="fp32"),
    )


def spec_of(task: isoflop.Task, size: int, flops: float) -> isoflop.RunSpec:
    """The run of a size that costs so much."""
    specs = isoflop.plan(task, budgets=[flops], check_rates=None).specs
    return next(spec for spec in specs if spec.size == size)


def with_steps(spec: isoflop.RunSpec, batch: int, num_steps: int) -> isoflop.RunSpec:
    """The same run with another number of steps of a batch."""
    num_tokens = round(num_steps * batch * spec.tokens_per_example)
    flops = spec.flops_per_token * num_tokens
    return replace(spec, batch=batch, num_tokens=num_tokens, flops=flops, budget=flops)


class Stopwatch:
    """Wall seconds of a block, the GPU's work included."""

    seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - began

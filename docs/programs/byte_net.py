"""A small network over bytes, real text for it, and the task that puts both together."""

import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import isoflop


class ByteNet(nn.Module):
    """Causal convolutions over bytes; `width` is what grows."""

    def __init__(self, width, num_layers=3):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 4) for _ in range(num_layers)
        )
        self.head = nn.Linear(width, 256)

    def forward(self, text):
        x = self.embed(text).transpose(1, 2)
        for layer in self.layers:
            x = x + F.gelu(layer(F.pad(x, (3, 0))))
        return self.head(x.transpose(1, 2))


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def windows(files):
    """Windows of 64 bytes, each with the same window one byte on."""
    text = b"".join(path.read_bytes() for path in files)
    text = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    rows = text.unfold(0, 65, 64)
    return TensorDataset(rows[:, :-1], rows[:, 1:])


files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
train_data = windows([file for k, file in enumerate(files) if k % 10])
val_data = windows(files[::10])
task = isoflop.Task(
    model=ByteNet,
    size_param="width",
    train_data=train_data,
    val_data=val_data,
    loss=loss,
    unit="byte",
)

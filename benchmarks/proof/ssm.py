"""A state-space model over bytes: Mamba-2's layer in its quadratic form, for short contexts.

Each head has a state that decays by an amount that depends on the input (Dao & Gu 2024,
arXiv 2405.21060). Over a context of 64 bytes, the matrix of decays between all pairs of positions
is cheaper than the recurrence that it equals.
"""

import torch
import torch.nn.functional as F
from torch import nn

NUM_HEADS, STATE, TAPS = 4, 16, 4


class StateSpace(nn.Module):
    """The layer: a short convolution, the recurrence, and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = 2 * width
        self.read = nn.Linear(width, 2 * self.inner + 2 * STATE + NUM_HEADS)
        self.taps = nn.Parameter(torch.randn(TAPS, self.inner) / TAPS)
        self.skip = nn.Parameter(torch.ones(self.inner))
        # decays per byte from .05 to 2 at the start, spread over the heads
        self.rate = nn.Parameter(torch.linspace(-3.0, 1.5, NUM_HEADS))
        self.norm, self.out = nn.RMSNorm(self.inner), nn.Linear(self.inner, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x):
        x, gate, keys, queries, step = self.read(x).split(
            [self.inner, self.inner, STATE, STATE, NUM_HEADS], dim=-1
        )
        x = F.silu(sum(F.pad(x, (0, 0, k, -k)) * tap for k, tap in enumerate(self.taps)))
        step = F.softplus(step + self.rate)  # (batch, time, heads)
        weights = (queries @ keys.transpose(1, 2)).unsqueeze(1) * decays(step)
        values = (x.unflatten(-1, (NUM_HEADS, -1)) * step.unsqueeze(-1)).transpose(1, 2)
        mixed = (weights @ values).transpose(1, 2).flatten(2) + self.skip * x
        return self.out(self.norm(mixed * F.silu(gate)))


def decays(step):
    """Share of each position's state that is left at each later one (batch, heads, to, from)."""
    total = step.cumsum(1).transpose(1, 2)
    left = total.unsqueeze(2) - total.unsqueeze(3)
    later = torch.ones(step.shape[1], step.shape[1], dtype=torch.bool, device=step.device).triu(1)
    return left.masked_fill(later, float("-inf")).exp()


class SSM(nn.Module):
    """Logits of the next byte at every position."""

    def __init__(self, width: int, num_layers: int = 3, vocabulary: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(StateSpace(width) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(num_layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight
        nn.init.normal_(self.embed.weight, std=width**-0.5)

    def forward(self, tokens):
        x = self.embed(tokens)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(self.norm(x))

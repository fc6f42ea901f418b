"""A decoder-only transformer: RMSNorm, rotary positions, SwiGLU, grouped-query attention."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Causal self-attention; `queries_per_kv` query heads share one head of keys and values."""

    def __init__(self, width: int, num_heads: int, queries_per_kv: int = 1) -> None:
        super().__init__()
        if width % (2 * num_heads) or num_heads % queries_per_kv:
            raise ValueError(
                f"{num_heads} heads in groups of {queries_per_kv} do not divide a width of {width}"
            )
        self.head_width = width // num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width // queries_per_kv, bias=False)
        self.value = nn.Linear(width, width // queries_per_kv, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x):
        # b batch, t time, h heads, k width of a head
        q, k, v = (
            project(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)  # (b, h, t, k)
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            rotated(q), rotated(k), v, is_causal=True, enable_gqa=True
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


def rotated(x, base: float = 10_000.0):
    """Queries or keys (..., time, head width) rotated by angles in proportion to time.

    Su et al. 2021.
    """
    time, half = x.shape[-2], x.shape[-1] // 2
    frequencies = base ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(time, device=x.device)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020).

    At 8/3 of the width it has as many weights as a plain one at 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = hidden_width(width)
        self.gate, self.up = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def hidden_width(width: int) -> int:
    """8/3 of the width, rounded up to a multiple of 8."""
    return -(-(8 * width) // 24) * 8


class Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    """Logits of the next token at every position."""

    def __init__(
        self,
        width: int,
        num_layers: int = 2,
        num_heads: int = 2,
        queries_per_kv: int = 1,
        vocabulary: int = 256,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(
            *(
                Block(width, Attention(width, num_heads, queries_per_kv), SwiGLU(width))
                for _ in range(num_layers)
            )
        )
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        initialise(self, width)

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.embed(tokens))))


def initialise(model: nn.Module, width: int) -> None:
    """Set the weights at the start of training.

    Tables get 1 / sqrt(width), so that a tied head starts at logits of size one; layers that write
    to the residual get 0.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=width**-0.5)
        elif name.endswith((".attention.out", ".down")):
            nn.init.zeros_(module.weight)


def depth_dial(depth: int) -> dict[str, int]:
    """One dial for width, heads and layers: heads stay 16 wide, one more with each layer."""
    return {"width": 16 * depth, "num_heads": depth, "num_layers": depth}

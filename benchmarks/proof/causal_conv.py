"""A convolutional net over bytes: gated causal convolutions, each layer reaching twice as far.

As WaveNet's (van den Oord et al. 2016, arXiv 1609.03499), each of two taps, so that one matrix
multiplies a position and an earlier one side by side.
"""

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, NUM_LAYERS = 256, 5


class CausalConvNet(nn.Module):
    """Logits of the next byte from the last 32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(NUM_LAYERS))
        self.taps = nn.ModuleList(nn.Linear(2 * width, 2 * width) for _ in range(NUM_LAYERS))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(NUM_LAYERS))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer, (norm, taps, out) in enumerate(
            zip(self.norms, self.taps, self.outs, strict=True)
        ):
            normed = norm(x)
            earlier = F.pad(normed, (0, 0, 2**layer, -(2**layer)))
            signal, gate = taps(torch.cat([normed, earlier], dim=-1)).chunk(2, dim=-1)
            x = x + out(torch.tanh(signal) * torch.sigmoid(gate))
        return self.head(self.norm(x))

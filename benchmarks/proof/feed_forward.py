"""A feed-forward net over bytes, which sees the last few of them at once."""

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, SEEN = 256, 8


class FeedForwardNet(nn.Module):
    """The last SEEN bytes side by side, then residual layers (as Bengio et al. 2003, JMLR 3)."""

    def __init__(self, width: int, num_layers: int = 3) -> None:
        super().__init__()
        self.embed, self.read = nn.Embedding(VOCABULARY, width), nn.Linear(SEEN * width, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(num_layers))
        self.ups = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(num_layers))
        self.downs = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(num_layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, tokens):
        embedded = self.embed(tokens)
        seen = [F.pad(embedded, (0, 0, k, -k)) for k in range(SEEN)]
        x = self.read(torch.cat(seen, dim=-1))
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            x = x + down(F.gelu(up(norm(x))))
        return self.head(self.norm(x))

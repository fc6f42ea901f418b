"""A mixture-of-experts transformer: each token goes to the top few of many SwiGLU experts."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from models.gpt import Attention, Block, SwiGLU, initialise

BALANCE_SPEED = 1e-3
"""How fast the load of the experts is evened out."""


class Experts(nn.Module):
    """SwiGLU experts, of which a router gives each token `top_k`.

    dispatch: "routed" runs an expert on its own tokens; "dense" runs all on all and drops what was
        not chosen. This needs no data-dependent shapes and costs num_experts / top_k times as
        much.
    The load is balanced without a loss term, by a bias on the choice alone (Wang et al. 2024,
    arXiv 2408.15664).
    """

    balance: torch.Tensor

    def __init__(
        self, width: int, num_experts: int, top_k: int, dispatch: Literal["routed", "dense"]
    ) -> None:
        super().__init__()
        self.top_k, self.dispatch = top_k, dispatch
        self.router = nn.Linear(width, num_experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(width) for _ in range(num_experts))
        self.register_buffer("balance", torch.zeros(num_experts))

    def forward(self, x):
        tokens = x.flatten(0, -2)
        scores = self.router(tokens).sigmoid()
        chosen = (scores.detach() + self.balance).topk(self.top_k, dim=-1).indices
        gates = torch.zeros_like(scores).scatter(1, chosen, scores.gather(1, chosen))
        if self.training:
            self._rebalance(chosen)
        mixed = (
            self._dense(tokens, gates)
            if self.dispatch == "dense"
            else self._routed(tokens, gates, chosen)
        )
        return mixed.view_as(x)

    def _dense(self, tokens, gates):
        return sum(
            gate[:, None] * expert(tokens)
            for gate, expert in zip(gates.unbind(1), self.experts, strict=True)
        )

    def _routed(self, tokens, gates, chosen):
        mixed = torch.zeros_like(tokens)
        for k, expert in enumerate(self.experts):
            rows = (chosen == k).any(dim=1).nonzero().squeeze(1)
            mixed = mixed.index_add(0, rows, gates[rows, k, None] * expert(tokens[rows]))
        return mixed

    @torch.no_grad()
    def _rebalance(self, chosen) -> None:
        load = F.one_hot(chosen, len(self.experts)).sum(dim=(0, 1)).float()
        self.balance += BALANCE_SPEED * (load.mean() - load).sign()


class MoE(nn.Module):
    """Logits of the next token at every position: GPT with experts as its feed-forward layers."""

    def __init__(
        self,
        width: int,
        num_layers: int = 2,
        num_heads: int = 2,
        num_experts: int = 8,
        top_k: int = 2,
        vocabulary: int = 256,
        dispatch: Literal["routed", "dense"] = "routed",
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(
            *(
                Block(
                    width, Attention(width, num_heads), Experts(width, num_experts, top_k, dispatch)
                )
                for _ in range(num_layers)
            )
        )
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight
        initialise(self, width)

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.embed(tokens))))

    def num_active_params(self) -> int:
        """Parameters that one token passes through."""
        idle = 0
        for module in self.modules():
            if isinstance(module, Experts):
                per_expert = sum(parameter.numel() for parameter in module.experts[0].parameters())
                idle += (len(module.experts) - module.top_k) * per_expert
        return sum(parameter.numel() for parameter in self.parameters()) - idle

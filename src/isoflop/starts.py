"""Where the learning rate of each kind of model starts, before anything is tuned.

Each rule is the line through the best rates of small models on real tasks, 1e3 to 1e5 params, under
the default recipe: AdamW in batches of half the square root of the tokens.
`benchmarks/training/starts.py` finds them; `benchmarks/results/training-starts.md` has the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isoflop.recipe import DEFAULT_LR, PowerRule

__all__ = ["LARGEST", "STARTS", "ModelKind", "Start"]

ModelKind = Literal[
    "transformer",
    "vision transformer",
    "convolutional net",
    "recurrent net",
    "state-space model",
    "mixture of experts",
    "MLP",
    "unknown",
]
LARGEST = 1e5
"""Params of the largest models on which the rules were found."""


@dataclass(frozen=True)
class Start:
    """The first learning rate of a kind of model, and the kind's plural."""

    rule: PowerRule
    models: str


STARTS: Mapping[ModelKind, Start] = {
    "transformer": Start(DEFAULT_LR, "transformers"),
    "vision transformer": Start(PowerRule(0.17, num_params=-0.35), "vision transformers"),
    "convolutional net": Start(PowerRule(0.3, num_params=-0.31), "convolutional nets"),
    "recurrent net": Start(PowerRule(1.05, num_params=-0.32), "recurrent nets"),
    "state-space model": Start(PowerRule(2.0, num_params=-0.43), "state-space models"),
    "mixture of experts": Start(PowerRule(0.3, num_params=-0.31), "mixtures of experts"),
    "MLP": Start(PowerRule(0.3, num_params=-0.31), "MLPs"),
    "unknown": Start(DEFAULT_LR, "transformers"),
}

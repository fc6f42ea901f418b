"""Where the learning rate of each kind of model starts, before anything is tuned.

The rules are power laws near the best rates of small models on real tasks, 1e3 to 1e5 params, under
the default recipe: AdamW in batches of half the square root of the tokens. Models of text took 20
tokens per param. Models that see an example as one token took from 0.1 to 3 per param, over which
their best rates rise with the tokens.
Most of the best rates lie within a factor of two of their kind's rule, those of some architectures
up to ten times away. `benchmarks/training/starts.py` measures them, and
`benchmarks/results/training-starts.md` has the table.
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
MIDDLE = PowerRule(150, num_params=0.45)
"""Tokens of the middle runs of models that see an example as one token."""


@dataclass(frozen=True)
class Start:
    """The first learning rate of a kind of model, and the kind's plural."""

    rule: PowerRule
    models: str

    @property
    def of_trunks(self) -> PowerRule:
        """For runs of many lengths that share a trunk, and so a rate: that of a middle length."""
        rule = self.rule
        coefficient = rule.coefficient * MIDDLE.coefficient**rule.num_tokens
        exponent = rule.num_params + MIDDLE.num_params * rule.num_tokens
        return PowerRule(float(f"{coefficient:.4g}"), num_params=exponent)


BY_EXAMPLE = {"num_params": -0.45, "num_tokens": 0.2}
"""Exponents of models that see an example as one token."""

STARTS: Mapping[ModelKind, Start] = {
    "transformer": Start(DEFAULT_LR, "transformers"),
    "vision transformer": Start(
        PowerRule(0.45, num_params=-0.85, num_tokens=0.5), "vision transformers"
    ),
    "convolutional net": Start(PowerRule(0.18, **BY_EXAMPLE), "convolutional nets"),
    "recurrent net": Start(PowerRule(1.3, num_params=-0.32), "recurrent nets"),
    "state-space model": Start(PowerRule(0.9, num_params=-0.35), "state-space models"),
    "mixture of experts": Start(DEFAULT_LR, "mixtures of experts"),
    "MLP": Start(PowerRule(0.25, **BY_EXAMPLE), "MLPs"),
    "unknown": Start(DEFAULT_LR, "transformers"),
}

"""Conditions: what an answer is bound by besides compute, and the law that this makes of a fit's."""

from dataclasses import dataclass

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.fitting.kriging.law import for_search
from isoflop.laws.base import CostPerToken, Law, Surface
from isoflop.laws.limited import LimitedLaw
from isoflop.laws.repeated import repeated_law
from isoflop.laws.served import FORWARD_SHARE, ServedLaw

__all__ = ["Conditions"]

_ARGUMENTS = {"most_params": "device_memory"}
"""Field -> argument of predict that it comes from, where they differ."""


@dataclass(frozen=True)
class Conditions:
    """Tokens that the model will serve, distinct training tokens that there are, and params that the device holds.

    None where it does not matter.
    """

    served_tokens: float | None = None
    unique_tokens: float | None = None
    most_params: float | None = None

    @classmethod
    def of(
        cls, served_tokens: object, unique_tokens: object, most_params: float | None
    ) -> "Conditions":
        """The conditions of a question. Raises DataError where a number cannot be one."""
        served, unique = (
            None if value is None else float(arguments.count(value, f"predict: {name}"))
            for name, value in (("served_tokens", served_tokens), ("unique_tokens", unique_tokens))
        )
        return cls(served, unique, most_params)

    def check(self, fit: Fit) -> None:
        """Raise DataError where the fit says nothing about sizes off the optimum."""
        for name in ("served_tokens", "unique_tokens", "most_params"):
            if getattr(self, name) is not None and not isinstance(fit.law, Surface):
                raise DataError(
                    f"predict: {_ARGUMENTS.get(name, name)} needs a law of the loss at any params and tokens, but "
                    f"{quoted(fit.approach)} gives the compute-optimal ones alone; fit with Kriging() or Parametric()."
                )

    @property
    def offset(self) -> float:
        """Training tokens that cost as much as what is served."""
        return 0.0 if self.served_tokens is None else self.served_tokens * FORWARD_SHARE

    def paid(self, question: str, value: float) -> float:
        """The value in tokens that compute pays for, where it is of tokens trained on."""
        return value + self.offset if question == "num_tokens" else value

    def law(self, law: Law, cost: CostPerToken | None) -> Law:
        """The law where compute pays for serving too, within the device; tokens are those trained and `offset`."""
        if self == Conditions():
            return law
        assert isinstance(law, Surface)
        bound = for_search(law)
        if self.unique_tokens is not None:
            bound = repeated_law(bound, self.unique_tokens, cost)
        if self.served_tokens is not None:
            bound = ServedLaw(bound, self.served_tokens)
        return bound if self.most_params is None else LimitedLaw(bound, self.most_params)

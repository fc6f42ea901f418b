"""predict(): a fit and a question give an Optimum, the answer with its doubt."""

from dataclasses import dataclass

from isoflop.runs import SizeValue

__all__ = ["Estimate", "Optimum"]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval at the fit's level."""

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """How big and how long for `flops`: the recommendation, its interval, and the reasons to doubt it."""

    flops: float
    level: float
    """Coverage aimed at by every interval, 0.9 for 90 %."""
    num_params: Estimate
    num_tokens: Estimate
    loss: Estimate | None
    """None where the approach says nothing about the loss."""
    regret: Estimate
    """Share of the compute wasted by following the recommendation, expected over the doubt (value)."""
    band: tuple[float, float] | None
    """Range of num_params that costs at most 1 % more compute for the same loss."""
    extrapolation: float
    """Decades of FLOPs between the largest run and `flops`; 0 inside the runs."""
    size: SizeValue | None = None
    """The buildable size nearest to num_params; None without a task."""
    size_num_params: int | None = None
    size_num_tokens: float | None = None
    """Tokens that `flops` pays for at `size`."""
    unit: str = "token"
    notes: tuple[str, ...] = ()

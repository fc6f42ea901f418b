"""Recipe: how every run of a sweep is trained, with its rules for the learning rate and the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from isoflop.errors import ContractError

__all__ = ["Recipe", "Rule", "Schedule"]

Rule = Callable[[float, float], float]
"""(num_params, num_tokens) -> value."""
Schedule = Literal["cosine", "linear", "constant"]
Precision = Literal["auto", "fp32", "bf16"]


def default_lr(num_params: float, num_tokens: float) -> float:
    """Peak learning rate 0.3 N^-0.31.

    A line through 0.064 / sqrt(width) of two-layer byte-level transformers (1e3 to 3e5 params, tuned on one small
    grid), which meets the usual 1e-3 at 1e8 params. Untested on other architectures: tune your own.
    """
    return float(0.3 * num_params**-0.31)


def default_batch_tokens(num_params: float, num_tokens: float) -> float:
    """Tokens per optimiser step, half the square root of the run's tokens: about 2 sqrt(D) steps.

    Measured on the same transformers as `default_lr`; a fixed batch of 16 sequences moved the optimum to 0.67 of its N.
    """
    return float(0.5 * num_tokens**0.5)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How each run of a sweep is trained.

    `lr` and `batch_tokens` are numbers or rules (num_params, num_tokens) -> number; everything else is one value for
    all runs. AdamW is the optimiser unless `optimizer` is a factory (params, lr, betas, weight_decay) -> Optimizer.

    Raises ContractError where a value is outside its range.
    """

    epochs: float | None = 1
    """Passes over the training data that a run may take; None for as many as its tokens need."""
    lr: float | Rule = default_lr
    batch_tokens: float | Rule = default_batch_tokens
    """Tokens per optimiser step, over all processes."""
    min_batch: int = 2
    """Fewest examples per optimiser step."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    """Decoupled decay of tensors with two or more dimensions; biases and gains are not decayed."""
    warmup: float = 0.1
    """Share of the run's steps in which the learning rate rises from zero to its peak."""
    schedule: Schedule = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at zero."""
    clip: float | None = 1.0
    """Largest gradient norm; None for no clipping."""
    precision: Precision = "auto"
    """auto: bf16 on GPUs that have it, fp32 elsewhere."""
    optimizer: Callable[..., Any] | None = None
    eval_tokens: int = 2**18
    """Held-out tokens that the final loss is averaged over (all of `val_data` if it has fewer)."""
    seeds: tuple[int, ...] = (0,)
    """Each planned cell is trained once per seed."""

    def __post_init__(self) -> None:
        _require(self.epochs is None or self.epochs > 0, "epochs must be above 0 or None", self.epochs)
        _require(self.min_batch >= 1, "min_batch must be at least 1", self.min_batch)
        _require(0 <= self.warmup < 1, "warmup must be a share of the run from 0 to below 1", self.warmup)
        _require(self.schedule in get_args(Schedule), f"schedule must be one of {get_args(Schedule)}", self.schedule)
        _require(
            self.precision in get_args(Precision), f"precision must be one of {get_args(Precision)}", self.precision
        )
        _require(self.clip is None or self.clip > 0, "clip must be above 0 or None", self.clip)
        _require(self.eval_tokens >= 1, "eval_tokens must be at least 1", self.eval_tokens)
        _require(len(self.seeds) >= 1, "seeds must name at least one seed", self.seeds)
        _require(len(set(self.seeds)) == len(self.seeds), "seeds must differ", self.seeds)

    def peak_lr(self, num_params: float, num_tokens: float) -> float:
        """Peak learning rate of a run."""
        return _resolve("lr", self.lr, num_params, num_tokens)

    def tokens_per_step(self, num_params: float, num_tokens: float) -> float:
        """Wanted tokens per optimiser step of a run, before rounding to whole examples."""
        return _resolve("batch_tokens", self.batch_tokens, num_params, num_tokens)


def _resolve(name: str, rule: float | Rule, num_params: float, num_tokens: float) -> float:
    value = rule(num_params, num_tokens) if callable(rule) else rule
    where = f" at {num_params:.3g} params and {num_tokens:.3g} tokens" if callable(rule) else ""
    _require(isinstance(value, int | float) and value > 0, f"{name} must give a number above 0{where}", value)
    return float(value)


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ContractError(f"Recipe: {rule}, but got {value!r}.")

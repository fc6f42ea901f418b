"""Recipe: how every run of a sweep is trained, with rules for learning rate, batch and decay."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from isoflop import arguments
from isoflop.errors import ContractError
from isoflop.recipe_checks import (
    RANGES,
    checked_compile,
    checked_seeds,
    in_range,
    require,
    value_of,
)

__all__ = [
    "DEFAULT_LR",
    "Compile",
    "Groups",
    "PowerRule",
    "Precision",
    "Recipe",
    "Rule",
    "Schedule",
    "Size",
]

Size = int | float | str | tuple[int | float | str, ...]
"""Value of a task's size parameter."""
Rule = Callable[[float, float], float]
"""(num_params, num_tokens) -> value."""
Groups = Callable[[Any, float, float], list[dict[str, Any]]]
"""(model, lr, weight_decay) -> parameter groups of an optimiser, each with its peak as "lr"."""
Schedule = Literal["cosine", "linear", "wsd", "constant"]
Precision = Literal["auto", "fp32", "bf16"]
Compile = Literal["reduce-overhead", "max-autotune"]
"""Modes of torch.compile."""


def default_batch_tokens(num_params: float, num_tokens: float) -> float:
    """Tokens per optimiser step, half the square root of the run's tokens: about 2 sqrt(D) steps.

    The rule was measured on the transformers of `DEFAULT_LR`, where a fixed batch of 16 sequences
    moved the optimum to 0.67 of its N.
    """
    return float(0.5 * num_tokens**0.5)


@dataclass(frozen=True)
class PowerRule:
    """A rule as plain numbers: coefficient x params^num_params x tokens^num_tokens.

    >>> round(PowerRule(0.3, num_params=-0.31)(1e8, 2e9), 6)
    0.000993
    """

    coefficient: float
    num_params: float = 0.0
    """Exponent of the params."""
    num_tokens: float = 0.0
    """Exponent of the tokens."""

    def __post_init__(self) -> None:
        coefficient = arguments.positive(
            self.coefficient, "PowerRule: coefficient", error=ContractError
        )
        object.__setattr__(self, "coefficient", coefficient)
        for name in ("num_params", "num_tokens"):
            read = arguments.number(
                getattr(self, name),
                f"PowerRule: {name}",
                must="an exponent from -10 to 10",
                holds=lambda value: -10 <= value <= 10,
                error=ContractError,
            )
            object.__setattr__(self, name, read)

    def __call__(self, num_params: float, num_tokens: float) -> float:
        return float(self.coefficient * num_params**self.num_params * num_tokens**self.num_tokens)

    def __str__(self) -> str:
        powers = (("N", self.num_params), ("D", self.num_tokens))
        shown = [f"{letter}^{power:.3g}" for letter, power in powers if power]
        return " ".join([f"{self.coefficient:.4g}", *shown])


DEFAULT_LR = PowerRule(0.3, num_params=-0.31)
"""Peak learning rate of transformers, and of models of an unknown kind.

The line follows 0.064 / sqrt(width) of two-layer byte-level transformers (1e3 to 3e5 params, tuned
on one small grid) and meets the usual 1e-3 at 1e8 params.
"""


def porian_lr(num_params: float, num_tokens: float) -> float:
    """Peak learning rate 0.0047 (N / 1.08e8)^(-1/3) / 2.

    From Porian et al. 2024 (2406.19146), halved as in OLMo.
    """
    return float(0.5 * 0.0047 * (num_params / 108e6) ** (-1 / 3))


def porian_batch_tokens(num_params: float, num_tokens: float) -> float:
    """Tokens per step 2048 * 160 (N / 1.08e8)^(2/3): Porian et al. 2024, as in OLMo's ladder."""
    return float(2048 * 160 * (num_params / 108e6) ** (2 / 3))


def porian_beta2(batch_tokens: float) -> float:
    """AdamW's second beta: 0.95 from 524,288 tokens per step on, 0.99 below.

    From Porian et al. 2024, as in OLMo.
    """
    return 0.95 if batch_tokens >= 524_288 else 0.99


def one_pass_of_params(num_params: float, num_tokens: float) -> float:
    """Warm-up over as many tokens as the model has params, at most a quarter of the run.

    From Porian et al. 2024.
    """
    return min(num_params / num_tokens, 0.25)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How each run of a sweep is trained.

    A field that may be a rule is a number or a function (num_params, num_tokens) -> number. The
    optimiser is AdamW unless `optimizer` is a factory (parameter groups, lr, betas) -> Optimizer.
    `Recipe.tiny_cpu()` names the default, `Recipe.language_model()` is the published rule for
    transformers, and `Recipe.mup()` scales rates with width.

    Raises ContractError where a value is outside its range.
    """

    epochs: float | None = 1
    """Passes over the training data that a run may take; None for as many as its tokens need."""
    lr: float | Rule | Literal["auto"] = "auto"
    """Peak learning rate. "auto" starts at a rule for the model's kind, which the plan names; where
    there is no model to look at, at that of transformers."""
    batch_tokens: float | Rule = default_batch_tokens
    """Tokens per optimiser step, over all processes."""
    min_batch: int = 2
    """Fewest examples per optimiser step."""
    beta1: float = 0.9
    beta2: float | Callable[[float], float] = 0.95
    """A number, or a function of the tokens per optimiser step."""
    weight_decay: float | Rule = 0.1
    """Decoupled decay of tensors with two or more dimensions; biases and gains are not decayed."""
    decay_timescale: float | Rule | None = None
    """Share of the run over which the weights average, tau = 1 / (lr weight_decay steps).

    Sets `weight_decay`; None keeps it. The best tau is a power law in tokens per param (Bergsma et
    al. 2025, 2505.13738): a rule such as `PowerRule(c, num_params=m, num_tokens=-m)`.
    """
    warmup: float | Rule = 0.1
    """Share of the run's steps in which the learning rate rises from zero to its peak."""
    schedule: Schedule = "cosine"
    """Shape of the learning rate after the warm-up; all but constant end at zero.

    wsd: constant, then a cooldown along 1 - sqrt (Hägele et al. 2024, 2405.18392).
    """
    cooldown: float = 0.2
    """Share of the run in which a wsd schedule cools down."""
    branches: bool = False
    """Train one constant-rate trunk per size and branch a cooldown off it for each token count.

    Gives the runs of a wsd schedule for fewer FLOPs. Needs schedule="wsd", and rules that do not
    depend on the tokens of a run.
    """
    clip: float | None = 1.0
    """Largest gradient norm; None for no clipping."""
    precision: Precision = "auto"
    """auto: bf16 on GPUs that have it, fp32 elsewhere."""
    ema: float | None = None
    """Share of the run over which an exponential moving average of the weights looks back.

    The average, such as over 0.05 of the run, is then evaluated in place of the last weights; None
    turns it off. A decay of d per step looks back over 1 / (1 - d) steps. A share keeps short and
    long runs comparable, and the initial weights take no part.
    """
    optimizer: Callable[..., Any] | None = None
    groups: Groups | None = None
    """Parameter groups with their own rates; None for one rate, biases and gains not decayed."""
    mup_base: Size | None = None
    """Size at whose width the learning rates hold; other widths follow `Recipe.mup`. None for one
    rate."""
    compile: bool | Compile = False
    """torch.compile the model: faster on a GPU after a minute, seldom worth it on a CPU.

    "reduce-overhead" replays each step from CUDA graphs, for small models that wait for their
    kernels to start; "max-autotune" also tries kernels, which takes minutes more. True is torch's
    default mode.
    """
    eval_tokens: int = 2**18
    """Held-out tokens over which the final loss is averaged; all of `val_data` if it has fewer."""
    eval_passes: int = 1
    """Passes over the held-out tokens, for losses that draw random numbers (noise levels, masks).

    Each pass draws other numbers, the same in every run and every evaluation; more passes reduce
    the error of the loss.
    """
    seeds: tuple[int, ...] = (0,)
    """Each planned cell is trained once per seed."""

    def __post_init__(self) -> None:
        for name in RANGES:
            object.__setattr__(self, name, in_range(name, getattr(self, name)))
        for name, known in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            object.__setattr__(
                self, name, arguments.one_of(value, f"Recipe: {name}", known, error=ContractError)
            )
        is_on = arguments.flag(self.branches, "Recipe: branches", error=ContractError)
        object.__setattr__(self, "branches", is_on)
        object.__setattr__(self, "compile", checked_compile(self.compile, get_args(Compile)))
        for name in ("optimizer", "groups"):
            value = getattr(self, name)
            require(value is None or callable(value), f"{name} must be a function or None", value)
        self._check_branches()
        object.__setattr__(self, "seeds", checked_seeds(self.seeds))

    def _check_branches(self) -> None:
        require(
            not self.branches or self.schedule == "wsd",
            'branches are cooldowns off a constant rate and need schedule="wsd"',
            self.schedule,
        )
        require(
            not self.branches or self.ema is None,
            "branches share a trunk, and each run's ema is over a share of its own steps, so one "
            "of them must be off",
            self.ema,
        )

    @classmethod
    def tiny_cpu(cls, **changes: Any) -> "Recipe":
        """The default, measured on small models of 1e3 to 1e5 params."""
        return cls(**changes)

    @classmethod
    def language_model(cls, **changes: Any) -> "Recipe":
        """Rules for transformer language models from about 1e7 params on.

        From Porian et al. 2024 (2406.19146), as implemented in OLMo's model ladder: lr and batch by
        powers of N, beta2 by batch, warm-up over N tokens. The constants come from one paper: test
        them on your own sizes before you trust them.
        """
        rules: dict[str, Any] = {
            "lr": porian_lr,
            "batch_tokens": porian_batch_tokens,
            "beta2": porian_beta2,
            "warmup": one_pass_of_params,
        }
        return cls(**{**rules, **changes})

    @classmethod
    def mup(cls, base_size: Size, lr: float, **changes: Any) -> "Recipe":
        """One learning rate for all widths: the maximal update parametrisation for Adam.

        From Yang & Hu 2022 (2203.03466).

        base_size: value of the size parameter, a width, at which each layer learns at `lr`. At
            other widths hidden and output matrices learn at lr x base fan-in / fan-in, and output
            layers start smaller; the model itself is not changed. Depth must be the same at all
            sizes.

        Check it with `isoflop.coordinate_check`: attention scaled by 1 / sqrt(head width) with
        widening heads, and output layers tied to embeddings, need changes to the model.
        """
        return cls(mup_base=base_size, lr=lr, **changes)

    def peak_lr(self, num_params: float, num_tokens: float) -> float:
        """Peak learning rate of a run; that of transformers for "auto"."""
        rule = DEFAULT_LR if self.lr == "auto" else self.lr
        return value_of("lr", rule, num_params, num_tokens)

    def tokens_per_step(self, num_params: float, num_tokens: float) -> float:
        """Tokens per optimiser step of a run, before rounding to whole examples."""
        return value_of("batch_tokens", self.batch_tokens, num_params, num_tokens)

    def settings(
        self, num_params: float, num_tokens: float, step_tokens: float
    ) -> Mapping[str, Any]:
        """Fields of a run's spec that this recipe decides, with rules resolved.

        All numbers are floats, because ids compare them.

        step_tokens: tokens of one optimiser step, after rounding to whole examples.
        """
        lr = self.peak_lr(num_params, num_tokens)
        decay = value_of("weight_decay", self.weight_decay, num_params, num_tokens)
        if self.decay_timescale is not None:
            timescale = value_of("decay_timescale", self.decay_timescale, num_params, num_tokens)
            decay = step_tokens / (lr * timescale * num_tokens)
            require(
                math.isfinite(decay),
                "decay_timescale and lr must give a finite weight decay",
                decay,
            )
        beta2 = value_of("beta2", self.beta2, step_tokens)
        warmup = value_of("warmup", self.warmup, num_params, num_tokens)
        return {
            "lr": lr,
            "beta1": float(self.beta1),
            "beta2": beta2,
            "weight_decay": decay,
            "warmup": warmup,
            "schedule": self.schedule,
            "cooldown": float(self.cooldown) if self.schedule == "wsd" else None,
            "clip": None if self.clip is None else float(self.clip),
            "precision": self.precision,
            "ema": None if self.ema is None else float(self.ema),
        }

    def unspelled(self) -> tuple[object, ...]:
        """Settings that decide a result but are in no spec; the task's fingerprint covers them."""
        by_width = () if self.mup_base is None else ("mup", self.mup_base)
        return (
            self.optimizer,
            self.groups,
            int(self.eval_tokens),
            int(self.eval_passes),
            *by_width,
        )

"""Recipe: how every run of a sweep is trained, with its rules for learning rate, batch and decay."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import ContractError, first_line

__all__ = ["Groups", "PowerRule", "Recipe", "Rule", "Schedule"]

Rule = Callable[[float, float], float]
"""(num_params, num_tokens) -> value."""
Groups = Callable[[Any, float, float], list[dict[str, Any]]]
"""(model, lr, weight_decay) -> parameter groups for a torch optimiser; each group's "lr" is its own peak."""
Schedule = Literal["cosine", "linear", "wsd", "constant"]
Precision = Literal["auto", "fp32", "bf16"]

LARGEST_EMA = 0.5
"""Share of the run: beyond it weights from the start count, and a larger number is more likely a decay per step."""


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
        return f"{self.coefficient:.4g} N^{self.num_params:.3g} D^{self.num_tokens:.3g}"


def porian_lr(num_params: float, num_tokens: float) -> float:
    """Peak learning rate 0.0047 (N / 1.08e8)^(-1/3) / 2: Porian et al. 2024 (2406.19146), halved as by OLMo."""
    return float(0.5 * 0.0047 * (num_params / 108e6) ** (-1 / 3))


def porian_batch_tokens(num_params: float, num_tokens: float) -> float:
    """Tokens per step 2048 * 160 (N / 1.08e8)^(2/3): Porian et al. 2024, as in OLMo's ladder."""
    return float(2048 * 160 * (num_params / 108e6) ** (2 / 3))


def porian_beta2(batch_tokens: float) -> float:
    """AdamW's second beta: 0.95 from 524,288 tokens per step on, 0.99 below (Porian et al. 2024, as by OLMo)."""
    return 0.95 if batch_tokens >= 524_288 else 0.99


def one_pass_of_params(num_params: float, num_tokens: float) -> float:
    """Warm-up over as many tokens as the model has params, at most a quarter of the run (Porian et al. 2024)."""
    return min(num_params / num_tokens, 0.25)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How each run of a sweep is trained.

    Where a field may be a rule, it is a number or a function (num_params, num_tokens) -> number. AdamW is the optimiser
    unless `optimizer` is a factory (parameter groups, lr, betas) -> Optimizer. `Recipe.tiny_cpu()` is the default by
    name, `Recipe.language_model()` the published rule for transformers, `Recipe.mup()` scales rates with width.

    Raises ContractError where a value is outside its range.
    """

    epochs: float | None = 1
    """Passes over the training data that a run may take; None for as many as its tokens need."""
    lr: float | Rule = default_lr
    batch_tokens: float | Rule = default_batch_tokens
    """Tokens per optimiser step, over all processes."""
    min_batch: int = 2
    """Fewest examples per optimiser step."""
    beta1: float = 0.9
    beta2: float | Callable[[float], float] = 0.95
    """A number, or a function of the tokens per optimiser step."""
    weight_decay: float | Rule = 0.1
    """Decoupled decay of tensors with two or more dimensions; biases and gains are not decayed."""
    decay_timescale: float | None = None
    """Share of the run over which the weights average, tau = 1 / (lr weight_decay steps): sets `weight_decay` from it
    (Bergsma et al. 2025, 2505.13738). None keeps `weight_decay`."""
    warmup: float | Rule = 0.1
    """Share of the run's steps in which the learning rate rises from zero to its peak."""
    schedule: Schedule = "cosine"
    """Shape of the learning rate after the warm-up; all but constant end at zero. wsd: constant, then a cooldown along
    1 - sqrt (Hägele et al. 2024, 2405.18392)."""
    cooldown: float = 0.2
    """Share of the run that a wsd schedule cools down in."""
    branches: bool = False
    """Train one constant-rate trunk per size and branch a cooldown off it for each token count: runs as by wsd, for
    fewer FLOPs. Needs schedule="wsd", and rules that do not depend on the tokens of a run."""
    clip: float | None = 1.0
    """Largest gradient norm; None for no clipping."""
    precision: Precision = "auto"
    """auto: bf16 on GPUs that have it, fp32 elsewhere."""
    ema: float | None = None
    """Share of the run over which an exponential moving average of the weights looks back, such as 0.05; the average is
    then what is evaluated. None for off. A decay per step of d looks back over 1 / (1 - d) steps: a share makes short
    and long runs comparable, and the initial weights take no part."""
    optimizer: Callable[..., Any] | None = None
    groups: Groups | None = None
    """Parameter groups with rates of their own; None for one rate, with biases and gains not decayed."""
    mup_base: Any = None
    """Size whose width the learning rates are for: other widths learn by `Recipe.mup`. None for one rate."""
    compile: bool = False
    """torch.compile the model: faster on a GPU after a minute, seldom worth it on a CPU."""
    eval_tokens: int = 2**18
    """Held-out tokens that the final loss is averaged over (all of `val_data` if it has fewer)."""
    eval_passes: int = 1
    """Times that they are passed over. For losses that draw random numbers, such as noise levels or masks: every pass
    draws others, every run and every evaluation the same, and more passes make the loss's error smaller."""
    seeds: tuple[int, ...] = (0,)
    """Each planned cell is trained once per seed."""

    def __post_init__(self) -> None:
        for name, (must, holds) in _RANGES.items():
            value = _plain(getattr(self, name))
            object.__setattr__(
                self, name, value
            )  # of NumPy's numbers, too: a spec is written as JSON
            if (name in _RULES and callable(value)) or ("None" in must and value is None):
                continue
            read = arguments.number(
                value, f"Recipe: {name}", must=must, holds=_finite(holds), error=ContractError
            )
            object.__setattr__(self, name, read)
        for name, known in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            object.__setattr__(
                self, name, arguments.one_of(value, f"Recipe: {name}", known, error=ContractError)
            )
        for name in ("branches", "compile"):
            arguments.flag(getattr(self, name), f"Recipe: {name}", error=ContractError)
        for name in ("optimizer", "groups"):
            value = getattr(self, name)
            _require(value is None or callable(value), f"{name} must be a function or None", value)
        _require(
            not self.branches or self.schedule == "wsd",
            'branches are cooldowns off a constant rate and need schedule="wsd"',
            self.schedule,
        )
        _require(
            not self.branches or self.ema is None,
            "branches share a trunk, and each run's ema is over a share of its own steps, so one of them must be off",
            self.ema,
        )
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))

    @classmethod
    def tiny_cpu(cls, **changes: Any) -> "Recipe":
        """The default, by name: measured on byte-level transformers of 1e3 to 3e5 params (see `default_lr`)."""
        return cls(**changes)

    @classmethod
    def language_model(cls, **changes: Any) -> "Recipe":
        """Rules for transformer language models from about 1e7 params on, from Porian et al. 2024 (2406.19146).

        As implemented in OLMo's model ladder: lr and batch by powers of N, beta2 by batch, warm-up over N tokens. One
        paper's constants: test them on your own sizes before you trust them.
        """
        rules: dict[str, Any] = {
            "lr": porian_lr,
            "batch_tokens": porian_batch_tokens,
            "beta2": porian_beta2,
            "warmup": one_pass_of_params,
        }
        return cls(**{**rules, **changes})

    @classmethod
    def mup(cls, base_size: Any, lr: float, **changes: Any) -> "Recipe":
        """One learning rate for all widths: the maximal update parametrisation for Adam (Yang & Hu 2022, 2203.03466).

        base_size: value of the size parameter, a width, at which each layer learns at `lr`. At other widths hidden and
            output matrices learn at lr x base fan-in / fan-in, and output layers start smaller; the model itself stays
            as it is. Depth must be the same at all sizes.

        Check it with `isoflop.coordinate_check`: attention scaled by 1 / sqrt(head width) with widening heads, and
        output layers tied to embeddings, need the model's own help.
        """
        return cls(mup_base=base_size, lr=lr, **changes)

    def peak_lr(self, num_params: float, num_tokens: float) -> float:
        """Peak learning rate of a run."""
        return _value("lr", self.lr, num_params, num_tokens)

    def tokens_per_step(self, num_params: float, num_tokens: float) -> float:
        """Wanted tokens per optimiser step of a run, before rounding to whole examples."""
        return _value("batch_tokens", self.batch_tokens, num_params, num_tokens)

    def settings(
        self, num_params: float, num_tokens: float, step_tokens: float
    ) -> Mapping[str, Any]:
        """The fields of a run's spec that this recipe decides, rules resolved and all numbers floats: ids compare them.

        step_tokens: tokens of one optimiser step, after rounding to whole examples.
        """
        lr = self.peak_lr(num_params, num_tokens)
        decay = _value("weight_decay", self.weight_decay, num_params, num_tokens)
        if self.decay_timescale is not None:
            decay = step_tokens / (lr * self.decay_timescale * num_tokens)
            _require(
                math.isfinite(decay),
                "decay_timescale and lr must give a finite weight decay",
                decay,
            )
        beta2 = _value("beta2", self.beta2, step_tokens)
        warmup = _value("warmup", self.warmup, num_params, num_tokens)
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

    def unspelled(self) -> tuple[Any, ...]:
        """What decides a result but stands in no spec: it takes part in the task's fingerprint."""
        by_width = () if self.mup_base is None else ("mup", self.mup_base)
        return (
            self.optimizer,
            self.groups,
            int(self.eval_tokens),
            int(self.eval_passes),
            *by_width,
        )


_MOST = 1e15
"""Of counts and passes: beyond it a run would never end."""

_RANGES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "epochs": ("above 0 or None", lambda value: 0 < value <= _MOST),
    "lr": ("a number above 0 and up to 1e6, or a rule", lambda value: 0 < value <= 1e6),
    "batch_tokens": ("a number above 0, or a rule", lambda value: 0 < value <= _MOST),
    "min_batch": (
        "a whole number from 1 to 1e9",
        lambda value: 1 <= value <= 1e9 and value == int(value),
    ),
    "beta1": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "beta2": ("from 0 to below 1, or a rule", lambda value: 0 <= value < 1),
    "weight_decay": ("0 or more, or a rule", lambda value: value >= 0),
    "decay_timescale": ("above 0 or None", lambda value: value > 0),
    "warmup": ("a share from 0 to below 1, or a rule", lambda value: 0 <= value < 1),
    "cooldown": ("a share above 0 and up to 1", lambda value: 0 < value <= 1),
    "clip": ("above 0 or None", lambda value: value > 0),
    "ema": (
        f"a share of the run above 0 and up to {LARGEST_EMA}, such as 0.05, or None (it is no decay per step)",
        lambda value: 0 < value <= LARGEST_EMA,
    ),
    "eval_tokens": (
        "a whole number from 1 to 1e15",
        lambda value: 1 <= value <= _MOST and value == int(value),
    ),
    "eval_passes": (
        "a whole number from 1 to 1e6",
        lambda value: 1 <= value <= 1e6 and value == int(value),
    ),
}
"""By field: what a number must be, in words and as a test. Where a rule may stand, its numbers are tested too."""
_RULES = ("lr", "batch_tokens", "beta2", "weight_decay", "warmup")


def _finite(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: math.isfinite(value) and holds(value)


def _is_number(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python's; anything else as it is."""
    return (
        value.item()
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0
        else value
    )


def _value(name: str, rule: Any, *arguments: float) -> float:
    """The number of a field, of its rule where it has one. Raises ContractError where that is out of range."""
    if not callable(rule):
        return float(rule)
    must, holds = _RANGES[name]
    at = ", ".join(f"{argument:.3g}" for argument in arguments)
    try:
        value = _plain(rule(*arguments))
    except Exception as error:
        raise ContractError(
            f"Recipe: the rule of {name} must be a function of {_GIVEN.get(name, 'num_params and num_tokens')}, but "
            f"at ({at}) it raised {type(error).__name__}: {first_line(error):.120}."
        ) from error
    must = must.removesuffix(", or a rule").removeprefix("a number ")
    _require(
        _is_number(value) and holds(value), f"{name} must give a number {must} at ({at})", value
    )
    return float(value)


_GIVEN = {"beta2": "the tokens per optimiser step"}


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    _require(
        isinstance(seeds, tuple | list | range), "seeds must be a tuple of whole numbers", seeds
    )
    plain = tuple(_plain(seed) for seed in seeds)
    _require(len(plain) >= 1, "seeds must name at least one seed", plain)
    whole = all(type(seed) is int and 0 <= seed < 2**63 for seed in plain)
    _require(whole, "seeds must be whole numbers from 0 to below 2^63", plain)
    _require(len(set(plain)) == len(plain), "seeds must differ", plain)
    return plain


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ContractError(f"Recipe: {rule}, but got {quoted(value)}.")

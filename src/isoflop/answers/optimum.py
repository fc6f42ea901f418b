"""Optimum: the answer to one question, with intervals and notes, and how it prints."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

from isoflop.answers.conditions.base import Effect
from isoflop.answers.conditions.repetition import Repetition
from isoflop.answers.conditions.serving import Serving
from isoflop.answers.optimum_table import optima_table
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_count,
    format_flops,
    format_html,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.display.table import Table
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.holdout import Holdout
from isoflop.fitting.metrics import MetricFit
from isoflop.notes.note import Note
from isoflop.runs import SizeValue
from isoflop.tabular import Tabular

__all__ = ["Optimum", "distance_words"]


@dataclass(frozen=True, kw_only=True)
class Optimum(Tabular):
    """Model size and training length for `flops`, with intervals and reasons to doubt them."""

    flops: float
    """FLOPs of the training run."""
    flops_needed: Estimate | None = None
    """`flops` with its interval; None where `flops` was given."""
    level: float
    """Nominal coverage of every interval, 0.9 for 90 %."""
    num_params: Estimate
    num_tokens: Estimate
    loss: Estimate | None
    """None where the approach has no law for the loss."""
    regret: Estimate
    """Share of the compute that the recommendation wastes, expected over the draws (value); NaN if
    unknown."""
    band: tuple[float, float] | None
    """Range of num_params that costs at most 1 % more compute for the same loss."""
    extrapolation: float
    """Decades of FLOPs between the largest run and `flops`; 0 inside the runs, negative below the
    smallest one."""
    size: SizeValue | None = None
    """The buildable size nearest to num_params; None without a task."""
    size_num_params: int | None = None
    size_num_tokens: float | None = None
    """Number of tokens that `flops` pays for at `size`."""
    unit: str = "token"
    loss_unit: str | None = None
    """Unit of the loss, as the task names it."""
    bytes_per_token: float | None = None
    """Mean bytes of text per token, from the task; a loss in nats then shows in bits per byte."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """Other expected measures of the run, by name; see `with_metric`."""
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """What the conditions of the question add, by name."""
    holdout: Holdout | None = None
    """How well the smaller budgets predict the largest one; None with fewer than 4 budgets."""
    notes: tuple[Note, ...] = ()

    @property
    def serving(self) -> Serving | None:
        """Tokens served and their price; None without `served_tokens`."""
        effect = self.effects.get("serving")
        return effect if isinstance(effect, Serving) else None

    @property
    def repetition(self) -> Repetition | None:
        """Passes over finite data; None without `unique_tokens`."""
        effect = self.effects.get("repetition")
        return effect if isinstance(effect, Repetition) else None

    @property
    def bits_per_byte(self) -> Estimate | None:
        """The loss in bits per byte of text, comparable across tokenisers; None if unknown."""
        if self.loss is None or self.bytes_per_token is None:
            return None
        nats = math.log(2) * self.bytes_per_token
        return Estimate(self.loss.value / nats, self.loss.low / nats, self.loss.high / nats)

    def with_metric(self, stage: MetricFit) -> "Optimum":
        """The same answer with the metric that `fit_metric` expects at its loss.

        Raises DataError for an answer without a loss.
        """
        notes = (*self.notes, *(note for note in stage.notes if note not in self.notes))
        return replace(self, metrics={**self.metrics, stage.name: stage.predict(self)}, notes=notes)

    def json_values(self) -> dict[str, object]:
        """Values for JSON: each field, with the effects of the conditions by name."""
        values: dict[str, object] = {}
        for part in fields(self):
            if part.name == "effects":
                values |= {"serving": None, "repetition": None, **self.effects}
            else:
                values[part.name] = getattr(self, part.name)
        return values

    def __str__(self) -> str:
        check = "" if self.holdout is None else f"  held-out check: {self.holdout}"
        parts = (
            _headline(self),
            align_columns(_rows(self), "  "),
            check,
            format_bullets(self.notes),
        )
        return "\n".join(part for part in parts if part)

    def table(self) -> Table:
        """One row: FLOPs, params, tokens and loss with their intervals."""
        return optima_table([self])

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        check = [] if self.holdout is None else [f"Held-out check: {self.holdout}"]
        return format_html(_headline(self), [_rows(self)], [*check, *self.notes])


def _headline(answer: Optimum) -> str:
    own = (effect.headline(answer.unit) for effect in answer.effects.values())
    usual = f"Compute-optimal at {format_flops(answer.flops)} FLOPs"
    return f"{next(filter(None, own), usual)} ({format_percent(answer.level)} intervals)"


def _rows(answer: Optimum) -> list[tuple[str, ...]]:
    """Rows of the printed table: quantity, value, interval."""
    needed, effects = answer.flops_needed, answer.effects.values()
    rows = [row for effect in effects if effect.leads for row in effect.rows()]
    if needed is not None and not rows:
        rows.append(("FLOPs", *_cells(needed, format_flops)))
    rows += [
        ("params", *_cells(answer.num_params)),
        (f"{answer.unit}s", *_cells(answer.num_tokens)),
    ]
    rows += [row for effect in effects if not effect.leads for row in effect.rows()]
    if answer.loss is not None:
        name = "loss" if answer.loss_unit is None else f"loss, {answer.loss_unit}"
        rows.append((name, *_cells(answer.loss, _loss_text)))
    if answer.bits_per_byte is not None:
        rows.append(("bits/byte", *_cells(answer.bits_per_byte, _loss_text)))
    rows += [(name, *_cells(metric, format_number)) for name, metric in answer.metrics.items()]
    if (
        answer.size is not None
        and answer.size_num_params is not None
        and answer.size_num_tokens is not None
    ):
        num_params, num_tokens = map(format_count, (answer.size_num_params, answer.size_num_tokens))
        pays = f"{num_params} params, {num_tokens} {answer.unit}s"
        rows.append(("size to build", str(answer.size), pays))
    if answer.band is not None:
        rows.append(
            ("near-optimal", format_interval(*answer.band), "params within 1 % of the compute")
        )
    if math.isfinite(answer.regret.value):
        rows.append(
            (
                "expected waste",
                format_percent(answer.regret.value),
                "of the compute, over the doubt",
            )
        )
    rows.append(
        ("extrapolation", *distance_words(answer.extrapolation, "the target lies within the runs"))
    )
    return rows


def _cells(value: Estimate, write: Callable[[float], str] = format_count) -> tuple[str, str]:
    return write(value.value), format_interval(value.low, value.high, write)


def _loss_text(value: float) -> str:
    return format_number(value, 4)


def distance_words(decades: float, within: str) -> tuple[str, str]:
    """Factor between the runs and a target outside them, and of what it is one.

    within: what is said of a target that lies within the runs.
    """
    if decades == 0:
        return "none", within
    if decades < 0:
        return f"÷{format_number(10**-decades)}", "of the FLOPs of the smallest run"
    return f"{format_number(10**decades)}x", "the FLOPs of the largest run"

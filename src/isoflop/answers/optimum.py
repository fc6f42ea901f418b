"""Optimum: the answer to one question, with its doubt, as it prints."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from isoflop.answers.optimum_table import optima_table
from isoflop.answers.repetition import Repetition
from isoflop.answers.serving import Serving
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
from isoflop.display.writers import Tabular
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.holdout import Holdout
from isoflop.fitting.metrics import MetricFit
from isoflop.runs import SizeValue

__all__ = ["Optimum"]


@dataclass(frozen=True, kw_only=True)
class Optimum(Tabular):
    """How big and how long for `flops`: the recommendation, its interval, and the reasons to doubt it."""

    flops: float
    """Of the training run."""
    flops_needed: Estimate | None = None
    """`flops` with its interval where they are part of the answer; None where they were the question."""
    level: float
    """Coverage aimed at by every interval, 0.9 for 90 %."""
    num_params: Estimate
    num_tokens: Estimate
    loss: Estimate | None
    """None where the approach says nothing about the loss."""
    regret: Estimate
    """Share of the compute wasted by following the recommendation, expected over the doubt (value); NaN if unknown."""
    band: tuple[float, float] | None
    """Range of num_params that costs at most 1 % more compute for the same loss."""
    extrapolation: float
    """Decades of FLOPs between the largest run and `flops`; 0 inside the runs, below 0 short of the smallest one."""
    size: SizeValue | None = None
    """The buildable size nearest to num_params; None without a task."""
    size_num_params: int | None = None
    size_num_tokens: float | None = None
    """Tokens that `flops` pays for at `size`."""
    unit: str = "token"
    loss_unit: str | None = None
    """What the loss is measured in, as the task names it."""
    bytes_per_token: float | None = None
    """Mean bytes of text of a token, which the task knows; the loss, in nats, is then shown in bits per byte too."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """Other measures that are expected of the run, by name; see `with_metric`."""
    serving: Serving | None = None
    """What is served and what that costs; None where only training was asked about."""
    repetition: Repetition | None = None
    """Passes over finite data; None where distinct tokens were not limited."""
    holdout: Holdout | None = None
    """How well the smaller budgets predict the largest one; None with fewer than 4 budgets."""
    notes: tuple[str, ...] = ()

    @property
    def bits_per_byte(self) -> Estimate | None:
        """The loss in bits per byte of text, which other tokenisers leave as it is; None where it is not known."""
        if self.loss is None or self.bytes_per_token is None:
            return None
        nats = math.log(2) * self.bytes_per_token
        return Estimate(self.loss.value / nats, self.loss.low / nats, self.loss.high / nats)

    def with_metric(self, stage: MetricFit) -> "Optimum":
        """The same answer with the metric that `fit_metric` expects at its loss. Raises DataError without a loss."""
        notes = (*self.notes, *(note for note in stage.notes if note not in self.notes))
        return replace(self, metrics={**self.metrics, stage.name: stage.predict(self)}, notes=notes)

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
    if (serving := answer.serving) is not None:
        served = f"{format_count(serving.tokens)} {answer.unit}s"
        total = format_flops(serving.total.value)
        return f"Cheapest to train and to serve {served}: {total} FLOPs in all ({format_percent(answer.level)} intervals)"
    return f"Compute-optimal at {format_flops(answer.flops)} FLOPs ({format_percent(answer.level)} intervals)"


def _rows(answer: Optimum) -> list[tuple[str, ...]]:
    """Rows of the printed table: what, value, interval."""
    needed = answer.flops_needed
    rows = [] if answer.serving is None else answer.serving.rows()
    if needed is not None and answer.serving is None:
        rows.append(("FLOPs", *_cells(needed, format_flops)))
    rows += [
        ("params", *_cells(answer.num_params)),
        (f"{answer.unit}s", *_cells(answer.num_tokens)),
    ]
    rows += [] if answer.repetition is None else answer.repetition.rows()
    if answer.loss is not None:
        name = "loss" if answer.loss_unit is None else f"loss, {answer.loss_unit}"
        rows.append((name, *_cells(answer.loss, _loss_text)))
    if answer.bits_per_byte is not None:
        rows.append(("bits/byte", *_cells(answer.bits_per_byte, _loss_text)))
    rows += [(name, *_cells(found, format_number)) for name, found in answer.metrics.items()]
    if (
        answer.size is not None
        and answer.size_num_params is not None
        and answer.size_num_tokens is not None
    ):
        pays = f"{format_count(answer.size_num_params)} params, {format_count(answer.size_num_tokens)} {answer.unit}s"
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
    rows.append(("extrapolation", *_distance(answer.extrapolation)))
    return rows


def _cells(found: Estimate, write: Callable[[float], str] = format_count) -> tuple[str, str]:
    return write(found.value), format_interval(found.low, found.high, write)


def _loss_text(value: float) -> str:
    return format_number(value, 4)


def _distance(decades: float) -> tuple[str, str]:
    if decades == 0:
        return "none", "the target lies within the runs"
    if decades < 0:
        return f"÷{format_number(10**-decades)}", "of the FLOPs of the smallest run"
    return f"{format_number(10**decades)}x", "the FLOPs of the largest run"

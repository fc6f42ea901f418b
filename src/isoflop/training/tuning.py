"""tune(): estimates the rule for the learning rate from short runs, and what it may still cost.

The best rate drifts with the length of a run as well as with size, so that the best rule at one
length is wrong at another (Bjorck et al. 2024, 2409.19913). Two sizes at two token counts separate
the two effects.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from isoflop import arguments
from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_count,
    format_flops,
    format_number,
    format_percent,
)
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.fitting.noisy_rule import TriedCell, fit_noisy_rule
from isoflop.fitting.setting_rule import Fitted, fit_rule
from isoflop.notes.note import Note
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe, Rule
from isoflop.runs import RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import Executor
from isoflop.training.runner import train
from isoflop.training.trainer import Trainer
from isoflop.training.tuning_search import (
    Cell,
    LossesOf,
    Make,
    Place,
    Search,
    choose_places,
    spec_maker,
)

__all__ = ["SHARE", "Tuning", "tune"]

SHARE = 0.1
"""Share of a sweep's FLOPs that its tuning may cost."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A recipe with tuned rules, and their precision.

    flops: FLOPs spent. allowance: FLOPs that could have been spent.
    cost_inside: share of loss that the rule costs in the worst cell.
    cost_at_largest: expected share of loss that the rule costs at the sweep's largest run; NaN if
        no cell has a minimum inside its range.
    """

    recipe: Recipe
    lr: Fitted
    cells: tuple[Cell, ...]
    batch: Fitted | None = None
    batch_cells: tuple[Cell, ...] = ()
    flops: float
    allowance: float
    cost_inside: float
    cost_at_largest: float
    notes: tuple[Note, ...]

    def __str__(self) -> str:
        head = (
            f"Learning rate {self.recipe.lr}, tuned with {format_flops(self.flops)} of "
            f"{format_flops(self.allowance)} FLOPs"
        )
        cost = (
            f"It may still cost {format_percent(self.cost_inside)} of loss in these cells and "
            f"{format_percent(self.cost_at_largest)} at the sweep's largest run."
        )
        parts = [head, _table(self.cells, "lr")]
        if self.batch is not None:
            parts += [
                f"Tokens per step {self.batch.rule}",
                _table(self.batch_cells, "tokens per step"),
            ]
        return "\n".join([*parts, format_bullets((cost, *self.notes))])


def tune(
    task: Task | Family,
    sweep: Sweep,
    *,
    trainer: Trainer | None = None,
    store: str | os.PathLike[str] | Store,
    executor: Executor | str | None = None,
    data_workers: int | Literal["auto"] = "auto",
    share: float = SHARE,
    batch: bool = False,
    packed: bool = False,
    progress: bool = True,
) -> Tuning:
    """Estimate the learning-rate rule a N^b D^c of a task from short runs.

    The runs are at two sizes and two token counts. The rule goes through the best rates of these
    four cells, each as near as the noise of its losses allows. Plan again afterwards with
    `dataclasses.replace(task, recipe=tuning.recipe)`.

    sweep: the plan that the rule is for; none of its runs is trained. The cells are as large as
        the allowance permits, at the sweep's tokens per param.
    trainer, store, executor, data_workers, packed, progress: as in `train`; after a stop the same
        call continues.
    share: share of the sweep's FLOPs to spend at most.
    batch: tune the tokens per step, too, with half of the allowance each; the rate then goes with
        their square root.

    With `Recipe(branches=True)` the rule is one of the params alone.

    Raises PlanError if the share does not pay for five runs in each of four cells, or all runs of
    a cell failed.
    """
    sizes = sizes_of(task, "tune: task")
    if not isinstance(sweep, Sweep):
        raise arguments.refused(
            sweep, "tune: sweep", "what isoflop.plan(task, ...) gives", error=PlanError
        )
    must = "above 0 and up to 1"
    share = float(
        arguments.number(
            share, "tune: share", must=must, holds=lambda one: 0 < one <= 1, error=PlanError
        )
    )
    batch = arguments.flag(batch, "tune: batch", error=PlanError)
    allowance = share * sweep.flops / (2 if batch else 1)
    places = choose_places(sizes, sweep, share, allowance)
    make = spec_maker(sizes)

    def losses_of(specs: Sequence[RunSpec]) -> dict[str, float]:
        requested = Sweep(specs=tuple(specs), unit=task.unit)
        runs = train(
            task,
            requested,
            trainer=trainer,
            store=store,
            executor=executor,
            data_workers=data_workers,
            packed=packed,
            progress=progress,
        )
        return {
            run.id: run.loss if run.status == "completed" else math.inf
            for run in runs
            if run.status != "failed"
        }

    recipe = sizes.recipe
    search = _rates(recipe, places, make, allowance)
    cells = search.run(losses_of)
    found = _rate_rule(cells, recipe.peak_lr)
    lr = _shared(found, recipe, cells)
    tuning = Tuning(
        recipe=replace(recipe, lr=lr.rule),
        lr=lr,
        cells=cells,
        flops=search.spent,
        allowance=share * sweep.flops,
        cost_inside=_cost_inside(lr, cells),
        cost_at_largest=_cost_at_largest(lr, sweep),
        notes=tuple(_notes(sizes, found, cells, sweep)),
    )
    if not batch:
        return tuning
    return _with_batch(tuning, _batches(tuning.recipe, places, make, allowance), losses_of)


def _rates(recipe: Recipe, places: tuple[Place, ...], make: Make, allowance: float) -> Search:
    return Search(
        places=places,
        base=lambda place: recipe.peak_lr(place.num_params, place.num_tokens),
        recipe_with=lambda place, lr: replace(recipe, lr=lr),
        value_of=lambda spec: spec.settings.lr,
        make=make,
        allowance=allowance,
    )


def _batches(recipe: Recipe, places: tuple[Place, ...], make: Make, allowance: float) -> Search:
    """Batches with rates by the square-root rule of Adam (Malladi et al. 2022, 2205.10287)."""

    def recipe_with(place: Place, tokens: float) -> Recipe:
        at = (place.num_params, place.num_tokens)
        root = math.sqrt(tokens / recipe.tokens_per_step(*at))
        return replace(recipe, batch_tokens=tokens, lr=root * recipe.peak_lr(*at))

    return Search(
        places=places,
        base=lambda place: recipe.tokens_per_step(place.num_params, place.num_tokens),
        recipe_with=recipe_with,
        value_of=lambda spec: spec.step_tokens,
        make=make,
        allowance=allowance,
    )


def _with_batch(tuning: Tuning, search: Search, losses_of: LossesOf) -> Tuning:
    """The tuning with a rule for the batch, too, and the learning rate adapted to it."""
    recipe, cells = tuning.recipe, search.run(losses_of)
    batch = _shared(_rule(cells, recipe.tokens_per_step), recipe, cells)
    at = [(cell.place.num_params, cell.place.num_tokens) for cell in cells]
    moved = [
        replace(
            cell.vertex,
            value=recipe.peak_lr(*where)
            * math.sqrt(batch.rule(*where) / recipe.tokens_per_step(*where)),
        )
        for cell, where in zip(cells, at, strict=True)
    ]
    lr = _shared(fit_rule(at, moved, _exponents(recipe.peak_lr, at)), recipe, cells)
    return replace(
        tuning,
        recipe=replace(recipe, lr=lr.rule, batch_tokens=batch.rule),
        batch=batch,
        batch_cells=cells,
        flops=tuning.flops + search.spent,
        notes=(*tuning.notes, *_edge_notes(cells, "tokens per step")),
    )


def _rate_rule(cells: Sequence[Cell], own: Rule) -> Fitted:
    tried = [TriedCell(cell.place.num_params, cell.place.num_tokens, cell.tried) for cell in cells]
    return fit_noisy_rule(tried, own, _exponents(own, [one[:2] for one in tried]))


def _rule(cells: Sequence[Cell], own: Rule) -> Fitted:
    at = [(cell.place.num_params, cell.place.num_tokens) for cell in cells]
    return fit_rule(at, [cell.vertex for cell in cells], _exponents(own, at))


def _shared(found: Fitted, recipe: Recipe, cells: Sequence[Cell]) -> Fitted:
    """The rule itself, or one of the params alone for runs of many lengths that share a trunk."""
    middle = cells[0].place
    return found.along(middle.num_tokens / middle.num_params) if recipe.branches else found


def _exponents(rule: Rule, at: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Exponents of N and D of a rule between the corners of the cells."""
    (n0, d0), (n1, d1) = at[0], at[-1]
    by_size = math.log(rule(n1, d0) / rule(n0, d0)) / math.log(n1 / n0)
    return by_size, math.log(rule(n0, d1) / rule(n0, d0)) / math.log(d1 / d0)


def _cost_inside(lr: Fitted, cells: Sequence[Cell]) -> float:
    """Half the curvature times the squared distance from a cell's own best, at the worst cell."""
    away = [
        math.log(lr.rule(cell.place.num_params, cell.place.num_tokens) / cell.vertex.value) ** 2
        * cell.vertex.curvature
        for cell in cells
    ]
    return max((0.5 * cost for cost in away if math.isfinite(cost)), default=math.nan)


def _cost_at_largest(lr: Fitted, sweep: Sweep) -> float:
    largest = max(sweep.specs, key=lambda spec: spec.flops)
    return 0.5 * lr.curvature * lr.deviation(largest.num_params, largest.num_tokens) ** 2


def _notes(sizes: Sizes, lr: Fitted, cells: Sequence[Cell], sweep: Sweep) -> Iterator[Note]:
    yield from _edge_notes(cells, "learning rate")
    by_size, by_tokens = lr.exponent_deviations
    yield Note(
        "tuned-exponents",
        f"The best rate moves with params to the power {lr.rule.num_params:.2f} ± {by_size:.2f} "
        f"and with {sizes.unit}s to the power {lr.rule.num_tokens:.2f} ± {by_tokens:.2f}.",
    )
    largest = max(sweep.specs, key=lambda spec: spec.num_params)
    beyond = largest.num_params / max(cell.place.num_params for cell in cells)
    yield Note(
        "tuned-reach",
        f"The sweep's largest size has {format_number(beyond, 2)} times the params of the largest "
        f"one that was tuned.",
    )
    costs = [_cost_of_own(sizes.recipe, cell) for cell in cells]
    yield Note(
        "untuned-cost",
        f"The recipe's own rule would have cost up to {format_percent(max(costs))} of loss in "
        f"these cells.",
    )


def _edge_notes(cells: Sequence[Cell], setting: str) -> list[Note]:
    return [_edge_note(cell, setting) for cell in cells if not cell.vertex.inside]


def _edge_note(cell: Cell, setting: str) -> Note:
    return Note(
        "tuned-at-edge",
        f"The best {setting} of size {cell.place.sized.size} on "
        f"{format_count(cell.place.num_tokens)} tokens lies at the edge of the values tried "
        f"({format_number(cell.vertex.value, 2)}): allow a larger share, or start from a better "
        f"rule.",
    )


def _cost_of_own(recipe: Recipe, cell: Cell) -> float:
    own = recipe.peak_lr(cell.place.num_params, cell.place.num_tokens)
    nearest = min(cell.tried, key=lambda pair: abs(math.log(pair[0] / own)))
    return nearest[1] / min(loss for _, loss in cell.tried) - 1


def _table(cells: Sequence[Cell], setting: str) -> str:
    header = (
        "size",
        "params",
        "tokens",
        f"{setting} tried",
        "best",
        "loss there",
        "twice as high costs",
    )
    return align_columns([header, *(_row(cell) for cell in cells)])


def _row(cell: Cell) -> tuple[str, ...]:
    values = [value for value, _ in cell.tried]
    curvature = cell.vertex.curvature
    return (
        str(cell.place.sized.size),
        format_count(cell.place.num_params),
        format_count(cell.place.num_tokens),
        f"{format_number(min(values), 2)} to {format_number(max(values), 2)}",
        format_number(cell.vertex.value, 2) + ("" if cell.vertex.inside else " (edge)"),
        format_number(min(loss for _, loss in cell.tried), 4),
        format_percent(math.expm1(0.5 * curvature * math.log(2) ** 2))
        if math.isfinite(curvature)
        else "unknown",
    )

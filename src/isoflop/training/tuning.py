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

import numpy as np

from isoflop import arguments
from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_bullets, format_flops, format_number, format_percent
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.fitting.noisy_rule import BestSetting, NoisyRule, TriedCell, fit_noisy_rule
from isoflop.fitting.setting_rule import Fitted, law_through
from isoflop.notes.note import Note
from isoflop.planning.specs import in_batches_of
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
from isoflop.training.tuning_table import cells_table, edge_notes

__all__ = ["SHARE", "Tuning", "tune"]

SHARE = 0.1
"""Share of a sweep's FLOPs that its tuning may cost."""
SURE = 0.2
"""Standard deviation of a cell's best log setting from which on more seeds are trained: twice as
large a setting costs .6 % of the loss of a usual model, and one off by .2 a twelfth of that."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A recipe with tuned rules, and their precision.

    cells, best: what was tried at each size and token count, and the best rate there with its
        doubt; batch_cells, batch_best: the same of the tokens per step.
    flops: FLOPs spent. allowance: FLOPs that could have been spent.
    cost_inside: share of loss that the rule costs in the worst cell.
    cost_at_largest: expected share of loss that the rule costs at the sweep's largest run.
    """

    recipe: Recipe
    lr: Fitted
    cells: tuple[Cell, ...]
    best: tuple[BestSetting, ...]
    batch: Fitted | None = None
    batch_cells: tuple[Cell, ...] = ()
    batch_best: tuple[BestSetting, ...] = ()
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
        parts = [head, cells_table(self.cells, self.best, "lr")]
        if self.batch is not None:
            parts += [
                f"Tokens per step {self.batch.rule}",
                cells_table(self.batch_cells, self.batch_best, "tokens per step"),
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
    four cells, each as near as the noise of its losses allows; where that leaves a best rate
    unsure, more seeds are trained. Plan again afterwards with
    `dataclasses.replace(task, recipe=tuning.recipe)`.

    sweep: the plan that the rule is for; none of its runs is trained. The cells are as large as
        the allowance permits, at the sweep's tokens per param.
    trainer, store, executor, data_workers, packed, progress: as in `train`; after a stop the same
        call continues.
    share: share of the sweep's FLOPs to spend at most; less is spent where the rates are sure.
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
    found = _rule(cells, recipe.peak_lr)
    lr = _shared(found.law, recipe, cells)
    tuning = Tuning(
        recipe=replace(recipe, lr=lr.rule),
        lr=lr,
        cells=cells,
        best=found.best,
        flops=search.spent,
        allowance=share * sweep.flops,
        cost_inside=_cost(lr.rule, cells, found.best),
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
        is_unsure=lambda cells: _unsure(cells, recipe.peak_lr),
    )


def _batches(recipe: Recipe, places: tuple[Place, ...], make: Make, allowance: float) -> Search:
    """Batches with rates that go with their square root."""
    return Search(
        places=places,
        base=lambda place: recipe.tokens_per_step(place.num_params, place.num_tokens),
        recipe_with=lambda place, tokens: in_batches_of(
            tokens, recipe, place.num_params, place.num_tokens
        ),
        value_of=lambda spec: spec.step_tokens,
        make=make,
        allowance=allowance,
        is_unsure=lambda cells: _unsure(cells, recipe.tokens_per_step),
    )


def _with_batch(tuning: Tuning, search: Search, losses_of: LossesOf) -> Tuning:
    """The tuning with a rule for the batch, too, and the learning rate adapted to it."""
    recipe, cells = tuning.recipe, search.run(losses_of)
    found = _rule(cells, recipe.tokens_per_step)
    batch = _shared(found.law, recipe, cells)
    at = [cell.at for cell in cells]
    rates = [
        recipe.peak_lr(*where) * math.sqrt(batch.rule(*where) / recipe.tokens_per_step(*where))
        for where in at
    ]
    moved = law_through(
        at,
        np.log(rates),
        np.array([one.deviation for one in found.best]) ** 2,
        _exponents(recipe.peak_lr, at),
        noise=batch.noise,
        curvature=batch.curvature,
    )
    lr = replace(tuning.lr, rule=_shared(moved, recipe, cells).rule)
    return replace(
        tuning,
        recipe=replace(recipe, lr=lr.rule, batch_tokens=batch.rule),
        lr=lr,
        batch=batch,
        batch_cells=cells,
        batch_best=found.best,
        flops=tuning.flops + search.spent,
        notes=(*tuning.notes, *edge_notes(cells, found.best, "tokens per step")),
    )


def _rule(cells: Sequence[Cell], own: Rule) -> NoisyRule:
    tried = [TriedCell(*cell.at, cell.tried) for cell in cells]
    return fit_noisy_rule(tried, own, _exponents(own, [cell.at for cell in cells]))


def _unsure(cells: Sequence[Cell], own: Rule) -> list[bool]:
    """Whether the best of each cell is known too badly for one seed a value."""
    return [one.deviation > SURE for one in _rule(cells, own).best]


def _shared(found: Fitted, recipe: Recipe, cells: Sequence[Cell]) -> Fitted:
    """The rule itself, or one of the params alone for runs of many lengths that share a trunk."""
    middle = cells[0].place
    return found.along(middle.num_tokens / middle.num_params) if recipe.branches else found


def _exponents(rule: Rule, at: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Exponents of N and D of a rule between the corners of the cells."""
    (n0, d0), (n1, d1) = at[0], at[-1]
    by_size = math.log(rule(n1, d0) / rule(n0, d0)) / math.log(n1 / n0)
    return by_size, math.log(rule(n0, d1) / rule(n0, d0)) / math.log(d1 / d0)


def _cost(rule: Rule, cells: Sequence[Cell], best: Sequence[BestSetting]) -> float:
    """Share of loss that a rule costs in the worst cell."""
    return max(one.cost(rule(*cell.at)) for cell, one in zip(cells, best, strict=True))


def _cost_at_largest(lr: Fitted, sweep: Sweep) -> float:
    largest = max(sweep.specs, key=lambda spec: spec.flops)
    return 0.5 * lr.curvature * lr.deviation(largest.num_params, largest.num_tokens) ** 2


def _notes(sizes: Sizes, found: NoisyRule, cells: Sequence[Cell], sweep: Sweep) -> Iterator[Note]:
    yield from edge_notes(cells, found.best, "learning rate")
    lr = found.law
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
    cost = _cost(sizes.recipe.peak_lr, cells, found.best)
    yield Note(
        "untuned-cost",
        f"The recipe's own rule would have cost up to about {format_percent(cost)} of loss in "
        f"these cells.",
    )

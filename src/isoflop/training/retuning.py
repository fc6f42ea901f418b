"""retuned(): where the check of a sweep fails, its learning rates tuned before it is trained."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.family import Family
from isoflop.fitting.checked_rates import find_rates, reach_of
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.notes.note import Note
from isoflop.planning.question import SweepQuestion
from isoflop.planning.sequential import LARGEST_SHARE, paid
from isoflop.planning.specs import make_spec
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import Executor
from isoflop.training.notices import print_notice
from isoflop.training.ranks import current_ranks
from isoflop.training.runner import train
from isoflop.training.trainer import Trainer
from isoflop.training.tuning import tune
from isoflop.training.tuning_search import TooLittleError

__all__ = ["Retuned", "TrainedBy", "Tune", "retuned", "tunes"]

Tune = Literal["auto"] | bool | None
"""Whether rates are tuned where their check fails: "auto" where a spend pays for it."""


@dataclass(frozen=True)
class TrainedBy:
    """Arguments of `train` that say by what, and where, runs are trained."""

    trainer: Trainer | None
    store: Store
    executor: Executor | str | None
    data_workers: int | Literal["auto"]
    packed: bool = False


@dataclass(frozen=True)
class Retuned:
    """A recipe with tuned rates, the question with what is left of its spend, and a note."""

    recipe: Recipe
    question: SweepQuestion
    note: Note


def tunes(tune: Tune, question: SweepQuestion) -> bool:
    """Whether rates are tuned where their check fails."""
    return question.budgets is None if tune == "auto" else bool(tune)


def retuned(
    task: Task | Family,
    question: SweepQuestion,
    sweep: Sweep,
    by: TrainedBy,
) -> Retuned | None:
    """Train the checks of a first stage, and tune the rates where they are wrong.

    None where the checks find nothing wrong, or too little is left to tune.
    """
    known = all(by.store.read_run(spec.id) is not None for spec in sweep.checks)
    checks = train(
        task,
        Sweep(specs=sweep.checks, unit=sweep.unit, memory_bytes=sweep.memory_bytes),
        trainer=by.trainer,
        store=by.store,
        executor=by.executor,
        data_workers=by.data_workers,
        packed=by.packed,
    )
    found = find_rates(checks, reach_of(sweep.specs))
    if found is not None and not known and current_ranks().is_first:
        print_notice(str(found.note))
    if found is None or found.verdict != "wrong":
        return None
    try:
        tuning = tune(
            task,
            _whole(sizes_of(task), question, sweep),
            trainer=by.trainer,
            store=by.store,
            executor=by.executor,
            data_workers=by.data_workers,
            packed=by.packed,
        )
    except TooLittleError:  # the note on the answer says what is wrong with the rates
        return None
    first = str(found.note).split(";")[0]
    text = (
        f"The check found the recipe's learning rate wrong ({first}), and the learning rates were "
        f"tuned: train with {tuning.recipe.lr} (N params, D {task.unit}s)."
    )
    left = _left(question, sum(map(paid, checks)) + tuning.flops)
    return Retuned(tuning.recipe, left, Note("rates-tuned", text))


def _whole(sizes: Sizes, question: SweepQuestion, first: Sweep) -> Sweep:
    """A sweep that stands for all stages: the first one, and the largest run of a spend."""
    if question.budgets is not None:
        return first
    flops = LARGEST_SHARE * _spend(question)
    largest = sizes.near(math.sqrt(flops / (6 * TOKENS_PER_PARAM)))
    wanted = flops / largest.flops_per_token
    spec = make_spec(sizes, sizes.supply, sizes.fingerprint, largest, wanted)
    return Sweep(specs=(*first.specs, spec), unit=first.unit)


def _left(question: SweepQuestion, spent: float) -> SweepQuestion:
    """The question with the spend that is left."""
    if question.budgets is not None:
        return question
    return replace(question, spend=_spend(question) - spent)


def _spend(question: SweepQuestion) -> float:
    spend, target = question.spend or 0.0, question.target or 0.0
    return spend * target if spend <= 1 else spend

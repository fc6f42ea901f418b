"""find_optimal(): plan, train, fit and predict in one call that can be made again."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isoflop.contract.fingerprint import digest_of, fingerprint
from isoflop.fitting.fit import fit
from isoflop.optimum import Optimum, predict
from isoflop.planning.asked import Asked, asked
from isoflop.planning.sweep import Sweep, plan
from isoflop.recipe import Recipe
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.ranks import current_ranks
from isoflop.training.runner import Executor, open_store, train

__all__ = ["find_optimal"]


def find_optimal(
    model: Callable[..., Any],
    size_param: str | Callable[[Any], Mapping[str, Any]],
    *,
    model_kwargs: Mapping[str, Any] | None = None,
    train_data: Any,
    val_data: Any,
    loss: Callable[..., Any] | None,
    target: float | str,
    spend: float | str | None = None,
    budgets: Sequence[float | str] | None = None,
    recipe: Recipe | None = None,
    store: str | os.PathLike[str] | Store,
    executor: Executor | None = None,
    step: Callable[..., Any] | None = None,
    sizes: Sequence[int | float | str] | None = None,
    unit: str = "token",
) -> Optimum:
    """The optimum for `target` FLOPs, from a sweep that is planned, trained and fitted here.

    The arguments up to `loss` and from `recipe` on are those of `Task`, `plan` and `train`; `target`, `spend` and
    `budgets` may be phrases, as for `plan`. `budgets` asks for a plain IsoFLOP grid, `spend` for one that costs that
    share of the target. What the store has is not trained again, and a plan that was begun is the plan that is
    finished: the same call resumes, and then gives the same answer at once.

    Raises what `plan`, `train`, `fit` and `predict` raise.
    """
    task = Task(
        model=model,
        size_param=size_param,
        model_kwargs=model_kwargs or {},
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        step=step,
        recipe=recipe or Recipe(),
        sizes=sizes,
        unit=unit,
    )
    store = open_store(store)
    question = asked(budgets, target, spend)
    sweep = current_ranks().told(lambda: _planned(task, store, question))
    runs = train(task, sweep, store=store, executor=executor)
    return predict(fit(runs), flops=target, task=task)


def _planned(task: Task, store: Store, question: Asked) -> Sweep:
    """The stage's plan from the store, or a new one that is stored before its first run."""
    budgets, target, spend = question.budgets, question.target, question.spend
    asked_for = (sorted(map(float, budgets)),) if budgets is not None else (target, spend)
    name = digest_of(fingerprint(task), task.recipe, task.sizes, asked_for)
    stored = store.read_stage(name)
    if stored is not None:
        return Sweep(specs=stored[0], notes=stored[1], unit=task.unit)
    sweep = plan(task, budgets=budgets, target=target, spend=spend)
    store.write_stage(name, sweep.specs, sweep.notes)
    return sweep

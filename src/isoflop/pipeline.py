"""find_optimal(): plan, train, fit and predict in one call that can be made again."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from isoflop.answers.predict import Optimum, predict
from isoflop.compute.budget import asked, flops_of
from isoflop.fitting.fit import fit
from isoflop.planning.stage import Design
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe
from isoflop.reporting.live import live_report
from isoflop.reporting.page import report
from isoflop.runs import Run
from isoflop.stages import OnRecord, Question, train_stages
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.ranks import current_ranks
from isoflop.training.runner import Executor, open_store

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
    val_loss: Callable[..., Any] | None = None,
    sizes: Sequence[int | float | str | tuple[int | float | str, ...]] | None = None,
    unit: str = "token",
    hardware: str | None = None,
    design: Design = "sequential",
    allow_far: bool = False,
    page: str | os.PathLike[str] | None = None,
) -> Optimum:
    """The optimum for `target` FLOPs, from a sweep that is planned, trained and fitted here.

    The arguments up to `loss` and from `recipe` on are those of `Task`, `plan` and `train`; `target`, `spend` and
    `budgets` may be phrases, as for `plan`. `budgets` asks for a plain IsoFLOP grid, whose budgets are extended where
    the lowest loss is at the edge; `spend` for stages, each planned on what the ones before have shown, until the
    spend is used or the next stage is not worth its cost. What the store has is not trained again, and a stage that
    was begun is the stage that is finished: the same call resumes, and then gives the same answer at once.

    page: HTML file with the answer, drawn again after each run while the sweep trains; open it to watch.

    Raises what `plan`, `train`, `fit` and `predict` raise, and StoreError where the page cannot be written.
    """
    task = Task(
        model=model,
        size_param=size_param,
        model_kwargs=model_kwargs or {},
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        step=step,
        val_loss=val_loss,
        recipe=recipe or Recipe(),
        sizes=sizes,
        unit=unit,
    )

    found = train_stages(
        task,
        Question(
            asked(budgets, target, spend), hardware=hardware, design=design, allow_far=allow_far
        ),
        store=open_store(store),
        executor=executor,
        on_stage=None if page is None else partial(_watched, page, flops_of(target), task),
    )
    fitted = fit(found.runs)
    answer = predict(fitted, flops=target, task=task)
    answer = replace(answer, notes=(*answer.notes, *found.notes))
    if page is not None and current_ranks().is_first:
        report(fitted, answer, path=page, task=task)
    return answer


def _watched(
    page: str | os.PathLike[str], target: float, task: Task, sweep: Sweep, runs: list[Run]
) -> OnRecord:
    """What draws the page again after each run of a stage."""
    return live_report(page, target=target, sweep=sweep, runs=runs, task=task)

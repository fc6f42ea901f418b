"""find_optimal(), and the loop over stages behind it: plan, train, and plan the next stage.

Both can be called again: what the store holds is neither planned nor trained a second time.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from isoflop import arguments
from isoflop.answers.predict import Optimum, predict
from isoflop.compute.budget import flops_of
from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_flops, join_words
from isoflop.errors import ContractError, PlanError
from isoflop.family import Family
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.fitting.fit import fit
from isoflop.notes.note import Note
from isoflop.planning.plan import plan_question
from isoflop.planning.question import CheckRates, SweepQuestion, sweep_question
from isoflop.planning.records import plan_of, sweep_of
from isoflop.planning.stage import Design
from isoflop.planning.sweep import Sweep
from isoflop.recipe import Recipe
from isoflop.reporting.live import live_report
from isoflop.reporting.page import report
from isoflop.runs import Run, SizeValue, TrainedRuns
from isoflop.storage.store import RecordStore, StageStore, Store
from isoflop.task import Task
from isoflop.training.ranks import current_ranks
from isoflop.training.retuning import TrainedBy, Tune, keep_plan, retuned, tunes, unchecked_notes
from isoflop.training.runner import Executor, open_store, train
from isoflop.training.trainer import Trainer, check_trainer

__all__ = ["StagedRuns", "find_optimal", "stage_name", "train_stages"]

OnRecord = Callable[[Run], Any]
OnStage = Callable[[Sweep, list[Run]], OnRecord | None]
"""(stage to be trained, runs in the store of it and of earlier stages) -> called for each run."""

MOST_EXTENSIONS = 2
"""Times that a grid is extended beyond an edge; minima farther out are 100 times off the guess."""


# -- one call ------------------------------------------------------------------------------------


def find_optimal(
    task: Task | Family | Callable[..., object] | None = None,
    size_param: str | Callable[[Any], Mapping[str, object]] | None = None,
    *,
    trainer: Trainer | None = None,
    target: float | str,
    spend: float | str | None = None,
    budgets: Sequence[float | str] | None = None,
    store: str | os.PathLike[str] | Store,
    executor: Executor | str | None = None,
    data_workers: int | Literal["auto"] = "auto",
    packed: bool = False,
    hardware: str | None = None,
    design: Design = "auto",
    allow_far: bool = False,
    check_rates: CheckRates = "auto",
    tune: Tune = "auto",
    page: str | os.PathLike[str] | None = None,
    model: Callable[..., object] | None = None,
    model_kwargs: Mapping[str, object] | None = None,
    train_data: object = None,
    val_data: object = None,
    loss: Callable[..., object] | None = None,
    step: Callable[..., object] | None = None,
    val_loss: Callable[..., object] | None = None,
    metrics: Mapping[str, Callable[..., object]] | None = None,
    recipe: Recipe | None = None,
    unit: str | None = None,
    loss_unit: str | None = None,
    bytes_per_token: float | None = None,
    sizes: Sequence[SizeValue] | None = None,
    fingerprint: str | None = None,
    num_params: Callable[[Any], int] | None = None,
    flops_per_token: Callable[[Any], float] | None = None,
    count_tokens: Callable[[Any], int] | None = None,
) -> Optimum:
    """The optimum for `target` FLOPs, from a sweep that is planned, trained and fitted here.

    The same call resumes an interrupted sweep; once the sweep is complete, it gives the same
    answer at once. Runs in the store are not trained again, and a stage that was started is
    finished as it was planned.

    task: a `Task`; or the model class, followed by `size_param` and the other fields of `Task`; or
        a `Family`, with a trainer.
    trainer: as for `train`.
    target, spend, budgets: FLOPs or phrases, as for `plan`. `budgets` trains an IsoFLOP grid and
        adds sizes where the lowest loss is at an edge. `spend` trains in stages, each planned from
        the runs before, until it is used up or the next stage is not worth its cost.
    store, executor, data_workers, packed: as for `train`.
    hardware, design, allow_far, check_rates: as for `plan`; with a trainer, rates are checked only
        where `check_rates` is True.
    tune: where the check finds the recipe's learning rate or the default batch wrong, tune it
        before the sweep and train with the tuned rules, which a note on the answer names. A
        `Recipe(batch_tokens=)` of your own is kept. "auto" does so for a `spend`, of which it
        takes up to a tenth; True for `budgets` too, beside which it costs up to a tenth more; None
        not at all.
    page: HTML file with the answer, drawn again after each run while the sweep trains.
    model, model_kwargs and the arguments after them: fields of `Task`, in place of a `Task`.

    Raises ContractError where a `Task` and fields of `Task` are both given, or neither; the errors
    of `plan`, `train`, `fit` and `predict`; StoreError where the page cannot be written.
    """
    task = _task_of(
        task,
        {
            "model": model,
            "size_param": size_param,
            "model_kwargs": model_kwargs,
            "train_data": train_data,
            "val_data": val_data,
            "loss": loss,
            "step": step,
            "val_loss": val_loss,
            "metrics": metrics,
            "recipe": recipe,
            "unit": unit,
            "loss_unit": loss_unit,
            "bytes_per_token": bytes_per_token,
            "sizes": sizes,
            "fingerprint": fingerprint,
            "num_params": num_params,
            "flops_per_token": flops_per_token,
            "count_tokens": count_tokens,
        },
    )
    question = sweep_question(
        budgets=budgets,
        target=target,
        spend=spend,
        hardware=hardware,
        design=design,
        allow_far=allow_far,
        check_rates=check_rates,
    )
    on_stage = None if page is None else partial(_drawn, page, flops_of(target), task)
    trained = train_stages(
        task,
        question,
        trainer=trainer,
        store=open_store(store),
        executor=executor,
        data_workers=data_workers,
        packed=packed,
        on_stage=on_stage,
        tune=tune,
    )
    law, task = fit(trained.runs), trained.task
    answer = predict(law, flops=target, task=task)
    answer = replace(answer, notes=(*answer.notes, *trained.notes))
    if page is not None and current_ranks().is_first:
        report(law, answer, path=page, task=task)
    return answer


_NEEDED = ("model", "size_param", "train_data", "val_data")


def _task_of(task: object, fields: Mapping[str, Any]) -> Task | Family:
    """The task, or a new one of its fields; those that are None take `Task`'s own defaults."""
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(task, Task | Family):
        if given:
            kind = type(task).__name__
            raise ContractError(
                f"find_optimal: a {kind} must be the only description of the task, but got "
                f"{join_words([*given])} beside it; use isoflop.{kind}({next(iter(given))}=...)."
            )
        return task
    if task is not None:
        if "model" in given:
            raise ContractError(
                "find_optimal: model must be given once, but got it first and as model=; leave "
                "one of them out."
            )
        given["model"] = task
    missing = [name for name in _NEEDED if name not in given]
    if missing:
        raise ContractError(
            f"find_optimal: the first argument must be an isoflop.Task, or a model class with "
            f"size_param, train_data and val_data, but {join_words(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    return Task(**given)


def _drawn(
    page: str | os.PathLike[str], target: float, task: Task | Family, sweep: Sweep, runs: list[Run]
) -> OnRecord | None:
    """The function that draws the page again after each run of a stage that has runs to train."""
    known = {run.id for run in runs}
    if all(spec.id in known for spec in sweep.specs):  # the report follows
        return None
    return live_report(page, target=target, sweep=sweep, runs=runs, task=task)


# -- stages --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagedRuns:
    """Runs of all stages with those of their checks, and the task that they were trained for.

    notes: those of a last plan that had nothing new to train, and those on the learning rates that
        no run shows.
    """

    runs: TrainedRuns
    notes: tuple[Note, ...]
    task: Task | Family


def train_stages(
    task: Task | Family,
    question: SweepQuestion,
    *,
    trainer: Trainer | None = None,
    store: Store,
    executor: Executor | str | None = None,
    data_workers: int | Literal["auto"] = "auto",
    packed: bool = False,
    on_stage: OnStage | None = None,
    tune: Tune = None,
) -> StagedRuns:
    """Plan and train stage after stage, until the question needs no further one.

    Plans and runs that the store holds are used as they are.

    on_stage: called by the first process before each stage is trained; the function that it
        returns is called after each run, as the `on_record` of `train`.
    tune: as for `find_optimal`.

    Raises the errors of `plan` and `train`.
    """
    tune = arguments.automatic(tune, "tune", error=PlanError)
    check_trainer(task, trainer)  # before a plan that nothing could train is stored
    if trainer is not None and question.check_rates == "auto":
        question = replace(question, check_rates=None)
    trained_by = TrainedBy(trainer, store, executor, data_workers, packed)
    runs, checks = dict[str, Run](), dict[str, Run]()
    stage, notes, unchecked = 0, tuple[Note, ...](), tuple[Note, ...]()
    while True:
        known = TrainedRuns(runs.values(), checks.values())
        planned = partial(_stored_or_planned, task, store, question, stage, known)
        sweep = current_ranks().broadcast(planned)
        if not question.check_rates:
            sweep = replace(sweep, checks=())
        if stage == 0:
            name = stage_name(sizes_of(task), question, stage)
            tuned = None
            if sweep.checks and tunes(tune, question):
                tuned = retuned(task, question, sweep, trained_by, name)
            elif current_ranks().is_first:
                keep_plan(store, name)
            if tuned is not None:
                tuned_task = replace(task, recipe=tuned.recipe(task.recipe))
                again = train_stages(
                    tuned_task,
                    tuned.question,
                    trainer=trainer,
                    store=store,
                    executor=executor,
                    data_workers=data_workers,
                    packed=packed,
                    on_stage=on_stage,
                )
                return replace(again, notes=(*again.notes, tuned.note))
        if all(spec.id in runs for spec in sweep.specs):
            notes = sweep.notes
            break
        redraw = None
        if on_stage is not None and current_ranks().is_first:
            redraw = on_stage(sweep, [*known, *known.checks, *_stored(sweep, store)])
        trained = train(
            task,
            sweep,
            trainer=trainer,
            store=store,
            executor=executor,
            data_workers=data_workers,
            packed=packed,
            on_record=redraw,
        )
        if stage == 0:
            unchecked = unchecked_notes(sweep, trained.checks)
        runs |= {run.id: run for run in trained}
        checks |= {run.id: run for run in trained.checks}
        stage += 1
        if question.budgets is not None and not _to_extend(runs.values(), stage):
            break
    every = TrainedRuns(runs.values(), checks.values())
    return StagedRuns(every, (*notes, *unchecked), task)


def _stored(sweep: Sweep, store: RecordStore) -> list[Run]:
    planned = (*sweep.checks, *sweep.specs)
    return [run for spec in planned if (run := store.read_run(spec.id)) is not None]


def _stored_or_planned(
    task: Task | Family, store: StageStore, question: SweepQuestion, stage: int, runs: list[Run]
) -> Sweep:
    """The stage's plan from the store, or a new one that is stored before its first run."""
    sizes = sizes_of(task)
    name = stage_name(sizes, question, stage)
    stored = store.read_stage(name)
    if stored is not None:
        return sweep_of(*stored, runs)
    sweep = plan_question(sizes, question, runs)
    store.write_stage(name, sweep.specs, {"purpose": _purpose(question, stage), **plan_of(sweep)})
    return sweep


def _to_extend(runs: Iterable[Run], stage: int) -> bool:
    """Whether more sizes are needed: the lowest loss of some budget of a grid is at an edge."""
    return stage <= MOST_EXTENSIONS and any(not valley.interior for valley in valleys(list(runs)))


def stage_name(sizes: Sizes, question: SweepQuestion, stage: int) -> str:
    """Name of a stage in the store: a hash of the task and the question."""
    budgets = question.budgets
    compute = (question.target, question.spend) if budgets is None else (sorted(budgets),)
    is_default = question.design == "auto" and question.hardware is None
    how = () if is_default else (question.design, question.hardware)
    number = () if stage == 0 else (stage,)
    return sizes.digest(*compute, *how, *number)


def _purpose(question: SweepQuestion, stage: int) -> str:
    """Purpose of a stage, in words."""
    if question.budgets is None:
        target = question.target
        prefix = "" if target is None else f"target {format_flops(target)} FLOPs, "
        return f"{prefix}stage {stage + 1}"
    budgets = [format_flops(budget) for budget in question.budgets]
    text = f"budget{'s' if len(budgets) > 1 else ''} {join_words(budgets)} FLOPs"
    return text if stage == 0 else f"{text}, more sizes at their edges"

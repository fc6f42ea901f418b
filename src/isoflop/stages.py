"""train_stages(): plan a stage, train it, and plan the next on what it has shown, until the sweep is finished."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from isoflop.compute.budget import Asked
from isoflop.display.format import format_flops, join_words
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.planning.plan import plan
from isoflop.planning.records import plan_of, sweep_of
from isoflop.planning.stage import Design
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.ranks import current_ranks
from isoflop.training.runner import Executor, train
from isoflop.user_code.fingerprint import digest_of, fingerprint

__all__ = ["Question", "StagedRuns", "train_stages"]

OnRecord = Callable[[Run], Any]
OnStage = Callable[[Sweep, list[Run]], OnRecord | None]
"""Given a stage before it is trained, and the runs that the store has of it and of those before."""

MOST_EXTENSIONS = 2
"""Times that a grid is extended beyond an edge; a minimum farther out says that the guess was wrong by 100 or more."""


@dataclass(frozen=True)
class Question:
    """What a sweep is made for, and how its runs are chosen: the arguments of `plan`."""

    asked: Asked
    hardware: str | None = None
    design: Design = "sequential"
    allow_far: bool = False
    forecast: bool = False

    def name(self, task: Task, stage: int) -> str:
        """Of a stage in the store: a hash of the task and the question."""
        budgets, target, spend = self.asked.budgets, self.asked.target, self.asked.spend
        wanted = (sorted(map(float, budgets)),) if budgets is not None else (target, spend)
        how = (
            ()
            if self.design == "sequential" and self.hardware is None
            else (self.design, self.hardware)
        )
        number = () if stage == 0 else (stage,)
        return digest_of(fingerprint(task), task.recipe, task.sizes, (*wanted, *how, *number))

    def purpose(self, stage: int) -> str:
        """What a stage is for, in words."""
        if self.asked.budgets is not None:
            budgets = [format_flops(budget) for budget in self.asked.budgets]
            told = f"budget{'s' if len(budgets) > 1 else ''} {join_words(budgets)} FLOPs"
            return told if stage == 0 else f"{told}, more sizes at their edges"
        target = (
            "" if self.asked.target is None else f"target {format_flops(self.asked.target)} FLOPs, "
        )
        return f"{target}stage {stage + 1}"

    def planned(self, task: Task, runs: Sequence[Run]) -> Sweep:
        """The next stage's plan."""
        asked = self.asked
        return plan(
            task,
            budgets=asked.budgets,
            target=asked.target,
            spend=asked.spend,
            runs=runs,
            hardware=self.hardware,
            design=self.design,
            allow_far=self.allow_far,
            forecast=self.forecast,
        )


@dataclass(frozen=True)
class StagedRuns:
    """Runs of all stages, and the notes of a last plan that had nothing new to train."""

    runs: list[Run]
    notes: tuple[str, ...]


def train_stages(
    task: Task,
    question: Question,
    *,
    store: Store,
    executor: Executor | None = None,
    on_stage: OnStage | None = None,
) -> StagedRuns:
    """Runs of every stage that the question asks for; what the store has is neither planned nor trained again.

    on_stage: called with each stage, by the first process; what it gives is called after each run, as `train`'s
        `on_record`.

    Raises what `plan` and `train` raise.
    """
    runs: dict[str, Run] = {}
    stage, notes = 0, tuple[str, ...]()
    while True:
        planned = partial(_stored_or_planned, task, store, question, stage, list(runs.values()))
        sweep = current_ranks().broadcast(planned)
        if all(spec.id in runs for spec in sweep.specs):
            notes = sweep.notes
            break
        redraw = None
        if on_stage is not None and current_ranks().is_first:
            redraw = on_stage(sweep, [*runs.values(), *_stored(sweep, store)])
        runs |= {
            run.id: run
            for run in train(task, sweep, store=store, executor=executor, on_record=redraw)
        }
        stage += 1
        if question.asked.budgets is not None and not _to_extend(runs.values(), stage):
            break
    return StagedRuns(list(runs.values()), notes)


def _stored(sweep: Sweep, store: Store) -> list[Run]:
    return [run for spec in sweep.specs if (run := store.read_run(spec.id)) is not None]


def _stored_or_planned(
    task: Task, store: Store, question: Question, stage: int, runs: list[Run]
) -> Sweep:
    """The stage's plan from the store, or a new one that is stored before its first run."""
    name = question.name(task, stage)
    stored = store.read_stage(name)
    if stored is not None:
        return sweep_of(*stored, runs)
    sweep = question.planned(task, runs)
    store.write_stage(name, sweep.specs, {"purpose": question.purpose(stage), **plan_of(sweep)})
    return sweep


def _to_extend(runs: Iterable[Run], stage: int) -> bool:
    """Whether a budget of a grid has its lowest loss at the edge, so that more sizes would bracket it."""
    return stage <= MOST_EXTENSIONS and any(not valley.interior for valley in valleys(list(runs)))

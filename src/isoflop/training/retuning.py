"""retuned(): where the check of a sweep fails, its rules tuned before it is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import join_words
from isoflop.family import Family
from isoflop.fitting.checked_batches import find_batches
from isoflop.fitting.checked_rates import find_rates, reach_of
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.notes.note import Note
from isoflop.planning.earlier_runs import paid
from isoflop.planning.question import SweepQuestion
from isoflop.planning.specs import make_spec
from isoflop.planning.stage import largest_share, stage_design
from isoflop.planning.sweep import Sweep
from isoflop.recipe import PowerRule, Recipe, default_batch_tokens
from isoflop.runs import Run
from isoflop.storage.status import TUNED
from isoflop.storage.store import StageStore, Store
from isoflop.task import Task
from isoflop.training.executors.contract import Executor
from isoflop.training.ranks import current_ranks
from isoflop.training.runner import train
from isoflop.training.summaries import report_checks
from isoflop.training.trainer import Trainer
from isoflop.training.tuning import SHARE, Tuning, tune
from isoflop.training.tuning_search import TooLittleError

__all__ = ["Retuned", "TrainedBy", "Tune", "keep_plan", "retuned", "tunes", "unchecked_notes"]

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
    """Rules of tuned rates and batches, the question with what is left of its spend, and a note.

    batch_tokens: None where the recipe's own is kept.
    """

    lr: PowerRule
    batch_tokens: PowerRule | None
    question: SweepQuestion
    note: Note

    def recipe(self, own: Recipe) -> Recipe:
        """A recipe with the tuned rules in place of its own."""
        return replace(own, lr=self.lr, batch_tokens=self.batch_tokens or own.batch_tokens)


def tunes(tune: Tune, question: SweepQuestion) -> bool:
    """Whether rates are tuned where their check fails."""
    return question.budgets is None if tune == "auto" else bool(tune)


def retuned(
    task: Task | Family,
    question: SweepQuestion,
    sweep: Sweep,
    by: TrainedBy,
    stage: str,
) -> Retuned | None:
    """Train the checks of a first stage, and tune the rates where something is wrong.

    Batches are tuned with them where the default rule is found wrong: one of the user's own may be
    meant, since a large batch saves time.

    What was tuned is kept with the plan, which it replaces: runs that fail there and are tried
    again later change neither the rule nor the runs that were trained with it.

    stage: name of the plan in the store.

    None where the checks find nothing wrong, or too little is left to tune.
    """
    kept = current_ranks().broadcast(partial(_kept, by.store, stage))
    if kept is not None:
        return _retuned_of(kept, question)
    known = all(by.store.read_run(spec.id) is not None for spec in sweep.checks)
    checks = train(
        task,
        replace(sweep, specs=sweep.checks, checks=()),
        trainer=by.trainer,
        store=by.store,
        executor=by.executor,
        data_workers=by.data_workers,
        packed=by.packed,
    )
    rates, batches = find_rates(checks, reach_of(sweep.specs)), find_batches(checks, sweep.specs)
    found = [one for one in (rates, batches) if one is not None]
    if not known and current_ranks().is_first:
        report_checks(sweep, {run.id: run for run in checks})
    is_own = task.recipe.batch_tokens is not default_batch_tokens
    wrong = [one for one in found if one.verdict == "wrong" and not (one is batches and is_own)]
    if not wrong:
        return None
    whole = _whole(sizes_of(task), question, sweep)
    try:
        tuning = tune(
            task,
            whole,
            trainer=by.trainer,
            store=by.store,
            executor=by.executor,
            data_workers=by.data_workers,
            packed=by.packed,
            share=_share(question, whole),
            batch=any(one is batches for one in wrong),
        )
    except TooLittleError:  # the note on the answer says what is wrong
        return None
    text = _tuned_text(tuning, [one.note for one in wrong], task.unit)
    left = _left(question, sum(map(paid, checks)) + tuning.flops)
    batch = None if tuning.batch is None else asdict(tuning.batch.rule)
    record = {"lr": asdict(tuning.lr.rule), "batch": batch, "spend": left, "note": text}
    if current_ranks().is_first:
        _keep(by.store, stage, record)
    return _retuned_of(record, question)


def _tuned_text(tuning: Tuning, wrong: Sequence[Note], unit: str) -> str:
    """What was found wrong and tuned; wrong: the notes on it."""
    names = {"rates-wrong": "learning rate", "batches-wrong": "batch"}
    what = join_words([names[note.code] for note in wrong])
    why = " ".join(note.split(";")[0] for note in wrong)
    tuned, rules = "learning rates", f"the learning rate {tuning.lr.rule}"
    if tuning.batch is not None:
        tuned = "learning rates and batches"
        rules += f" and {tuning.batch.rule} {unit}s per step"
    return (
        f"The check found the recipe's {what} wrong ({why}), and the {tuned} were tuned: train "
        f"with {rules} (N params, D {unit}s)."
    )


def unchecked_notes(sweep: Sweep, checks: Sequence[Run]) -> tuple[Note, ...]:
    """A note where no check shows the rates of a sweep: it has none, or its runs failed.

    checks: the runs of the sweep's checks.
    """
    if not checks:
        return tuple(note for note in sweep.notes if note.code == "rates-unchecked")
    number = sum(run.status == "failed" for run in checks)
    if not number or find_rates(checks, reach_of(sweep.specs)) is not None:
        return ()
    text = (
        f"The learning rates are not checked: of the {len(checks)} runs that check them, {number} "
        f"failed."
    )
    return (Note("rates-unchecked", text),)


def keep_plan(store: StageStore, stage: str) -> None:
    """Take a plan up again that tuned rates had replaced."""
    if _kept(store, stage) is not None:
        _keep(store, stage, None)


def _kept(store: StageStore, stage: str) -> Mapping[str, Any] | None:
    """What was tuned in place of a stored plan; None where that plan stands."""
    stored = store.read_stage(stage)
    tuned: Any = None if stored is None else stored[1].get(TUNED)
    return None if tuned is None else {**tuned}


def _keep(store: StageStore, stage: str, record: Mapping[str, Any] | None) -> None:
    stored = store.read_stage(stage)
    if stored is not None:
        specs, plan = stored
        store.write_stage(stage, specs, {**plan, TUNED: record})


def _retuned_of(record: Mapping[str, Any], question: SweepQuestion) -> Retuned:
    # the whole spend was near enough to the target
    left = replace(question, spend=record["spend"], allow_far=True)
    batch = None if record["batch"] is None else PowerRule(**record["batch"])
    return Retuned(PowerRule(**record["lr"]), batch, left, Note("rates-tuned", record["note"]))


def _whole(sizes: Sizes, question: SweepQuestion, first: Sweep) -> Sweep:
    """A sweep that stands for all stages: the first one, and the largest run of a spend."""
    if question.budgets is not None:
        return first
    spend = _spend(question) / len(sizes.recipe.seeds)
    flops = largest_share(stage_design(question.design, spend)) * spend
    largest = sizes.near(math.sqrt(flops / (6 * TOKENS_PER_PARAM)))
    wanted = flops / largest.flops_per_token
    spec = make_spec(sizes, sizes.supply, sizes.fingerprint, largest, wanted)
    return Sweep(specs=(*first.specs, spec), unit=first.unit)


def _share(question: SweepQuestion, whole: Sweep) -> float:
    """SHARE of what all stages may cost, as a share of the sweep that stands for them."""
    return (
        SHARE if question.budgets is not None else min(1.0, SHARE * _spend(question) / whole.flops)
    )


def _left(question: SweepQuestion, spent: float) -> float | None:
    """FLOPs that are left of a spend; None for budgets, which are trained all the same."""
    return None if question.budgets is not None else _spend(question) - spent


def _spend(question: SweepQuestion) -> float:
    spend, target = question.spend or 0.0, question.target or 0.0
    return spend * target if spend <= 1 else spend

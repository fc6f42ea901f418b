"""The note on how tokens and FLOPs are counted."""

from collections.abc import Sequence

from isoflop.counting.counting import batch_sample, count_size, flops_per_token_at
from isoflop.counting.sample import Sample, sample_of
from isoflop.counting.trials import counting_batches
from isoflop.display.format import format_number, format_percent
from isoflop.notes.note import Note
from isoflop.runs import RunSpec
from isoflop.task import Task

__all__ = ["counting_notes"]

GROWS = 1.05
"""Least ratio of a token's cost in the largest batches to that in the smallest that is noted."""


def counting_notes(task: Task, specs: Sequence[RunSpec]) -> list[Note]:
    """A note on what a token is in the task's data and on the batches whose FLOPs are counted."""
    if not specs:
        return []
    sample = sample_of(task)
    return [Note("token-rule", f"{_tokens(task, sample)} {_flops(task, sample, specs)}")]


def _tokens(task: Task, sample: Sample) -> str:
    if sample.rule == "each example":
        return f"One {task.unit} is {sample.rule}."
    mean = format_number(sample.tokens.mean() / sample.mean_examples, 3)
    spread = "" if (sample.tokens == sample.tokens[0]).all() else " on average"
    return f"One {task.unit} is {sample.rule}: an example has {mean}{spread}."


def _flops(task: Task, sample: Sample, specs: Sequence[RunSpec]) -> str:
    if task.flops_per_token is not None:
        return "FLOPs are those of Task(flops_per_token=)."
    middle = sorted(specs, key=lambda spec: spec.num_params)[len(specs) // 2]
    counted = count_size(task, middle.size)
    if counted.cost is None:
        return ""
    items = "batches" if sample.in_batches else "examples"
    if sample.has_one_shape and counting_batches(task).reading.num_variables == 1:
        return (
            f"FLOPs are counted for the one shape that all {sample.num_items} sampled {items} have."
        )
    batches = [spec.batch for spec in specs if spec.batch is not None]
    fewest, most = min(batches), max(batches)
    error = max(batch_sample(task, batch).error(counted.cost) for batch in (fewest, most))
    counted_as = (
        f"FLOPs are those of whole batches, padding included, as {sample.num_items} "
        f"{_drawn(sample)} {items} make them (standard error {format_percent(error)})"
    )
    ends = [flops_per_token_at(task, counted, batch) for batch in (fewest, most)]
    if GROWS > ends[1] / ends[0] > 1 / GROWS:
        return f"{counted_as}."
    more = format_number(ends[1] / ends[0], 3)
    return (
        f"{counted_as}: one {task.unit} costs {more} times as much in batches of {most} examples "
        f"as of {fewest}."
    )


def _drawn(sample: Sample) -> str:
    """How the items of a sample were chosen."""
    return "sampled" if sample.source.kind == "examples" else "first"

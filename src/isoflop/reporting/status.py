"""Progress of a store, as text."""

from collections import Counter
from collections.abc import Sequence

from isoflop.display.format import LONG, format_count, format_flops, format_items, one_line
from isoflop.runs import RunSpec, tasks_of, tasks_text
from isoflop.storage.status import StageStatus

__all__ = ["status_text"]


def status_text(stages: Sequence[StageStatus]) -> str:
    """A line per stage, then its failed and running runs, and how many wait at each budget."""
    if not stages:
        return "The store is empty: nothing was planned or trained there."
    return "\n\n".join([*(_stage_text(stage) for stage in stages), *_several_tasks(stages)])


def _several_tasks(stages: Sequence[StageStatus]) -> list[str]:
    """A note where the store holds runs of several tasks."""
    tasks = tasks_of(
        {run.id: run for stage in stages for run in (*stage.ended, *stage.failed)}.values()
    )
    if len(tasks) < 2:
        return []
    return [
        f"The runs are of {len(tasks)} tasks ({tasks_text(tasks)}); --task names the one that is "
        f"to be fitted."
    ]


def _stage_text(stage: StageStatus) -> str:
    counts = {
        "completed": sum(run.status == "completed" for run in stage.ended),
        "diverged": sum(run.status == "diverged" for run in stage.ended),
        "failed": len(stage.failed),
        "running": len(stage.running),
        "waiting": len(stage.waiting),
        "replaced": len(stage.replaced),
    }
    summary = ", ".join(f"{value} {name}" for name, value in counts.items() if value)
    num_runs = format_items(stage.num_runs, "run")
    parts = (one_line(stage.purpose or stage.stage, LONG), num_runs, summary)
    lines = [": ".join(part for part in parts if part)]
    lines += [
        f"  diverged  {_name(run.spec, run.id)}: {one_line(run.error, LONG)}"
        for run in stage.ended
        if run.status == "diverged"
    ]
    lines += [
        f"  failed    {_name(run.spec, run.id)}: {one_line(run.error, LONG)}"
        for run in stage.failed
    ]
    lines += [f"  running   {_name(spec, spec.id)}: {holder}" for spec, holder in stage.running]
    waiting = Counter(spec.budget for spec in stage.waiting)
    for budget, number in sorted(waiting.items(), key=lambda item: item[0] or 0.0):
        lines.append(f"  waiting   {format_items(number, 'run')}{_budget(budget)}")
    if stage.replaced:
        lines.append("  replaced  the learning rates were tuned, and the runs planned anew")
    return "\n".join(lines)


def _name(spec: RunSpec, run_id: str) -> str:
    size = f"{one_line(run_id)} size {one_line(spec.size)}{_budget(spec.budget)}"
    return f"{size}, {format_count(spec.num_params)} params, seed {spec.seed}"


def _budget(budget: float | None) -> str:
    return "" if budget is None else f" at {format_flops(budget)}"

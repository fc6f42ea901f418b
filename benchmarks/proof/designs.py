"""Which design tells most? The campaign's tasks swept anew by valleys, and judged in hindsight.

    python benchmarks/proof/designs.py train gpt [moe vit cnn]    # both spends; again to go on
    python benchmarks/proof/designs.py page

sequential  the runs of the registered forecasts, stage after stage until the next one was not worth
            its cost
lean        isoflop.plan(design="lean") for the same spend
grid        the plain grid of the campaign: three budgets of seven sizes

All are answered by today's default fit at the campaign's target, so that they differ in their runs
alone, and by the judged minimum there. Five minutes of one core of 5e10 FLOP/s for each task.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from bookkeeping import SPENDS, Campaign, read, read_records
from cases import CASES
from forecasts import after_tuning, spent, swept_runs, tuned_task
from judging import Valley, waste

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from tables import markdown, write

import isoflop
from isoflop.display.format import format_count, format_flops, format_percent
from isoflop.runs import Run

LEAN = Path(__file__).parent / "lean"
"""Folder of the records of the lean sweeps, apart from those that the forecasts came from."""
HEAD = (
    "task",
    "spend",
    "design",
    "runs",
    "FLOPs",
    "params",
    "half-width",
    "best",
    "expected waste",
    "waste",
)


def lean(campaign: Campaign, spend: str) -> Campaign:
    """The same task with the records of its lean sweep."""
    return replace(campaign, folder=LEAN / spend, stores=campaign.stores / "lean" / spend)


def train(campaign: Campaign) -> None:
    """Train the lean sweeps of both spends."""
    task = tuned_task(campaign)
    for spend in SPENDS:
        left = after_tuning(campaign.case.target, spend)
        runs = swept_runs(lean(campaign, spend), task, left, design="lean")
        print(f"{campaign.name}, {spend}: {len(runs)} runs, {spent(runs):.3g} FLOPs", flush=True)


def sweeps(campaign: Campaign, spend: str) -> Iterator[tuple[str, list[Run]]]:
    """Each design and its runs, as far as there are records of them."""
    forecast, records = read(campaign.forecast(spend)), read_records(campaign.records)
    yield "sequential", [records[run_id] for run_id in forecast["runs"]]
    yield "lean", list(read_records(lean(campaign, spend).records).values())
    yield "grid", [records[run_id] for run_id in forecast["grid runs"]]


def rows(campaign: Campaign) -> Iterator[list[object]]:
    """The answers from each design, beside what was judged."""
    judged, records = read(campaign.judgement), read_records(campaign.records).values()
    target = judged["target"]
    top = [run for run in records if run.budget == target and run.status == "completed"]
    valley = Valley.of(sorted(top, key=lambda run: run.num_params), judged["noise of log loss"])
    assert valley is not None
    for spend in SPENDS:
        for design, runs in sweeps(campaign, spend):
            if not runs:
                continue
            found = isoflop.predict(isoflop.fit(runs), flops=target)
            N = found.num_params
            yield [
                campaign.name,
                format_percent(SPENDS[spend]),
                design,
                len(runs),
                format_flops(spent(runs)),
                f"{format_count(N.value)} ({format_count(N.low)} to {format_count(N.high)})",
                f"x/÷{math.sqrt(N.high / N.low):.1f}",
                format_count(valley.num_params),
                "" if found.regret is None else format_percent(found.regret.value),
                format_percent(waste(valley, N.value, judged["slope"])),
            ]


def page() -> None:
    judged = [campaign for campaign in map(Campaign.of, CASES) if campaign.judgement.exists()]
    write(
        "design-small-models.md",
        "Designs for small models, on real training",
        "python benchmarks/proof/designs.py page",
        "```\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n```",
        "Waste is the share of the target's compute that following the advice loses, expected by "
        "the answer and by the parabola through the runs at the target; the half-width is that of "
        "the 90 % interval of the params.",
        markdown(HEAD, [row for campaign in judged for row in rows(campaign)]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["train", "page"])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(CASES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.tasks if given.step == "train" else ():
        train(Campaign.of(name))
    if given.step == "page":
        page()


if __name__ == "__main__":
    main()

"""Which design tells most? The campaign's tasks swept anew by valleys, and judged in hindsight.

    python benchmarks/proof/designs.py train gpt [moe vit cnn]    # both spends; again to go on
    python benchmarks/proof/designs.py page

sequential  the runs of the registered forecasts, stage after stage until the spend was used, or the
            next stage was not worth its cost
lean        isoflop.plan(design="lean") for the same spend
grid        the plain grid of the campaign: three budgets of seven sizes

All are answered by today's default fit at the campaign's target, so that they differ in their runs
alone, and by the judged minimum there. Five minutes of one core of 5e10 FLOP/s for each task.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Answer:
    """The answer from the runs of one design, and what was judged.

    waste: share of the target's compute that following it loses.
    """

    task: str
    spend: str
    design: str
    runs: list[Run]
    found: isoflop.Optimum
    best: float
    waste: float

    @property
    def score(self) -> float:
        """Interval score of log N at 90 % (Gneiting and Raftery 2007, eq. 43)."""
        low, high = (math.log(end / self.best) for end in self._ends)
        return high - low + 20 * max(0, low, -high)

    @property
    def row(self) -> list[object]:
        N, (low, high) = self.found.num_params, self._ends
        return [
            self.task,
            format_percent(SPENDS[self.spend]),
            self.design,
            len(self.runs),
            format_flops(spent(self.runs)),
            f"{format_count(N.value)} ({format_count(low)} to {format_count(high)})",
            f"x/÷{math.sqrt(high / low):.1f}",
            format_count(self.best),
            "" if self.found.regret is None else format_percent(self.found.regret.value),
            format_percent(self.waste),
        ]

    @property
    def _ends(self) -> tuple[float, float]:
        return self.found.num_params.low, self.found.num_params.high


def answers(campaign: Campaign) -> Iterator[Answer]:
    """The answer from each design and spend."""
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
            lost = waste(valley, found.num_params.value, judged["slope"])
            yield Answer(campaign.name, spend, design, runs, found, valley.num_params, lost)


def medians(given: Sequence[Answer]) -> list[list[object]]:
    """Of each design the median waste after each spend, and the mean interval score."""
    lines = []
    for design in dict.fromkeys(one.design for one in given):
        own = [one for one in given if one.design == design]
        wastes = [
            statistics.median(one.waste for one in own if one.spend == spend) for spend in SPENDS
        ]
        score = statistics.mean(one.score for one in own)
        lines.append([design, len(own), *map(format_percent, wastes), f"{score:.2f}"])
    return lines


def page() -> None:
    judged = [campaign for campaign in map(Campaign.of, CASES) if campaign.judgement.exists()]
    found = [one for campaign in judged for one in answers(campaign)]
    spends = [f"median waste after {format_percent(share)}" for share in SPENDS.values()]
    write(
        "design-small-models.md",
        "Designs for small models, on real training",
        "python benchmarks/proof/designs.py page",
        "```\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n```",
        "Waste is the share of the target's compute that following the advice loses, expected by "
        "the answer and by the parabola through the runs at the target; the half-width is that of "
        "the 90 % interval of the params.",
        markdown(["design", "answers", *spends, "interval score of log N"], medians(found)),
        markdown(HEAD, [one.row for one in found]),
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

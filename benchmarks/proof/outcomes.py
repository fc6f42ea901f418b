"""The runs at the target: the sizes that were advised, and others around them."""

import math
from dataclasses import dataclass

from bookkeeping import SPENDS, Campaign, commit_of
from forecasts import tuned_task

import isoflop
from isoflop.counting.sizes import SizeCount
from isoflop.counting.sizes_of import sizes_of
from isoflop.planning.specs import make_spec, paid_tokens
from isoflop.runs import Run, RunSpec

FACTORS = (1.0, 2.0, 1 / 2)
"""Params of the runs at the target, as multiples of the advice of the larger spend."""
MOST_EXTENSIONS = 3
"""Sizes beyond those while the lowest loss is at an edge."""


def train_outcomes(campaign: Campaign) -> None:
    """Train what is missing at the target.

    Raises SystemExit where a forecast is not in a commit yet.
    """
    require_registered(campaign)
    target = AtTarget.of(campaign)
    for size in target.first_sizes():
        target.train(size)
    for _ in range(MOST_EXTENSIONS):
        beyond = target.beyond_edge()
        if beyond is None:
            break
        target.train(beyond)


def require_registered(campaign: Campaign) -> None:
    """A forecast that could still be changed is no forecast."""
    for spend in SPENDS:
        path = campaign.forecast(spend)
        if not path.exists() or commit_of(path) is None:
            raise SystemExit(
                f"Nothing near the target is trained before its forecasts are in a commit: "
                f"commit {path} first."
            )


@dataclass(frozen=True)
class AtTarget:
    """The runs of a task at its target."""

    campaign: Campaign
    task: isoflop.Task
    counts: tuple[SizeCount, ...]

    @classmethod
    def of(cls, campaign: Campaign) -> "AtTarget":
        task = tuned_task(campaign)
        sizes = sizes_of(task)
        return cls(campaign, task, tuple(sizes.count(size) for size in task.sizes or ()))

    def spec(self, sized: SizeCount) -> RunSpec:
        sizes, flops = sizes_of(self.task), self.campaign.case.target
        wanted = paid_tokens(sizes, sized, flops)
        return make_spec(sizes, sizes.supply, sizes.fingerprint, sized, wanted, budget=flops)

    def train(self, sized: SizeCount) -> None:
        spec = self.spec(sized)
        self.campaign.train(self.task, [spec])

    def near(self, num_params: float) -> SizeCount:
        return min(self.counts, key=lambda one: abs(math.log(one.num_params / num_params)))

    def first_sizes(self) -> list[SizeCount]:
        """Sizes around the advice of the larger spend, and that of the smaller one."""
        advised = {
            spend: each["advice"]["size_num_params"]
            for spend, each in self.campaign.forecasts().items()
        }
        wanted = [advised["10pct"] * factor for factor in FACTORS]
        wanted.insert(2, advised["2pct"])
        return list({one.size: one for one in map(self.near, wanted)}.values())

    def runs(self) -> list[Run]:
        """Finished runs at the target, by params."""
        target = self.campaign.case.target
        done = [run for run in self.campaign.store.read_runs() if run.budget == target]
        own = [run for run in done if run.status == "completed"]
        return sorted(own, key=lambda run: run.num_params)

    def beyond_edge(self) -> SizeCount | None:
        """The next size where the lowest loss is at an edge; None where it is inside."""
        runs = self.runs()
        best = min(range(len(runs)), key=lambda k: runs[k].loss)
        if 0 < best < len(runs) - 1:
            return None
        factor = max(FACTORS[1], 1.01) if best else 1 / FACTORS[1]
        beyond = self.near(runs[best].num_params * factor)
        return None if beyond.num_params in {run.num_params for run in runs} else beyond

"""Does the check of the learning rates find a wrong rule, and does it leave a right one alone?

    python benchmarks/training/rate_check.py [--seeds 20] [--store FOLDER] [--write]

Two tasks: a byte-level GPT on the source of Python's library, and a perceptron on generated images.
The right rule of each goes through the best rates of the two sizes of its check. The wrong ones are
the same at the sweep's smallest size and 4 times too high at its largest, or already at the middle
size of its largest budget. With each, the runs of the default check are trained with twenty seeds;
nothing else of the sweep is. Results stay in the store, so that the program continues after a stop.
"""

import argparse
import datetime
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import isoflop  # noqa: E402
import python_source_gpt  # noqa: E402
from data.teacher_images import TeacherImages  # noqa: E402
from isoflop.fitting.checked_batches import BatchFinding  # noqa: E402
from isoflop.fitting.checked_rates import RateFinding, find_rates, reach_of  # noqa: E402
from isoflop.fitting.setting_rule import fit_vertex  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "training-rate-check.md"
COARSE, FINE = ((0.25, 0.5, 1.0, 2.0, 4.0), range(900, 904)), ((0.5, 1.0, 2.0), range(900, 930))
"""Factors and seeds of the two rounds that find the right rule: losses of one rate scatter by up to
3 % from seed to seed."""
TOO_HIGH = 4.0
RULES = ["right", "middle", "largest"]


class Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [nn.Linear(192, width), nn.GELU(), nn.Linear(width, width), nn.GELU()]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def text() -> isoflop.Task:
    train_data, val_data = python_source_gpt.python_source()
    return isoflop.Task(
        model=python_source_gpt.GPT,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=python_source_gpt.loss,
        unit="byte",
        recipe=isoflop.Recipe(epochs=None, eval_tokens=2**16),
    )


def images() -> isoflop.Task:
    return isoflop.Task(
        model=Perceptron,
        size_param="width",
        train_data=TeacherImages(2**15, size=8, seed=0),
        val_data=TeacherImages(2**13, size=8, seed=1),
        loss=nn.functional.cross_entropy,
        unit="image",
        recipe=isoflop.Recipe(epochs=None),
    )


TASKS: dict[str, tuple[Callable[[], isoflop.Task], list[float]]] = {
    "text": (text, [1e10, 2.6e10, 6.8e10]),
    "images": (images, [2e9, 5.2e9, 1.35e10]),
}


@dataclass(frozen=True)
class Case:
    """A task with a plan, and the folder of its runs."""

    task: isoflop.Task
    sweep: isoflop.Sweep
    store: Path

    @property
    def checks(self) -> list[isoflop.RunSpec]:
        """The runs that check the rates, without those that check the batches."""
        return [spec for spec in self.sweep.checks if spec.checked_batch is None]

    @property
    def params(self) -> list[float]:
        return [spec.num_params for spec in self.sweep.specs]

    def train(self, specs: Sequence[isoflop.RunSpec]) -> list[isoflop.Run]:
        wanted = isoflop.Sweep(specs=tuple(specs))
        return isoflop.train(self.task, wanted, store=self.store, progress=False, data_workers=0)


def right_rule(case: Case) -> isoflop.PowerRule:
    """The rule through the best rates of the two sizes that are checked."""
    cells = {spec.size: spec for spec in case.checks}
    places, best = [], []
    for spec in cells.values():
        lr = case.task.recipe.peak_lr(spec.num_params, spec.num_tokens)
        for factors, seeds in (COARSE, FINE):
            lr = best_rate(case, spec, [factor * lr for factor in factors], seeds)
        places.append(spec.num_params)
        best.append(lr)
    exponent = math.log(best[1] / best[0]) / math.log(places[1] / places[0])
    return isoflop.PowerRule(best[0] / places[0] ** exponent, num_params=exponent)


def best_rate(
    case: Case, spec: isoflop.RunSpec, tried: Sequence[float], seeds: Sequence[int]
) -> float:
    """The vertex of the mean log losses of some rates."""
    specs = [replace(spec, lr=lr, checked_lr=None, seed=seed) for lr in tried for seed in seeds]
    losses = np.log([run.loss for run in case.train(specs)]).reshape(len(tried), -1)
    return fit_vertex(tried, np.exp(losses.mean(axis=1)).tolist()).value


def wrong_rule(right: isoflop.PowerRule, least: float, most: float) -> isoflop.PowerRule:
    """The same at the size with the least params, and TOO_HIGH times it at that with the most."""
    tilt = math.log(TOO_HIGH) / math.log(most / least)
    return isoflop.PowerRule(right.coefficient / least**tilt, num_params=right.num_params + tilt)


def checked(case: Case, specs: Sequence[isoflop.RunSpec], seeds: int) -> list[list[isoflop.Run]]:
    """The runs of a check, once for each of so many sets of seeds."""
    wanted = [[replace(spec, seed=spec.seed + 10 * k) for spec in specs] for k in range(seeds)]
    runs = {run.id: run for run in case.train([spec for each in wanted for spec in each])}
    return [[runs[spec.id] for spec in each] for each in wanted]


def findings(case: Case, rule: isoflop.PowerRule, seeds: int) -> list[RateFinding | None]:
    """What the default check shows with a rule, seed by seed."""
    checks = []
    for spec in case.checks:
        planned = rule(spec.num_params, spec.num_tokens)
        checks.append(replace(spec, lr=spec.lr / spec.checked_lr * planned, checked_lr=planned))
    reach = reach_of(case.sweep.specs)
    return [find_rates(runs, reach) for runs in checked(case, checks, seeds)]


def rows_of(
    name: str, store: Path, seeds: int, rules: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Rows of the table for one task, and an example of each finding."""
    make, budgets = TASKS[name]
    task = make()
    case = Case(task, isoflop.plan(task, budgets=budgets), store / name)
    share = sum(spec.flops for spec in case.sweep.checks) / case.sweep.flops
    params = dict.fromkeys(f"{spec.num_params:,.0f}" for spec in case.checks)
    right = right_rule(case)
    rows, examples = [], []
    ends, reach = (min(case.params), max(case.params)), reach_of(case.sweep.specs)
    known = {
        "right": ("right", right),
        "largest": (f"4x at {ends[1]:,.0f}", wrong_rule(right, *ends)),
        "middle": (f"4x at {reach:,.0f}", wrong_rule(right, ends[0], reach)),
    }
    for label, rule in (known[one] for one in rules):
        found = findings(case, rule, seeds)
        sizes = f"{' and '.join(params)} of {ends[0]:,.0f} to {ends[1]:,.0f}"
        rows.append(f"| {name} | {sizes} | {share:.1%} | {label}: {rule} | {counts(found)} |")
        examples += [f"- {name}, {label}: {one.note}" for one in found[:1] if one is not None]
        print(rows[-1], *examples[-1:], sep="\n", flush=True)
    return rows, examples


def counts(found: Sequence[RateFinding | BatchFinding | None]) -> str:
    """How often a check held, was open and found a rule wrong, as columns."""
    verdicts = Counter("none" if one is None else one.verdict for one in found)
    return " | ".join(str(verdicts[one]) for one in ("holds", "open", "wrong"))


def parser_of(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--store", type=Path, default=Path("runs/rate_check"))
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    return parser


def write_report(
    head: str,
    columns: Sequence[str],
    parts: Sequence[tuple[list[str], list[str]]],
    path: Path | None,
) -> None:
    """Print the rows of all tasks as a table with examples, and write them to a file, if any."""
    header = f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    table = "\n".join([header, *(row for rows, _ in parts for row in rows)])
    words = "\n".join(example for _, examples in parts for example in examples)
    report = f"{head}\n\n{table}\n\nWhat the check says with the first seed:\n\n{words}"
    print(report)
    if path is not None:
        path.write_text(report + "\n")


def head_of(title: str, command: str, what: str) -> str:
    made = f"{datetime.date.today()}, no GPU, torch {torch.__version__}"
    return f"# {title}\n\n{made}. `{command} --write`\n\n{what}"


def main() -> None:
    parser = parser_of(__doc__ or "")
    parser.add_argument("--rules", nargs="*", default=RULES, choices=RULES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = [rows_of(name, given.store, given.seeds, given.rules) for name in given.only]
    columns = ("task", "params checked", "cost", "rule", "holds", "open", "wrong")
    write_report(_head(given.seeds), columns, parts, RESULTS if given.write else None)


def _head(seeds: int) -> str:
    what = (
        f"Verdicts of {seeds} seeds. The wrong rules are right at the sweep's smallest size, and "
        f"{TOO_HIGH:g} times too high at the middle size of its largest budget and ever more "
        f"above, or at its largest size alone. The check of rates and batches costs this share of "
        f"the sweep's FLOPs."
    )
    return head_of(
        "The check of the learning rates", "python benchmarks/training/rate_check.py", what
    )


if __name__ == "__main__":
    main()

"""Does the check of the batches say what larger runs show?

    OMP_NUM_THREADS=1 python benchmarks/training/batch_check.py [--seeds 20] [--write]

The two tasks of `rate_check.py`, with the default rule of the batch and with larger batches, whose
learning rates go with the square root of the batch. The runs of the default check are trained with
twenty seeds. What the batch really costs is measured where the answer is decided: on the run in the
middle of the largest budget, in batches from an eighth to four times the planned one. Results stay
in the store, so that the program continues after a stop.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rate_check import (
    TASKS,
    Case,
    checked,
    counts,
    head_of,
    parser_of,
    right_rule,
    write_report,
)

import isoflop
from isoflop.counting.sizes_of import sizes_of
from isoflop.fitting.checked_batches import find_batches
from isoflop.planning.specs import in_batches_of, make_spec
from isoflop.recipe import default_batch_tokens

RESULTS = Path(__file__).parents[1] / "results" / "training-batch-check.md"
LARGER = (1.0, 2.0)
FACTORS, TRUTH_SEEDS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0), range(900, 903)


@dataclass(frozen=True)
class Truth:
    """What the batch of a large run costs: its spec, and log losses, (batches, seeds)."""

    spec: isoflop.RunSpec
    batches: tuple[int, ...]
    y: np.ndarray

    @property
    def cost(self) -> tuple[float, float]:
        """Mean log loss of the planned batch above that of the best one tried, and its error."""
        best = int(np.argmin(self.y.mean(axis=1)))
        above = self.y[self.batches.index(self.spec.batch)] - self.y[best]
        return float(above.mean()), float(above.std(ddof=1) / math.sqrt(len(above)))

    @property
    def best(self) -> int:
        return self.batches[int(np.argmin(self.y.mean(axis=1)))]


def larger(case: Case, rule: isoflop.PowerRule, factor: float) -> Case:
    """The case with batches so many times larger, and rates that go with their square root."""
    recipe = replace(
        case.task.recipe,
        lr=replace(rule, coefficient=rule.coefficient * math.sqrt(factor)),
        batch_tokens=lambda N, D: factor * default_batch_tokens(N, D),
    )
    task = replace(case.task, recipe=recipe)
    budgets = sorted({spec.budget for spec in case.sweep.specs})
    return Case(task, isoflop.plan(task, budgets=budgets), case.store)


def truth_of(case: Case) -> Truth:
    """What the batch costs in the middle of the largest budget."""
    sizes = sizes_of(case.task)
    most = max(spec.budget for spec in case.sweep.specs)
    largest = sorted(
        (spec for spec in case.sweep.specs if spec.budget == most), key=lambda one: one.num_params
    )
    spec = largest[len(largest) // 2]
    planned = replace(
        sizes.recipe, lr=spec.lr, batch_tokens=spec.batch * spec.tokens_per_example, min_batch=1
    )
    batches = tuple(sorted({max(1, round(spec.batch * factor)) for factor in FACTORS}))
    specs = []
    for batch in batches:
        tokens = batch * spec.tokens_per_example
        recipe = in_batches_of(tokens, planned, spec.num_params, spec.num_tokens)
        specs += [
            make_spec(
                sizes,
                sizes.supply,
                spec.fingerprint,
                sizes.count(spec.size),
                spec.num_tokens,
                seed=seed,
                recipe=recipe,
            )
            for seed in TRUTH_SEEDS
        ]
    losses = np.log([run.loss for run in case.train(specs)])
    return Truth(spec, batches, losses.reshape(len(batches), -1))


def rows_of(name: str, store: Path, seeds: int) -> tuple[list[str], list[str]]:
    """Rows of the table for one task, and an example of each finding."""
    make, budgets = TASKS[name]
    task = make()
    plain = Case(task, isoflop.plan(task, budgets=budgets), store / name)
    rule = right_rule(plain)
    rows, examples = [], []
    for factor in LARGER:
        case = larger(plain, rule, factor)
        runs = checked(case, case.sweep.checks, seeds)
        found = [find_batches(each, case.sweep.specs) for each in runs]
        costs = [100 * one.lost[0] for one in found if one is not None]
        truth = truth_of(case)
        cost, error = (100 * each for each in truth.cost)
        sizes = {spec.num_params: spec.batch for spec in case.checks}
        at = " and ".join(f"{N:,.0f} ({batch})" for N, batch in sizes.items())
        reach = f"{truth.spec.num_params:,.0f} ({truth.spec.batch})"
        estimated = f"{np.median(costs):.2f} % ({min(costs):.2f} to {max(costs):.2f})"
        rows.append(
            f"| {name} | {factor:g} | {at} | {reach} | {counts(found)} | {estimated} | "
            f"{cost:.2f} ± {error:.2f} % | {truth.best} |"
        )
        examples += [f"- {name}, {factor:g}: {one.note}" for one in found[:1] if one is not None]
        print(rows[-1], *examples[-1:], sep="\n", flush=True)
        print(truth.batches, truth.y.mean(axis=1).round(4).tolist(), flush=True)
    return rows, examples


def main() -> None:
    given = parser_of(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    parts = [rows_of(name, given.store, given.seeds) for name in given.only]
    columns = (
        "task",
        "batch over the default",
        "params (batch) checked",
        "largest runs",
        "holds",
        "open",
        "wrong",
        "cost estimated",
        "cost measured",
        "best batch",
    )
    write_report(_head(given.seeds), columns, parts, RESULTS if given.write else None)


def _head(seeds: int) -> str:
    what = (
        f"Verdicts of {seeds} seeds, and what the check estimates that the batch costs on the "
        "largest runs: median of its means, and the least and the greatest. Measured is how much "
        "the planned batch costs there against the best of batches from an eighth to four times "
        "as large."
    )
    command = "OMP_NUM_THREADS=1 python benchmarks/training/batch_check.py"
    return head_of("The check of the batches", command, what)


if __name__ == "__main__":
    main()

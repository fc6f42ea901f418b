"""The best first learning rate of each kind of model, on small real tasks.

    OMP_NUM_THREADS=1 python benchmarks/training/starts.py [--only lenet gru] [--write]

Each kind has architectures that its rule was chosen for; some convolutional nets and one vision
transformer are held out, though the rule of vision transformers was rounded with it in sight. Each
is trained at two or three sizes, up to 50 times apart in params, with the default recipe and rates
a factor of two apart, until the best has worse ones on both sides; where the best is still unsure,
with up to four times the seeds. Runs are kept in a store, so that a stopped program goes on where
it was. About two hours on one core. The rule of transformers is older, and not measured here.
"""

import argparse
import datetime
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import isoflop
from isoflop.counting.sizes import SizeCount
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count
from isoflop.fitting.noisy_rule import BestSetting, NoisyRule, TriedCell, fit_noisy_rule
from isoflop.starts import STARTS, ModelKind
from isoflop.training.tuning import SURE
from isoflop.training.tuning_search import Cell, Place, Search, spec_maker

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(Path(__file__).parent)]
import starts_models as ours  # noqa: E402
from glyphs import glyphs  # noqa: E402

from data import teacher_images  # noqa: E402
from data.python_source import python_source  # noqa: E402
from models.cnn import CNN  # noqa: E402
from models.moe import MoE  # noqa: E402
from models.vit import ViT  # noqa: E402

COMMAND = "OMP_NUM_THREADS=1 python benchmarks/training/starts.py --write"
RESULTS = ROOT / "benchmarks" / "results" / "training-starts.md"
GUESS = isoflop.PowerRule(0.3, num_params=-0.31)
"""Where the search begins: the rule of transformers."""
NUM_IMAGES, NUM_HELD_OUT = 40_000, 4_000
TEACHERS = {"teacher": (7, 2.0), "sharp": (8, 6.0)}
"""Seed and sharpness of the teachers of images: the sharper, the less random their labels."""
MOST = 1.2e11
"""FLOPs of the largest run."""
RECIPE = isoflop.Recipe(epochs=None, eval_tokens=2**16, lr=GUESS)

CONV: ModelKind = "convolutional net"
VIT: ModelKind = "vision transformer"
RNN: ModelKind = "recurrent net"
SSM: ModelKind = "state-space model"
EXPERTS: ModelKind = "mixture of experts"
PLAIN: ModelKind = "MLP"


@dataclass(frozen=True)
class Family:
    """One architecture on one task.

    more: (index of a width, factor) of further cells with so many times the tokens.
    seeds: over which losses are averaged.
    """

    kind: ModelKind
    name: str
    model: Callable[..., nn.Module]
    data: str
    widths: tuple[int, ...]
    held_out: bool = False
    more: tuple[tuple[int, float], ...] = ()
    seeds: int = 1


LENGTHS = ((1, 0.25), (1, 3.0))
FAMILIES = (
    Family(CONV, "plain, no norm", ours.plain_without_norm, "glyphs", (4, 12)),
    Family(CONV, "ResNet", ours.ResNet, "glyphs", (2, 6)),
    Family(CONV, "plain, batch norm", ours.PlainConvNet, "glyphs", (4, 12, 32), more=LENGTHS),
    Family(CONV, "ResNet", ours.ResNet, "teacher", (2, 6, 16)),
    Family(CONV, "LeNet, no norm", ours.LeNet, "glyphs", (2, 6, 18)),
    Family(CONV, "examples/models/cnn.py", CNN, "teacher", (2, 6, 16), held_out=True, seeds=2),
    Family(CONV, "causal, over bytes", ours.ByteConvNet, "text", (4, 14, 40), held_out=True),
    Family(VIT, "torch's encoder", ours.TorchViT, "teacher", (8, 24, 64), more=LENGTHS),
    Family(VIT, "as timm's", ours.NarrowInitViT, "sharp", (6, 18), seeds=2),
    Family(VIT, "examples/models/vit.py", ViT, "teacher", (8, 24, 64), held_out=True, seeds=2),
    Family(RNN, "GRU", ours.gru, "text", (4, 14, 44)),
    Family(RNN, "LSTM", ours.lstm, "text", (4, 14, 44)),
    Family(SSM, "S4D", ours.s4d, "text", (4, 14, 40)),
    Family(SSM, "gated linear recurrence", ours.gated_recurrence, "text", (4, 14)),
    Family(EXPERTS, "examples/models/moe.py", MoE, "text", (4, 8)),
    Family(PLAIN, "two layers", ours.MLP, "teacher", (2, 16, 88), more=LENGTHS, seeds=2),
    Family(PLAIN, "residual, layer norm", ours.ResidualMLP, "glyphs", (2, 12, 48)),
)


@lru_cache
def data_of(name: str) -> tuple[object, object]:
    if name == "text":
        return python_source(context=64)
    if name == "glyphs":
        return glyphs(NUM_IMAGES, seed=0), glyphs(NUM_HELD_OUT, seed=1)
    teacher_images.TEACHER_SEED, teacher_images.SHARPNESS = TEACHERS[name]
    images = teacher_images.TeacherImages
    return images(NUM_IMAGES, seed=0), images(NUM_HELD_OUT, seed=1)


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def task_of(family: Family) -> isoflop.Task:
    train_data, val_data = data_of(family.data)
    kwargs = {} if family.data == "text" else {"num_classes": 10}
    return isoflop.Task(
        model=family.model,
        size_param="width",
        model_kwargs=kwargs,
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        unit="byte" if family.data == "text" else "image",
        sizes=family.widths,
        recipe=RECIPE,
        fingerprint=f"{family.name}, {family.data}",
    )


def tokens_of(family: Family, sized: SizeCount) -> float:
    """Of the middle run of a size: 20 bytes per param, or images as about the root of the params.

    Fewer for the largest, so that no run takes more than MOST FLOPs.
    """
    num_params = sized.params.get("active", sized.num_params)
    wanted = 20 * num_params if family.data == "text" else 150 * num_params**0.45
    return min(wanted, MOST / sized.flops_per_token)


def places_of(family: Family, task: isoflop.Task) -> tuple[Place, ...]:
    sizes = sizes_of(task)
    counts = [sizes.count(width) for width in family.widths]
    lengths = [tokens_of(family, one) for one in counts]
    middle = [Place(one, tokens) for one, tokens in zip(counts, lengths, strict=True)]
    more = [Place(counts[k], factor * lengths[k]) for k, factor in family.more]
    return (*middle, *more)


def rule_of(cells: Sequence[Cell], kind: ModelKind) -> NoisyRule:
    """The power law through the best rates of some cells, near the exponents of their start."""
    start = STARTS[kind].rule
    tried = [TriedCell(*cell.at, cell.tried) for cell in cells]
    return fit_noisy_rule(tried, GUESS, (start.num_params, start.num_tokens))


def search(family: Family, store: Path) -> tuple[Cell, ...]:
    """The rates that are tried in each cell of a family, with more seeds where it is unsure."""
    task = task_of(family)

    def is_unsure(cells: Sequence[Cell]) -> list[bool]:
        return [best.deviation > SURE for best in rule_of(cells, family.kind).best]

    def losses_of(specs: Sequence[isoflop.RunSpec]) -> dict[str, float]:
        seeds = range(family.seeds)
        wanted = {
            (spec.id, seed): replace(spec, seed=spec.seed * family.seeds + seed)
            for spec in specs
            for seed in seeds
        }
        sweep = isoflop.Sweep(specs=tuple(wanted.values()), unit=task.unit)
        runs = isoflop.train(task, sweep, store=store, data_workers=0, progress=False)
        loss = {run.id: run.loss if run.status == "completed" else math.inf for run in runs}
        return {
            spec.id: math.exp(np.mean([math.log(loss[wanted[spec.id, one].id]) for one in seeds]))
            for spec in specs
        }

    return Search(
        places=places_of(family, task),
        base=lambda place: GUESS(place.num_params, place.num_tokens),
        recipe_with=lambda place, lr: replace(RECIPE, lr=lr),
        value_of=lambda spec: spec.settings.lr,
        make=spec_maker(sizes_of(task)),
        allowance=math.inf,
        is_unsure=is_unsure,
    ).run(losses_of)


# -- the table ------------------------------------------------------------------------------------


def mean_losses(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The rates tried in a cell, and the mean loss over the seeds of each."""
    return np.array([one.value for one in cell.means]), np.array([one.loss for one in cell.means])


def given_up(cell: Cell, rate: np.ndarray | float) -> np.ndarray:
    """Loss that rates cost in a cell, in nats: between the losses of the rates around them."""
    rates, losses = mean_losses(cell)
    finite = np.minimum(losses, 2 * losses.min())  # a run may have diverged
    return np.interp(np.log(rate), np.log(rates), finite) - losses.min()


def seeds_in(family: Family, cell: Cell) -> int:
    """Seeds over which the losses of a cell's rates near the best were averaged."""
    return family.seeds * len({one.seed for one in cell.tried})


@dataclass(frozen=True)
class Row:
    """What one cell tells of its kind's start."""

    family: Family
    cell: Cell
    best: BestSetting

    @property
    def at(self) -> tuple[float, float]:
        return self.cell.at

    @property
    def start(self) -> float:
        return STARTS[self.family.kind].rule(*self.at)

    @property
    def times_best(self) -> float:
        return self.start / self.best.value

    @property
    def given_up(self) -> float:
        """Loss that the start costs, in nats."""
        return float(given_up(self.cell, self.start))

    @property
    def as_good(self) -> tuple[float, float]:
        """The lowest and the highest rate tried whose loss is within 1 % of the lowest."""
        rates, losses = mean_losses(self.cell)
        near = rates[losses < 1.01 * losses.min()]
        return min(near), max(near)

    def __str__(self) -> str:
        (low, high), place, best = self.as_good, self.cell.place, self.best
        held_out = " (held out)" if self.family.held_out else ""
        cells = (
            f"{self.family.kind}{held_out}",
            self.family.name,
            self.family.data,
            format_count(place.num_params),
            format_count(place.num_tokens),
            f"{seeds_in(self.family, self.cell)}",
            f"{best.value:.2g} ×/÷ {best.factor_90:.2f}",
            f"{low:.2g} to {high:.2g}",
            f"{self.start:.2g}",
            f"{self.times_best:.2f}",
            f"{self.given_up:.3f}",
        )
        return f"| {' | '.join(cells)} |"


LEVELS = np.log(np.geomspace(1 / 4, 4, 25))
EXPONENTS = np.arange(-1, -0.29, 0.05), np.arange(0, 0.85, 0.05)
"""Rules that `cheapest` compares: the logs of their level over that of the best rates, and their
exponents of params and tokens."""

HEAD = (
    "| kind | architecture | task | params | tokens | seeds | best rate (90 %) | within 1 % "
    "| start | start/best | loss given up |\n" + "|---" * 11 + "|"
)


def rows_of(family: Family, store: Path) -> list[Row]:
    cells = search(family, store)
    return [Row(family, *one) for one in zip(cells, rule_of(cells, family.kind).best, strict=True)]


def cheapest(rows: Sequence[Row]) -> isoflop.PowerRule:
    """The middle of the rules that give up little loss: up to a quarter more than the least.

    They count alike, since the losses hardly tell them apart.
    """
    log_N, log_D = np.log([row.at for row in rows]).T
    middle = np.log([row.best.value for row in rows]).mean()
    levels, of_N, of_D = (one.ravel() for one in np.meshgrid(middle + LEVELS, *EXPONENTS))
    logs = levels + of_N * (log_N - log_N.mean())[:, None] + of_D * (log_D - log_D.mean())[:, None]
    costs = [given_up(row.cell, np.exp(log)) for row, log in zip(rows, logs, strict=True)]
    mean = np.mean(costs, axis=0)
    level, num_params, num_tokens = (
        float(one[mean <= 1.25 * mean.min()].mean()) for one in (levels, of_N, of_D)
    )
    coefficient = math.exp(level - num_params * log_N.mean() - num_tokens * log_D.mean())
    return isoflop.PowerRule(
        float(f"{coefficient:.2g}"), round(num_params, 2), round(num_tokens, 2)
    )


def summary(rows: Sequence[Row]) -> list[str]:
    """One line for each kind: the fitted line, the start, and how near it is."""
    lines = [
        "| kind | line through the best rates | least loss given up | start "
        "| cells within a factor of 2 | ... held out | mean loss given up | ... held out |",
        "|---" * 8 + "|",
    ]
    for kind in dict.fromkeys(row.family.kind for row in rows):
        own = [row for row in rows if row.family.kind == kind and not row.family.held_out]
        others = [row for row in rows if row.family.kind == kind and row.family.held_out]
        shares = [near(own), near(others), cost(own), cost(others)]
        rules = rule_of([row.cell for row in own], kind).law.rule, cheapest(own), STARTS[kind].rule
        lines.append(f"| {' | '.join([kind, *map(str, rules), *shares])} |")
    return lines


def near(rows: Sequence[Row]) -> str:
    return f"{sum(0.5 <= row.times_best <= 2 for row in rows)} of {len(rows)}" if rows else ""


def cost(rows: Sequence[Row]) -> str:
    return f"{sum(row.given_up for row in rows) / len(rows):.3f}" if rows else ""


def report(rows: Sequence[Row]) -> str:
    made = datetime.date.today().isoformat()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return "\n".join(
        [
            "# Where learning rates start, by kind of model",
            "",
            f"`{COMMAND}`, {made}, {platform.machine()}, one thread of {os.cpu_count()} cores, "
            f"{versions}.",
            "",
            "Default recipe; rates a factor of two apart, until the best has worse ones on both "
            "sides, with more seeds where the best is unsure; the best rate is that of a parabola "
            "through the log losses. Tokens are bytes of Python source (text), or images: of a "
            "random teacher's labels (teacher) or of digits in many fonts (glyphs). The line goes "
            "through all best rates but those held out, each as sure as it is; the rule of the "
            "least loss given up is the middle of those that give up little there. "
            '"Within 1 %" has the rates whose loss is that near to the lowest. Loss given up is in '
            "nats.",
            "",
            *summary(rows),
            "",
            HEAD,
            *(str(row) for row in rows),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="parts of kind, architecture and task")
    parser.add_argument("--store", type=Path, default=Path("runs/starts"))
    parser.add_argument("--write", action="store_true", help="write the table of results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for family in FAMILIES:
        name = f"{family.kind} {family.name} {family.data}"
        if not chosen.only or any(part in name for part in chosen.only):
            rows += rows_of(family, chosen.store)
            print(*rows[-len(family.widths) - len(family.more) :], sep="\n", flush=True)
    print(report(rows))
    if chosen.write:
        RESULTS.write_text(report(rows))


if __name__ == "__main__":
    main()

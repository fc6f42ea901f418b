"""coordinate_check(): whether activations keep their scale as a model widens."""

from isoflop.user_code.data import first_batch, open_data  # first: explains how to install torch

# isort: split
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from isoflop import arguments
from isoflop.counting.first_rate import recipe_of
from isoflop.display.format import align_columns, format_bullets, format_number, quoted
from isoflop.errors import ContractError
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.notes.note import Note
from isoflop.runs import RunSpec
from isoflop.settings import Settings
from isoflop.task import Task, require_task
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import batch_loss
from isoflop.user_code.model import build, count_params
from isoflop.user_code.mup import scaled_parameters
from isoflop.user_code.optimiser import make_optimizer, new_model
from isoflop.user_code.randomness import reseed

__all__ = ["CoordinateCheck", "coordinate_check"]

LARGEST_SLOPE = 0.3
"""Largest slope of log change against log width that passes.

In theory the slope is 0; learning rates that ignore width give 0.5 to 1.
"""


@dataclass(frozen=True)
class CoordinateCheck:
    """How activations scale with width; `passed` if none drifts.

    start: per module and size, the mean absolute output before training.
    change: per module and size, the mean absolute change of the output by a few steps.
    slopes: per module, the slope of log change against log width.
    """

    sizes: tuple[float, ...]
    start: dict[str, tuple[float, ...]]
    change: dict[str, tuple[float, ...]]
    slopes: dict[str, float]
    notes: tuple[Note, ...] = ()

    @property
    def drifting(self) -> dict[str, float]:
        """Slope of each module whose change grows or fades with width."""
        return {
            name: slope for name, slope in self.slopes.items() if not abs(slope) <= LARGEST_SLOPE
        }

    @property
    def passed(self) -> bool:
        return not self.drifting

    def __str__(self) -> str:
        header = ("module", *(f"change at {size:g}" for size in self.sizes), "slope", "")
        rows = [
            (
                name,
                *(format_number(value, 2) for value in self.change[name]),
                f"{slope:+.2f}",
                _word(slope),
            )
            for name, slope in self.slopes.items()
        ]
        verdict = (
            "Passed: the change of every activation in training keeps its scale with width."
            if self.passed
            else f"Failed: {len(self.drifting)} of {len(self.slopes)} modules change more or less "
            f"as the model widens, so that the best learning rate at one width is wrong at another."
        )
        return "\n".join(
            [
                align_columns([header, *rows]),
                verdict,
                *([format_bullets(self.notes)] if self.notes else []),
            ]
        )


def _word(slope: float) -> str:
    if abs(slope) <= LARGEST_SLOPE:
        return ""
    return "grows" if slope > 0 else "fades"


def coordinate_check(
    task: Task,
    sizes: Sequence[float],
    *,
    num_steps: int = 4,
    num_examples: int = 16,
    num_seeds: int = 3,
) -> CoordinateCheck:
    """Measure how the change of activations in a few training steps scales with width.

    task: the task whose model, data and recipe are checked.
    sizes: values of the size parameter, which must be a width; at least three, spanning a factor
        of four or more.
    num_steps, num_examples, num_seeds: length of a run, size of its batch, and runs per width.

    Each step sees the same batch, at the recipe's peak rate, without warm-up, on the CPU.

    Raises ContractError for fewer than three sizes, or sizes that are not numbers.
    """
    require_task(task, "coordinate_check: task")
    given = arguments.listed(sizes, "coordinate_check: sizes", error=ContractError)
    read = {
        arguments.positive(one, "coordinate_check: sizes", error=ContractError) for one in given
    }
    if len(read) < 3:
        raise ContractError(
            f"coordinate_check needs at least 3 sizes that are widths, but got {quoted(given)}."
        )
    num_steps, num_examples, num_seeds = (
        arguments.whole(
            value, f"coordinate_check: {name}", least=1, most=10_000, error=ContractError
        )
        for name, value in (
            ("num_steps", num_steps),
            ("num_examples", num_examples),
            ("num_seeds", num_seeds),
        )
    )
    widths = tuple(sorted(read))
    batch = first_batch(open_data(task.train_data, "train_data"), num_examples)
    with isolated(0):
        measured = [
            [_measure(task, size, batch, num_steps, seed) for seed in range(num_seeds)]
            for size in widths
        ]
    names = [name for name in measured[0][0] if all(name in one for row in measured for one in row)]
    means = {
        name: np.array([np.mean([one[name] for one in row], axis=0) for row in measured])
        for name in names
    }
    moving = {name: values for name, values in means.items() if (values[:, 1] > 0).all()}
    x = np.log(widths)
    return CoordinateCheck(
        sizes=tuple(float(size) for size in widths),
        start={name: tuple(values[:, 0].tolist()) for name, values in moving.items()},
        change={name: tuple(values[:, 1].tolist()) for name, values in moving.items()},
        slopes={
            name: float(np.polyfit(x, np.log(values[:, 1]), 1)[0])
            for name, values in moving.items()
        },
        notes=tuple(_notes(task, widths[-1])),
    )


def _measure(
    task: Task, size: float, batch: object, num_steps: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Per module, the mean absolute output before training, and its mean absolute change."""
    reseed(seed)
    model = new_model(task, size)
    optimizer = make_optimizer(task, _settings(task, size, model), model)
    before = _outputs(task, model, batch)
    for _ in range(num_steps):
        batch_loss(task, model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    after = _outputs(task, model, batch)
    return {
        name: (float(before[name].abs().mean()), float((after[name] - before[name]).abs().mean()))
        for name in before
        if name in after
    }


def _settings(task: Task, size: float, model: nn.Module) -> Settings:
    num_params = count_params(task, model)
    num_tokens = TOKENS_PER_PARAM * num_params
    recipe = recipe_of(task)
    step_tokens = recipe.tokens_per_step(num_params, num_tokens)
    settings = recipe.settings(num_params, num_tokens, step_tokens)
    spec = RunSpec(
        size=size,
        num_params=num_params,
        num_tokens=num_tokens,
        flops=math.nan,
        batch=1,
        tokens_per_example=step_tokens,
        **settings,
    )
    return spec.settings


@torch.no_grad()
def _outputs(task: Task, model: nn.Module, batch: object) -> dict[str, torch.Tensor]:
    """Output of each module for a batch, without dropout."""
    kept: dict[str, torch.Tensor] = {}
    model.eval()
    with _watched(model, kept):
        batch_loss(task, model, batch)
    model.train()
    return kept


@contextmanager
def _watched(model: nn.Module, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                kept[name] = output.detach().clone()

        return hook

    hooks = [
        module.register_forward_hook(keep(name or "output"))
        for name, module in model.named_modules()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _notes(task: Task, widest: float) -> Iterator[Note]:
    if task.recipe.mup_base is None:
        yield Note(
            "one-learning-rate",
            "The recipe has one learning rate for all layers; Recipe.mup(base_size=...) gives them "
            "rates by width.",
        )
        return
    model = build(task, widest, "meta")
    tied = [
        scaled.name
        for scaled in scaled_parameters(task, model)
        if scaled.tied and scaled.kind != "fixed"
    ]
    if tied:
        yield Note(
            "tied-layers",
            f"{', '.join(tied)} is used by two layers: it learns as an embedding, and the model "
            f"has to divide its outputs by width / base width itself.",
        )

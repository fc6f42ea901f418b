"""State: all that the training loop changes, and its saving and loading."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any  # checkpoints hold values of many types

import torch
from torch import nn

from isoflop.runs import CurvePoint, RunSpec
from isoflop.storage.store import Workspace
from isoflop.training.averaging import Average
from isoflop.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from isoflop.training.places import Places
from isoflop.training.ranks import Ranks
from isoflop.training.sharding import (
    gathered,
    is_sharded,
    scattered,
    scattered_optimizer,
    scattered_weights,
)

__all__ = ["State", "add_point", "next_point", "resume", "save"]

CURVE_POINTS = 100

_COUNTERS = ("step", "num_tokens", "flops", "seconds", "micro_batch")


@dataclass
class State:
    """All that the loop changes, and exactly what a checkpoint holds.

    Random numbers are keyed by step, so there is no random state.

    average: averaged weights, if the recipe has them.
    recent: training losses since the last point of the curve; they stay on the device until then.
    places: the latest places in a stream of data.
    micro_batch: examples per forward pass, once a batch did not fit. It is part of the state since
        gradients summed over pieces differ from those of the whole in the last bits.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None = None
    step: int = 0
    num_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    recent: list[torch.Tensor] = field(default_factory=list)
    micro_batch: int | None = None
    places: Places = field(default_factory=Places)
    parameters: list[nn.Parameter] = field(init=False)
    """The model's parameters: walking its modules at each step costs a small model 3 % of time."""
    trained: list[torch.Tensor] = field(init=False)
    """The parameters in the optimiser."""

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())
        held = {
            id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]
        }
        self.trained = [parameter for parameter in self.parameters if id(parameter) in held]

    def drop_gradients(self) -> None:
        """Drop all gradients, also those of parameters outside the recipe's groups."""
        for parameter in self.parameters:
            parameter.grad = None

    def recent_losses(self) -> list[float]:
        """The losses since the last point of the curve, fetched from the device."""
        return torch.stack(self.recent).tolist() if self.recent else []


def next_point(state: State, spec: RunSpec) -> float:
    """Tokens at the next point of the curve; a branch continues from fewer points, its trunk's."""
    last = state.curve[-1][0] if state.curve else 0.0
    return (
        spec.num_tokens
        * (math.floor(CURVE_POINTS * last / spec.num_tokens + 1e-9) + 1)
        / CURVE_POINTS
    )


def add_point(state: State) -> str | None:
    """Add the mean of the recent losses to the curve, or return why the run must stop."""
    losses = state.recent_losses()
    for k, loss in enumerate(losses):
        if not math.isfinite(loss):
            return f"the training loss was {loss} at step {state.step - len(losses) + k + 1}"
    state.curve.append((float(state.num_tokens), sum(losses) / len(losses)))
    state.recent.clear()
    return None


def save(state: State, spec: RunSpec, store: Workspace, *, is_first: bool = True) -> None:
    """Write a checkpoint, and the curve up to it. Raises StoreError if they cannot be written.

    is_first: whether this rank writes. A sharded state is collected from all ranks, so all of them
        call this function then.
    """
    path = store.checkpoint(spec.id)
    if path is None:
        return
    tensors = {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": None if state.average is None else state.average.means,
    }
    if is_sharded(state.model):
        tensors = gathered(tensors, is_first)
    if not is_first:
        return
    kept = store.cut_curve(spec.id, state.num_tokens)
    store.append_curve(spec.id, state.curve[len(kept) :])
    held = {
        "run": spec.id,
        **tensors,
        "recent": state.recent_losses(),
        "curve": [list(point) for point in state.curve],
        "place": state.places.kept(state.step),
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    save_checkpoint(path, held)


def resume(state: State, spec: RunSpec, store: Workspace, ranks: Ranks) -> None:
    """Load the newest whole checkpoint of the store into a new state, if there is one."""
    path = store.checkpoint(spec.id)
    if path is None:
        return
    newest = ranks.broadcast(lambda: newest_checkpoint(path, lambda held: _fits(held, spec, state)))
    if newest is None:
        return
    held = load_checkpoint(newest, mapped=is_sharded(state.model))
    if is_sharded(state.model):
        held["model"] = scattered_weights(held["model"], state.model)
        held["optimizer"] = scattered_optimizer(held["optimizer"], state.optimizer)
    state.model.load_state_dict(held["model"])
    state.optimizer.load_state_dict(held["optimizer"])
    if state.average is not None:
        state.average.means = [
            scattered(mean.to(ranks.device), source)
            for mean, source in zip(held["average"], state.average.sources, strict=True)
        ]
    state.recent = [torch.tensor(loss, device=ranks.device) for loss in held["recent"]]
    state.curve = [(num_tokens, loss) for num_tokens, loss in held["curve"]]
    state.places.resumed = held["place"]
    for name in _COUNTERS:
        setattr(state, name, held[name])


def _fits(held: Mapping[str, Any], spec: RunSpec, state: State) -> bool:
    """Whether a checkpoint belongs to this run and is complete."""
    required = {"run", "model", "optimizer", "average", "recent", "curve", "place", *_COUNTERS}
    if not required <= held.keys() or held["run"] != spec.id:
        return False
    shapes = {
        name: value.shape
        for name, value in state.model.state_dict().items()
        if hasattr(value, "shape")
    }
    return shapes == {
        name: value.shape for name, value in held["model"].items() if hasattr(value, "shape")
    }

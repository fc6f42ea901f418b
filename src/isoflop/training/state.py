"""State: what the training loop changes, how it is saved, and how a run resumes from it."""

from dataclasses import dataclass, field

import torch
from torch import nn

from isoflop.runs import CurvePoint, RunSpec
from isoflop.storage.store import Store
from isoflop.training.averaging import Average
from isoflop.training.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["State", "resume", "save"]

_COUNTERS = ("step", "num_tokens", "flops", "seconds")


@dataclass
class State:
    """What the loop changes, and so exactly what a checkpoint holds. Random numbers are keyed by step: no state.

    average: of the weights, where the recipe asks for one.
    recent: training losses since the last point of the curve; they stay on the device until then.
    micro_batch: examples per forward pass once a batch did not fit; not saved, since it is found again.
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
    parameters: list[torch.Tensor] = field(init=False)
    """Of the model: walking its modules at each step costs a small model 3 % of its time."""
    trained: list[torch.Tensor] = field(init=False)
    """Those of them that the optimiser has."""

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())
        held = {
            id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]
        }
        self.trained = [parameter for parameter in self.parameters if id(parameter) in held]

    def drop_gradients(self) -> None:
        """Forget all gradients, also of parameters that the recipe's groups leave out: they would add up."""
        for parameter in self.parameters:
            parameter.grad = None

    def recent_losses(self) -> list[float]:
        """The losses since the last point of the curve, fetched from the device."""
        return torch.stack(self.recent).tolist() if self.recent else []


def save(state: State, spec: RunSpec, store: Store) -> None:
    """Write a checkpoint, and the curve up to it."""
    path = store.checkpoint(spec.id)
    if path is None:
        return
    kept = store.cut_curve(spec.id, state.num_tokens)
    store.append_curve(spec.id, state.curve[len(kept) :])
    held = {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": None if state.average is None else state.average.means,
        "recent": state.recent_losses(),
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    save_checkpoint(path, held)


def resume(state: State, spec: RunSpec, store: Store, device: torch.device) -> None:
    """Bring a new state to where the store's checkpoint is, if it has one."""
    path = store.checkpoint(spec.id)
    held = None if path is None else load_checkpoint(path, device)
    if held is None:
        return
    state.model.load_state_dict(held["model"])
    state.optimizer.load_state_dict(held["optimizer"])
    if state.average is not None:
        state.average.means = held["average"]
    state.recent = [torch.tensor(loss, device=device) for loss in held["recent"]]
    for name in _COUNTERS:
        setattr(state, name, held[name])
    state.curve = store.cut_curve(spec.id, state.num_tokens)

"""train_model(): one spec becomes one run. Build, resume, loop, evaluate."""

import math
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from isoflop.contract.data import open_data, to_device
from isoflop.contract.loss import batch_loss, count_tokens
from isoflop.contract.model import build
from isoflop.contract.randomness import mix, reseed, seeded
from isoflop.planning.tokens import token_supply
from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.batches import held_out_batches, training_batches
from isoflop.training.checkpoint import load_checkpoint, save_checkpoint
from isoflop.training.interrupt import stop_requests
from isoflop.training.schedule import lr_factor

__all__ = ["Progress", "train_model"]

CHECKPOINT_SECONDS = 30.0
CURVE_POINTS = 100
EVAL_BATCHES = 64
"""Enough for a standard error of the mean over batches."""

DATA, MODEL, INIT = 1, 2, 3
"""First parts of random keys, so that data order, dropout and initial weights are drawn apart."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: tokens trained of `spec.num_tokens`, and the training loss lately."""

    spec: RunSpec
    num_tokens: float
    loss: float


@dataclass
class State:
    """What the loop changes, and so exactly what a checkpoint holds. Random numbers are keyed by step: no state."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    """Of the steps since the last point of the curve."""
    loss_steps: int = 0
    curve: list[CurvePoint] = field(default_factory=list)


def train_model(
    task: Task,
    spec: RunSpec,
    store: Store,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Train one spec and give its run, held-out loss included; resumes from the store's checkpoint bit for bit.

    The run stops as "diverged" when its training loss is no longer finite. Raises KeyboardInterrupt on Ctrl-C or
    SIGTERM after saving a checkpoint, and whatever the user's code raises.
    """
    device = PartialState().device
    precision = _autocast(spec, device)
    source = open_data(task.train_data, "train_data")
    with seeded(0), stop_requests() as stop_requested:
        # build
        reseed(INIT, spec.seed)
        model = build(task, spec.size, "cpu").to(device).train()
        state = State(model, _optimizer(task, spec, model, device))
        # resume
        _resume(state, spec, store, device)
        batches = training_batches(source, spec.batch or 1, mix(DATA, spec.seed), state.step, task.recipe.epochs)
        started = saved = time.perf_counter()
        before = state.seconds
        error = None
        # loop
        while state.num_tokens < spec.num_tokens:
            batch = next(batches)
            num_tokens = count_tokens(task, batch)
            loss = _step(task, spec, state, to_device(batch, device), precision)
            state.step += 1
            state.num_tokens += num_tokens
            state.loss_sum += loss
            state.loss_steps += 1
            now = time.perf_counter()
            state.seconds = before + now - started
            # once in a while: look at the loss
            if not math.isfinite(loss):
                error = f"the training loss was {loss} at step {state.step}"
                break
            if state.num_tokens >= spec.num_tokens * (len(state.curve) + 1) / CURVE_POINTS:
                _add_point(state)
                if on_progress is not None:
                    on_progress(Progress(spec, state.num_tokens, state.curve[-1][1]))
            # once in a while: save
            if now - saved > checkpoint_seconds:
                _save(state, spec, store)
                saved = now
            # asked to stop?
            if (signal := stop_requested()) is not None:
                _save(state, spec, store)
                raise KeyboardInterrupt(f"stopped by signal {signal} at step {state.step}; a checkpoint was saved")
        # evaluate
        held_out, stderr = (math.nan, None) if error else evaluate(task, model, device, precision)
        if error is None and not math.isfinite(held_out):
            error = f"the held-out loss was {held_out}"
    return Run(
        spec=spec,
        status="diverged" if error else "completed",
        loss=held_out if error is None else math.nan,
        loss_stderr=stderr,
        curve=tuple(state.curve),
        num_tokens=state.num_tokens,
        flops=spec.flops_per_token * state.num_tokens,
        seconds=state.seconds,
        device=_device_name(device),
        versions=versions(),
        error=error,
    )


def _step(task: Task, spec: RunSpec, state: State, batch: Any, precision: AbstractContextManager[Any]) -> float:
    """One optimiser step; gives its training loss. A loss that is not finite leaves the weights as they were."""
    # The position by tokens equals the step count where every step has as many, and ends on time where not.
    num_steps = spec.num_tokens / ((spec.batch or 1) * (spec.tokens_per_example or 1))
    position = num_steps * state.num_tokens / spec.num_tokens
    factor = lr_factor(spec.schedule or "cosine", spec.warmup or 0.0, position, num_steps)  # type: ignore[arg-type]
    for group in state.optimizer.param_groups:
        group["lr"] = (spec.lr or 0.0) * factor
    reseed(MODEL, spec.seed, state.step)
    with precision:
        loss = batch_loss(task, state.model, batch)
    value = loss.item()
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
        if spec.clip is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), spec.clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
    return value


@torch.no_grad()
def evaluate(
    task: Task, model: nn.Module, device: torch.device, precision: AbstractContextManager[Any]
) -> tuple[float, float | None]:
    """Mean loss per held-out target over the task's fixed evaluation set, and its standard error over batches."""
    source = open_data(task.val_data, "val_data")
    num_examples = math.ceil(task.recipe.eval_tokens / token_supply(task).tokens_per_example)
    losses, weights = [], []
    model.eval()
    for batch in held_out_batches(source, min(num_examples, source.num_examples or num_examples), EVAL_BATCHES):
        if num_tokens := count_tokens(task, batch):
            with precision:
                losses.append(batch_loss(task, model, to_device(batch, device)).item())
            weights.append(num_tokens)
    model.train()
    return _weighted_mean(np.array(losses), np.array(weights, dtype=float))


def _weighted_mean(losses: Any, weights: Any) -> tuple[float, float | None]:
    """Mean over targets, and the standard error of that ratio from the spread of its batches."""
    share = weights / weights.sum()
    mean = float((share * losses).sum())
    if len(losses) < 2:
        return mean, None
    spread = ((share * (losses - mean)) ** 2).sum() * len(losses) / (len(losses) - 1)
    return mean, float(np.sqrt(spread))


def _optimizer(task: Task, spec: RunSpec, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": spec.weight_decay or 0.0},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (task.recipe.betas[0], spec.beta2 or task.recipe.betas[1])
    if task.recipe.optimizer is not None:
        made: torch.optim.Optimizer = task.recipe.optimizer(groups, lr=spec.lr, betas=betas)
        return made
    return torch.optim.AdamW(groups, lr=spec.lr or 0.0, betas=betas, fused=True)


def _add_point(state: State) -> None:
    state.curve.append((float(state.num_tokens), state.loss_sum / state.loss_steps))
    state.loss_sum, state.loss_steps = 0.0, 0


def _save(state: State, spec: RunSpec, store: Store) -> None:
    path = store.checkpoint(spec.id)
    if path is None:
        return
    held = {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    kept = store.cut_curve(spec.id, state.num_tokens)
    store.append_curve(spec.id, state.curve[len(kept) :])
    save_checkpoint(path, held)


def _resume(state: State, spec: RunSpec, store: Store, device: torch.device) -> None:
    path = store.checkpoint(spec.id)
    held = None if path is None else load_checkpoint(path, device)
    if held is None:
        return
    state.model.load_state_dict(held["model"])
    state.optimizer.load_state_dict(held["optimizer"])
    for name in _COUNTERS:
        setattr(state, name, held[name])
    state.curve = store.cut_curve(spec.id, state.num_tokens)


_COUNTERS = ("step", "num_tokens", "seconds", "loss_sum", "loss_steps")


def _autocast(spec: RunSpec, device: torch.device) -> AbstractContextManager[Any]:
    bf16 = spec.precision == "bf16" or (
        spec.precision in (None, "auto") and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions that can change a result."""
    from isoflop import __version__

    return {"isoflop": __version__, "torch": torch.__version__, "python": platform.python_version()}

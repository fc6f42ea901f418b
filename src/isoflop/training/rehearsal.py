"""rehearse(): one step of the smallest run and one saved state, before a sweep is paid for."""

import io

import torch
from torch import nn

from isoflop.counting.trials import is_large
from isoflop.errors import ContractError, first_line
from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.training.interrupt import is_stop, leave, stop_requests
from isoflop.training.watchdog import watched
from isoflop.user_code.data import first_batch, open_data
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import batch_loss
from isoflop.user_code.optimiser import make_optimizer, new_model

__all__ = ["rehearse"]

MAX_FLOPS = 5e10
"""Largest step, in FLOPs: it takes seconds on a CPU."""
NUM_EXAMPLES = 2
"""Batch normalisation needs two."""


def rehearse(task: Task, spec: RunSpec, hang_seconds: float | None = None) -> None:
    """Build the optimiser of a run, take a step on real examples, and save and load the state.

    Everything happens on the CPU. Errors of the model in training are left to its runs, and so are
    steps that take longer than `hang_seconds` and large models.

    Raises ContractError if the recipe's factories do not give an optimiser that steps, or if the
    state of the model or the optimiser cannot be saved.
    """
    if is_large(task, spec.size):
        return
    with isolated(0):
        model = new_model(task, spec.settings.size).train()
        optimizer = _optimizer(task, spec, model)
        _check_groups(model, optimizer)
        if NUM_EXAMPLES * spec.flops_per_token * spec.settings.tokens_per_example > MAX_FLOPS:
            return
        batch = first_batch(open_data(task.train_data, "train_data"), NUM_EXAMPLES)
        if not _takes_a_step(task, spec, model, batch, hang_seconds):
            return
        _step(optimizer)
        for name, part in (("model", model), ("optimiser", optimizer)):
            _check_saved(name, part)


def _takes_a_step(
    task: Task, spec: RunSpec, model: nn.Module, batch: object, hang_seconds: float | None
) -> bool:
    """Whether the model completes a step; if it does not, its runs report that themselves."""
    with stop_requests() as stop_requested:
        try:
            with watched(spec, hang_seconds, None):
                batch_loss(task, model, batch).backward()  # type: ignore[no-untyped-call]
        except BaseException as error:
            if is_stop(error, stop_requested()):
                raise
            return False
    if (stop := stop_requested()) is not None:
        leave(stop)
    return True


def _optimizer(task: Task, spec: RunSpec, model: nn.Module) -> torch.optim.Optimizer:
    try:
        return make_optimizer(task, spec.settings, model)
    except Exception as error:
        raise ContractError(
            f"Recipe: optimizer must be a factory called as optimizer(groups, lr=..., betas=...) "
            f"and groups one called as groups(model, lr, weight_decay), but they raised "
            f"{type(error).__name__}: {first_line(error):.90}; wrap others, as in "
            f"lambda groups, lr, betas: SGD(groups, lr=lr)."
        ) from error


def _check_groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if not all(hasattr(optimizer, name) for name in ("step", "state_dict", "load_state_dict")):
        raise ContractError(
            f"Recipe: optimizer must give a torch.optim.Optimizer, but gave "
            f"{type(optimizer).__name__}, which cannot be saved with state_dict()."
        )
    own = {id(parameter) for parameter in model.parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strangers = sum(id(parameter) not in own for parameter in held)
    if strangers or not held:
        raise ContractError(
            f"Recipe: groups must hold parameters of the model that it is given, but {strangers} "
            f"of {len(held)} are not its own."
        )


def _step(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except Exception as error:
        raise ContractError(
            f"Recipe: optimizer must give one that steps by step(), without a closure, but "
            f"{type(optimizer).__name__} raised {type(error).__name__}: {first_line(error):.100}."
        ) from error


def _check_saved(name: str, part: nn.Module | torch.optim.Optimizer) -> None:
    """Save and load a part of the state, as a checkpoint does."""
    buffer = io.BytesIO()
    try:
        torch.save(part.state_dict(), buffer)
        buffer.seek(0)
        part.load_state_dict(torch.load(buffer, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ContractError(
            f"The {name}'s state_dict() must hold tensors, numbers, texts and containers of them, "
            f"to be saved and read again, but that of {type(part).__name__} raised "
            f"{type(error).__name__}: {first_line(error):.80}."
        ) from error

"""Models of a task: building one at a size, and counting its parameters."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from isoflop.errors import ContractError
from isoflop.runs import SizeValue
from isoflop.task import Task

__all__ = [
    "build",
    "build_without_values",
    "check_count",
    "check_size_param",
    "count_params",
    "param_counts",
]


def build(task: Task, size: SizeValue | None, device: torch.device | str = "cpu") -> nn.Module:
    """The task's model at a size; on the "meta" device it takes no memory.

    Raises ContractError if the class gives something other than a module. Errors of the class
    itself propagate.
    """
    kwargs = task.kwargs_for(size)
    try:
        with torch.device(device):
            model = task.model(**kwargs)
    except Exception:
        if torch.device(device).type != "meta":
            raise
        # The constructor may read values, such as drop rates from torch.linspace.
        with _params_on_meta():
            model = task.model(**kwargs)
        model = model.to("meta") if isinstance(model, nn.Module) else model
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"model must build a torch.nn.Module, but {_name(task.model)} gave "
            f"{type(model).__name__}; pass the class or factory of the network itself."
        )
    return model


def build_without_values(task: Task, size: SizeValue | None) -> nn.Module:
    """The task's model at a size with parameters that take no memory; other tensors have values.

    Raises what the class raises, as where its constructor reads a parameter.
    """
    with _params_on_meta():
        model: nn.Module = task.model(**task.kwargs_for(size))
    return model


@contextmanager
def _params_on_meta() -> Iterator[None]:
    """Build modules without values of their parameters; all other tensors keep their values."""
    register = nn.Module.register_parameter

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:  # a tied one was registered before
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def check_size_param(task: Task) -> None:
    """Raise ContractError if the model lacks the size parameter or an argument of model_kwargs."""
    try:
        parameters = inspect.signature(task.model).parameters
    except (TypeError, ValueError):  # no signature: building shows it
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    wanted = [*([task.size_param] if isinstance(task.size_param, str) else []), *task.model_kwargs]
    for name in wanted:
        if name not in parameters:
            takes = ", ".join(parameters) or "none"
            role = "size_param" if name == task.size_param else "model_kwargs"
            raise ContractError(
                f"{role} names {name!r}, but {_name(task.model)} has no such parameter; it takes: "
                f"{takes}."
            )


def count_params(task: Task, model: nn.Module) -> int:
    """N: the task's own count, else `model.num_params()`, else all parameters, tied ones once.

    Raises ContractError if the count is not a positive int.
    """
    count: object
    if task.num_params is not None:
        source, count = "Task.num_params", task.num_params(model)
    elif hasattr(model, "num_params"):
        own = model.num_params
        source, count = f"{type(model).__name__}.num_params", own() if callable(own) else own
    else:
        source, count = (
            "the count of parameters",
            sum(parameter.numel() for parameter in model.parameters()),
        )
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
        raise ContractError(
            f"{source} must give a whole number above 0, but got {count!r}; return an int."
        )
    return count


def check_count(task: Task, model: nn.Module, size: SizeValue | None, num_params: float) -> None:
    """Raise ContractError if a built model does not have the planned number of params."""
    count = count_params(task, model)
    if count != num_params:
        raise ContractError(
            f"The trained model must be the planned one, but at size {size!r} it has {count} "
            f"params instead of {num_params:.0f}; let its size depend only on its arguments, and "
            f"plan again."
        )


def param_counts(model: nn.Module) -> Mapping[str, int]:
    """Parameters by convention, tied ones once: total, non_embedding, matmul and perhaps active.

    total: all.
    non_embedding: without the weights of `nn.Embedding` and of an output layer tied to one.
    matmul: weights with two or more dimensions that a forward pass multiplies, including a tied
        output layer.
    active: those that one token uses in a mixture of experts, from the model's own
        `num_active_params()`; absent without that method.

    Raises ContractError if `num_active_params` gives no count, or more than all parameters.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    embeddings = {
        id(module.weight): module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding)
    }
    multiplied: dict[int, torch.Tensor] = {}
    for module in model.modules():
        if not isinstance(module, nn.Embedding):
            multiplied.update({id(p): p for p in module.parameters(recurse=False) if p.ndim >= 2})
    return {
        "total": total,
        "non_embedding": total - sum(weight.numel() for weight in embeddings.values()),
        "matmul": sum(weight.numel() for weight in multiplied.values()),
        **_active_params(model, total),
    }


def _active_params(model: nn.Module, total: int) -> Mapping[str, int]:
    own = getattr(model, "num_active_params", None)
    if own is None:
        return {}
    active = own() if callable(own) else own
    if not isinstance(active, int) or isinstance(active, bool) or not 0 < active <= total:
        raise ContractError(
            f"{type(model).__name__}.num_active_params must give a whole number from 1 to all "
            f"{total} parameters, but got {active!r}."
        )
    return {"active": active}


def _name(model: object) -> str:
    return str(getattr(model, "__name__", type(model).__name__))

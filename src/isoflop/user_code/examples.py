"""Explanations, in the user's terms, of why readable examples cannot be trained on."""

from collections.abc import Callable, Mapping
from itertools import islice
from numbers import Number

import torch
from torch.utils.data import default_collate, default_convert

from isoflop.errors import ContractError, first_line
from isoflop.task import Task
from isoflop.user_code.data import Source, first_batch, num_examples_in, open_data, tensors_in
from isoflop.user_code.isolation import isolated

__all__ = ["check_examples", "why_not"]


def check_examples(task: Task) -> None:
    """Raise ContractError for examples that make no batch, or that hold lists of numbers.

    torch would transpose the lists.
    """
    for name, data in (("train_data", task.train_data), ("val_data", task.val_data)):
        source = open_data(data, name)
        first_batch(source, 2)
        if (
            source.kind == "batches"
            or source.collate is not default_collate
            or task.step is not None
        ):
            continue
        if (where := _list_in(_first_item(source))) is not None:
            raise ContractError(
                f"{name} must give tensors or arrays, but its examples hold lists of "
                f"numbers{where}, which a batch would transpose; convert them to tensors, or a "
                f"Hugging Face data set with {name}.with_format('torch')."
            )


def why_not(task: Task, error: Exception, loss_of: Callable[[object], torch.Tensor]) -> str | None:
    """A sentence that explains why no model trains on the data; None if the cause is unknown.

    loss_of: the loss of a model of the smallest size on a batch.
    """
    source = open_data(task.train_data, "train_data")
    if task.loss is None and task.step is None and isinstance(error, TypeError):
        return (
            f"With loss=None the model is called as model(inputs, targets), or with the mapping of "
            f"a batch as keyword arguments, and returns its own loss, but it raised TypeError "
            f"({first_line(error)}); pass loss= for a model that returns outputs."
        )
    doubles = any(tensor.dtype == torch.float64 for tensor in tensors_in(first_batch(source, 2)))
    if (doubles and "dtype" in str(error)) or "Double" in str(error):
        return (
            f"train_data gives float64 tensors, but the model computes in float32 "
            f"({first_line(error)}); make them float32 in the data set, as in x.astype('float32') "
            f"or x.float()."
        )
    if source.kind != "batches" and _is_batch(_first_item(source), loss_of):
        return (
            "train_data must give single examples, but its items seem to be batches, since the "
            "model takes one of them; pass a callable, train_data=lambda seed: batches, or the "
            "data set behind the batches."
        )
    return None


def _is_batch(item: object, loss_of: Callable[[object], torch.Tensor]) -> bool:
    """Whether the model trains on one item itself, after it failed on two of them collated."""
    try:
        batch = default_convert(item)  # type: ignore[no-untyped-call]
        return num_examples_in(batch) > 1 and bool(loss_of(batch).requires_grad)
    except Exception:  # of any kind: the model does not train on it
        return False


def _first_item(source: Source) -> object:
    with isolated(0):
        return next(islice(source.iterate(0), 1))


def _list_in(item: object) -> str | None:
    """The place of a list of numbers in an example; None if there is no such list."""
    parts = (
        item.items()
        if isinstance(item, Mapping)
        else enumerate(item)
        if isinstance(item, list | tuple)
        else ()
    )
    for key, part in parts:
        if isinstance(part, list | tuple) and part and _is_numbers(part):
            return f" (at {key!r})"
    return None


def _is_numbers(value: object) -> bool:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, Number)

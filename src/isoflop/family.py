"""Family: the sizes of a model that somebody else trains, in any framework."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from isoflop import arguments
from isoflop.display.format import format_count, format_items, join_words
from isoflop.errors import ContractError
from isoflop.family_table import Cost, Member, members_of
from isoflop.recipe import Recipe
from isoflop.runs import SizeValue
from isoflop.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

__all__ = ["Family"]

_OWN_LOOP = ("optimizer", "groups", "mup_base")
"""Fields of a recipe that are Python objects of isoflop's own loop, and in no spec."""


# Compared by identity, as tasks are: what is computed of one is kept with it.
@dataclass(frozen=True, eq=False, repr=False)
class Family:
    """The sizes of a model that isoflop plans for and somebody else trains.

    A family has what a plan needs and nothing more: no model, no data, no torch. A `Task` is the
    family that isoflop trains itself.

    sizes: size -> (params, FLOPs per token, forward and backward), or size -> params; a table as a
        CSV, TSV or parquet file or a data frame with the columns `size`, `params` and, optionally,
        `flops_per_token`, `active_params` and `memory_bytes`, where all other columns are arguments
        of the size; a sequence of sizes, with `cost`; or a `Task`, whose models are counted. FLOPs
        per token default to 6 x params, or 6 x active params.
    cost: function size -> (params, FLOPs per token), where `sizes` is a sequence.
    name: identifies the model and its data in run ids: a new name starts anew in the same store.
    unit: word for one target in tables ("token", "image", "byte").
    loss_unit, bytes_per_token: as in `Task`.
    tokens_per_example: targets of one example, such as the length of a sequence; None is 1, or for
        a `Task` the mean of its data.
    unique_tokens: tokens of one pass over the data; None where the data never run out.
    recipe: learning rate, batch, seeds, ... of each spec. A trainer may ignore what it decides
        itself.
    size_param: name of the size, for messages and as an argument of each spec.

    Raises ContractError where a size has no positive number of params or FLOPs, two sizes are
    alike, or params do not grow with the size; StoreError where there is no such file.

    Examples
    --------
    >>> import isoflop
    >>> family = isoflop.Family({8: (1.0e7, 7.1e7), 12: (3.2e7, 2.2e8), 16: (7.7e7, 5.1e8)})
    >>> family
    Family(3 sizes from 10.0M to 77.0M params)
    """

    sizes: "Mapping[Any, object] | Sequence[Any] | str | os.PathLike[str] | pd.DataFrame | Task"
    _: KW_ONLY
    cost: Cost | None = None
    name: str = "family"
    unit: str = "token"
    loss_unit: str | None = None
    bytes_per_token: float | None = None
    tokens_per_example: float | None = None
    unique_tokens: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    size_param: str = "size"
    members: Mapping[SizeValue, Member] = field(init=False)
    """The sizes as read, by rising params; empty where they are counted on models."""

    def __post_init__(self) -> None:
        self._check_fields()
        object.__setattr__(self, "recipe", _recipe(self.recipe))
        counted = isinstance(self.sizes, Task)
        members = {} if counted else members_of(self.sizes, self.cost, self.size_param)
        object.__setattr__(self, "members", members)

    def __repr__(self) -> str:
        if isinstance(self.sizes, Task):
            return f"Family(sizes of {getattr(self.sizes.model, '__name__', 'a model')})"
        params = [member.num_params for member in self.members.values()]
        span = f"{format_count(params[0])} to {format_count(params[-1])} params"
        return f"Family({format_items(len(params), 'size')} from {span})"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the family in run ids: of its name and units.

        A table may gain sizes: params, FLOPs and arguments of a size are in its specs.
        """
        names = ("family", self.name, self.unit, self.loss_unit or "")
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def _check_fields(self) -> None:
        for name in ("name", "unit", "size_param"):
            arguments.word(getattr(self, name), f"Family: {name}", error=ContractError)
        if self.loss_unit is not None:
            arguments.word(self.loss_unit, "Family: loss_unit", error=ContractError)
        for name in ("bytes_per_token", "tokens_per_example", "unique_tokens"):
            value = getattr(self, name)
            if value is not None:
                read = arguments.positive(value, f"Family: {name}", error=ContractError)
                object.__setattr__(self, name, float(read))

    @classmethod
    def of_model(
        cls,
        model: "Callable[..., nn.Module]",
        size_param: str | Callable[[Any], Mapping[str, object]],
        example_batch: object,
        *,
        loss: "Callable[..., Tensor] | None" = None,
        step: "Callable[..., Tensor] | None" = None,
        model_kwargs: Mapping[str, object] | None = None,
        sizes: Sequence[Any] | None = None,
        **fields: Any,
    ) -> "Family":
        """A family whose sizes are counted on a torch module, on the meta device, without data.

        model, size_param, model_kwargs, loss, step, sizes: as in `Task`.
        example_batch: a batch as the model takes it in training, with its real shapes; its values
            do not matter.
        fields: other fields of `Family`; `tokens_per_example` defaults to the targets of the batch.

        Raises ContractError where the model does not take the batch; InstallError without torch.
        """
        task = Task(
            model=model,
            size_param=size_param,
            model_kwargs=dict(model_kwargs or {}),
            train_data=_Repeated(example_batch),
            val_data=_Repeated(example_batch),
            loss=loss,
            step=step,
            sizes=sizes,
            recipe=_recipe(fields.get("recipe")),
            unit=fields.get("unit", "token"),
        )
        given = {"name": getattr(model, "__name__", "family"), **fields}
        if isinstance(size_param, str):
            given.setdefault("size_param", size_param)
        return cls(task, **given)


@dataclass(frozen=True)
class _Repeated:
    """Data of one batch, as often as it is wanted."""

    batch: object

    def __call__(self, seed: int) -> Iterator[object]:
        while True:
            yield self.batch


def _recipe(recipe: object) -> Recipe:
    """The recipe, or the defaults. Raises ContractError for what only isoflop's own loop can do."""
    if recipe is None:
        return Recipe()
    if not isinstance(recipe, Recipe):
        raise arguments.refused(recipe, "Family: recipe", "an isoflop.Recipe", error=ContractError)
    own = [name for name in _OWN_LOOP if getattr(recipe, name) is not None]
    if recipe.branches:
        own.append("branches")
    if own:
        raise ContractError(
            f"Family: {join_words(own)} of a recipe are for isoflop's own training; leave them out "
            "where another trainer trains, or plan a Task."
        )
    return recipe

"""Sizes: what a plan needs to know of a task or a family, whoever trains it.

`TaskSizes` builds and counts torch modules; `FamilySizes` has a table. This module needs no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from isoflop.errors import IsoflopError, PlanError, first_line
from isoflop.notes.note import Note
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec, SizeValue

if TYPE_CHECKING:  # these need torch
    from isoflop.counting.batch_cost import BatchCost
    from isoflop.counting.speed import Speed

__all__ = ["SizeCount", "Sizes", "TokenSupply"]


@dataclass(frozen=True, kw_only=True)
class SizeCount:
    """The cost of one size of a model.

    flops_per_token: FLOPs of forward and backward for one loss target, by the convention of
        counting/flops.py, in the batches of a run on 20 tokens per param; `Sizes.flops_per_token`
        gives those of other batches.
    params: params by convention (user_code/model.py): total, non_embedding, matmul and perhaps
        active.
    activation_bytes: kept for the backward pass, per example; None if it could not be counted.
    memory_bytes: memory of a whole run on its device, where that was given instead.
    cost: FLOPs of a batch; None if FLOPs are computed per token.
    arguments: further arguments of the size, such as depth and width.
    """

    size: SizeValue | None
    num_params: int
    flops_per_token: float
    params: Mapping[str, int]
    activation_bytes: float | None = None
    memory_bytes: float | None = None
    cost: "BatchCost | None" = None
    arguments: Mapping[str, int | float | str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class TokenSupply:
    """tokens_per_example: mean loss targets of an example.

    unique_tokens: tokens of one pass over the data; None if its length is unknown.
    fixed_batch: mean examples per batch of data that come in batches; None if isoflop makes the
        batches.
    """

    tokens_per_example: float
    unique_tokens: float | None
    fixed_batch: int | None

    def batch(self, recipe: Recipe, num_params: float, num_tokens: float) -> int:
        """Examples per optimiser step of a run, by the recipe's rule."""
        if self.fixed_batch is not None:
            return self.fixed_batch
        per_step = recipe.tokens_per_step(num_params, num_tokens)
        return max(recipe.min_batch, round(per_step / self.tokens_per_example))


class Sizes(ABC):
    """The sizes of a model, what each of them costs, and the data they are trained on.

    parameter: name of the size, for messages.
    named: the only sizes there are; None where sizes are searched for.
    """

    unit: str
    parameter: object
    named: Sequence[SizeValue] | None

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How runs are trained, with the learning rate that suits the kind of model."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest in run ids of what the specs themselves do not hold."""

    @abstractmethod
    def digest(self, *values: object) -> str:
        """Digest of the sizes, the recipe and some plain values, to recognise a plan by."""

    @property
    @abstractmethod
    def supply(self) -> TokenSupply:
        """The tokens of the training data."""

    @property
    def own_batch(self) -> int | None:
        """The batch size of the user's own loader, if there is one."""
        return None

    @property
    def unused_settings(self) -> Sequence[str]:
        """Settings of the user's own loader that have no effect."""
        return ()

    @property
    def used_workers(self) -> tuple[int, int]:
        """The workers of the user's own loader that read, and all of them."""
        return 0, 0

    @property
    def has_parts(self) -> bool:
        """Whether runs can be trained on a part of the data, over and over."""
        return True

    @property
    def is_trained_here(self) -> bool:
        """Whether isoflop trains the model itself, on the devices of this machine by default."""
        return False

    def checked(self) -> AbstractContextManager[None]:
        """A block for planning, entered with the model and its data checked."""
        return nullcontext()

    @abstractmethod
    def builds(self, size: SizeValue) -> bool:
        """Whether the model has this size."""

    @abstractmethod
    def params(self, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
        """N of a size, and its params by convention."""

    @abstractmethod
    def count(self, size: SizeValue | None) -> SizeCount:
        """Params and FLOPs of a size; raises whatever the model raises at a wrong one."""

    @abstractmethod
    def flops_per_token(self, counted: SizeCount, batch: int) -> float:
        """FLOPs of forward and backward for one loss target in batches of a size."""

    @abstractmethod
    def between(self, low: float, high: float, number: int) -> list[SizeValue]:
        """About `number` sizes from N = low to N = high, evenly spaced in log and rising."""

    @abstractmethod
    def by_distance(self, num_params: float, keep: int) -> Iterator[SizeValue]:
        """The sizes nearest to an N, nearest first."""

    def speed(self, specs: Sequence[RunSpec]) -> "Speed | None":
        """The speed of this machine on some runs; None where they are trained elsewhere."""
        return None

    def start(self, size: SizeValue | None = None) -> str | None:
        """In words, the rule for the learning rate and why; None if it is the user's own.

        size: at which the share of the params is told that shows the kind of model.
        """
        return None

    def notes(self, specs: Sequence[RunSpec]) -> list[Note]:
        """Notes on how tokens and FLOPs are counted."""
        return []

    def num_params(self, size: SizeValue | None) -> int:
        """N of a size."""
        return self.params(size)[0]

    def try_count(self, size: SizeValue | None) -> SizeCount | None:
        """The count of a size, or None at a wrong one. Raises for a broken contract."""
        counted = self.count_or_reason(size)
        return counted if isinstance(counted, SizeCount) else None

    def count_or_reason(self, size: SizeValue | None) -> SizeCount | str:
        """The count of a size, or the model's error there. Raises for a broken contract."""
        try:
            return self.count(size)
        except IsoflopError:
            raise
        except Exception as error:  # any error of the user's class means that this is not a size
            return f"{type(error).__name__}: {first_line(error)}"

    def near(self, num_params: float, *, most: float | None = None) -> SizeCount:
        """The size whose N is nearest to `num_params` (in ratio), and at most `most`.

        Raises PlanError if there is no size, or none is so small.
        """
        near = self.several_near([num_params])[0]
        if most is None or near.num_params <= most:
            return near
        for size in self.by_distance(most, keep=8):
            if self.num_params(size) <= most and (counted := self.try_count(size)) is not None:
                return counted
        raise PlanError(
            f"No size of {self.parameter!r} has at most {most:.3g} params; allow smaller sizes."
        )

    def several_near(self, wanted: list[float]) -> list[SizeCount]:
        """One size per wanted N, in the order of `wanted`, each used once; fewer if they run out.

        The first has notes on the sizes that are left out: named ones that do not build, and others
        that cannot be counted.

        Raises PlanError if none can be counted.
        """
        chosen: dict[SizeValue, SizeCount] = {}
        unbuilt = [size for size in self.named or () if not self.builds(size)]
        failed = {
            size: _left_out(size, f"it raised {self.count_or_reason(size)}") for size in unbuilt
        }
        for num_params in wanted:
            for size in self.by_distance(num_params, keep=len(wanted)):
                if size in chosen or size in failed:
                    continue
                counted = self.count_or_reason(size)
                if isinstance(counted, SizeCount):
                    chosen[size] = counted
                    break
                failed[size] = _left_out(size, f"a training step of it raised {counted}")
        counts = list(chosen.values())
        if failed and not counts:
            raise PlanError(
                f"No size of {self.parameter!r} can be trained. {next(iter(failed.values()))}"
            )
        return [
            *(replace(first, notes=(*first.notes, *failed.values())) for first in counts[:1]),
            *counts[1:],
        ]


def _left_out(size: SizeValue, why: str) -> Note:
    return Note("size-left-out-error", f"Size {size} is left out: {why}.")

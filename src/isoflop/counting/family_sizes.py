"""FamilySizes: the sizes of a family, from its table or counted on its models."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.display.format import format_items
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.family_table import Member
from isoflop.notes.note import Note
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec, SizeValue

__all__ = ["CountedSizes", "FamilySizes"]


_PLACES = ((1e6, 2e7, 1e4), (1e9, 2e10, 1e6))
"""Params, tokens and tokens per step at which the rules of two recipes are compared."""


class _OfFamily(Sizes):
    """What all families have in common: their data and recipe, and a trainer elsewhere."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.unit = family.unit
        self.parameter, self.named = family.size_param, tuple(family.members)

    @property
    def recipe(self) -> Recipe:
        return self.family.recipe

    @property
    def fingerprint(self) -> str:
        return self.family.fingerprint

    def digest(self, *values: object) -> str:
        recipe = [dict(self.recipe.settings(*at)) for at in _PLACES]
        batches = [self.recipe.tokens_per_step(*at[:2]) for at in _PLACES]
        how = (recipe, batches, self.recipe.seeds, self.recipe.epochs, self.recipe.min_batch)
        return _digest(self.fingerprint, how, self.named, values)

    @property
    def supply(self) -> TokenSupply:
        return TokenSupply(self.mean_tokens, self.family.unique_tokens, None)

    @property
    def mean_tokens(self) -> float:
        """Tokens per example."""
        return self.family.tokens_per_example or 1.0


class FamilySizes(_OfFamily):
    """The sizes of a table."""

    def builds(self, size: SizeValue) -> bool:
        return size in self.family.members

    def params(self, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
        member = self._member(size)
        active = {} if member.active_params is None else {"active": member.active_params}
        return member.num_params, {"total": member.num_params, **active}

    def count(self, size: SizeValue | None) -> SizeCount:
        member, (num_params, params) = self._member(size), self.params(size)
        return SizeCount(
            size=size,
            num_params=num_params,
            flops_per_token=member.flops_per_token,
            params=params,
            memory_bytes=member.memory_bytes,
            arguments=member.arguments,
        )

    def flops_per_token(self, counted: SizeCount, batch: int) -> float:
        return counted.flops_per_token

    def between(self, low: float, high: float, number: int) -> list[SizeValue]:
        params = {size: member.num_params for size, member in self.family.members.items()}
        inside = [size for size, N in params.items() if low <= N <= high] or [*params]
        rows = np.linspace(0, len(inside) - 1, min(number, len(inside))).round().astype(int)
        return [inside[row] for row in dict.fromkeys(rows.tolist())]

    def by_distance(self, num_params: float, keep: int) -> Iterator[SizeValue]:
        members = self.family.members
        yield from sorted(
            members, key=lambda size: abs(math.log(members[size].num_params / num_params))
        )

    def notes(self, specs: Sequence[RunSpec]) -> list[Note]:
        assumed = {spec.size for spec in specs if self._member(spec.size).assumed}
        notes = []
        if assumed:
            text = (
                f"FLOPs per {self.unit} of {format_items(len(assumed), 'size')} are taken as 6 x "
                "the params that it uses, without attention; a column flops_per_token gives them."
            )
            notes.append(Note("flops-assumed", text))
        if specs and self.unit == "token" and self.family.tokens_per_example is None:
            text = (
                "An example is taken as one token, so that a batch has as many examples as tokens; "
                "give tokens_per_example=, the length of a sequence."
            )
            notes.append(Note("one-token-examples", text))
        return notes

    def _member(self, size: SizeValue | None) -> Member:
        known = None if size is None else self.family.members.get(size)
        if known is None:
            raise PlanError(
                f"The family has no size {size}; its sizes are {_listed([*self.family.members])}."
            )
        return known


class CountedSizes(_OfFamily):
    """The sizes of a task's models, whose data and trainer are elsewhere."""

    def __init__(self, family: Family, counted: Sizes) -> None:
        super().__init__(family)
        self.counted = counted
        self.parameter, self.named = counted.parameter, counted.named

    @property
    def recipe(self) -> Recipe:
        own = self.family.recipe
        return replace(own, lr=self.counted.recipe.lr) if own.lr == "auto" else own

    @property
    def mean_tokens(self) -> float:
        return self.family.tokens_per_example or self.counted.supply.tokens_per_example

    def builds(self, size: SizeValue) -> bool:
        return self.counted.builds(size)

    def params(self, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
        return self.counted.params(size)

    def count(self, size: SizeValue | None) -> SizeCount:
        return self.counted.count(size)

    def flops_per_token(self, counted: SizeCount, batch: int) -> float:
        return counted.flops_per_token

    def between(self, low: float, high: float, number: int) -> list[SizeValue]:
        return self.counted.between(low, high, number)

    def by_distance(self, num_params: float, keep: int) -> Iterator[SizeValue]:
        return self.counted.by_distance(num_params, keep)

    def start(self, size: SizeValue | None = None) -> str | None:
        return self.counted.start(size) if self.family.recipe.lr == "auto" else None


def _digest(*values: object) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _listed(sizes: Sequence[object], most: int = 8) -> str:
    shown = ", ".join(map(str, sizes[:most]))
    return shown if len(sizes) <= most else f"{shown} and {len(sizes) - most} more"

"""TaskSizes: the sizes of a task, whose models are built and counted here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from isoflop.counting.accounts import counting_notes
from isoflop.counting.check import check_task
from isoflop.counting.counting import count_size, flops_per_token_at
from isoflop.counting.first_rate import recipe_of, start_in_words
from isoflop.counting.lattice import builds, by_distance, sizes_between
from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.counting.speed import Speed, measure_speed
from isoflop.counting.tokens import token_supply
from isoflop.counting.trials import params_at
from isoflop.notes.note import Note
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec, SizeValue
from isoflop.task import Task
from isoflop.user_code.data import open_data
from isoflop.user_code.fingerprint import (
    check_unchanged,
    digest_of,
    fingerprint,
    named_values,
)
from isoflop.user_code.isolation import isolated

__all__ = ["TaskSizes"]


class TaskSizes(Sizes):
    """The sizes of a task; counts are kept for as long as the task lives."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.unit = task.unit
        self.parameter, self.named = task.size_param, task.sizes

    @property
    def recipe(self) -> Recipe:
        return recipe_of(self.task)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.task)

    def digest(self, *values: object) -> str:
        return digest_of(self.fingerprint, self.task.recipe, self.named, values)

    @property
    def supply(self) -> TokenSupply:
        return token_supply(self.task)

    @property
    def own_batch(self) -> int | None:
        return open_data(self.task.train_data, "train_data").batch_size

    @property
    def unused_settings(self) -> Sequence[str]:
        return open_data(self.task.train_data, "train_data").unused

    @property
    def used_workers(self) -> tuple[int, int]:
        source = open_data(self.task.train_data, "train_data")
        return source.num_readers, source.workers.num_workers

    @property
    def has_parts(self) -> bool:
        return open_data(self.task.train_data, "train_data").kind == "examples"

    @property
    def is_trained_here(self) -> bool:
        return True

    def checked(self) -> AbstractContextManager[None]:
        return _checked(self.task)

    def builds(self, size: SizeValue) -> bool:
        return builds(self.task, size)

    def params(self, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
        return params_at(self.task, size)

    def count(self, size: SizeValue | None) -> SizeCount:
        return count_size(self.task, size)

    def flops_per_token(self, counted: SizeCount, batch: int) -> float:
        return flops_per_token_at(self.task, counted, batch)

    def between(self, low: float, high: float, number: int) -> list[SizeValue]:
        return sizes_between(self.task, low, high, number)

    def by_distance(self, num_params: float, keep: int) -> Iterator[SizeValue]:
        return by_distance(self.task, num_params, keep)

    def speed(self, specs: Sequence[RunSpec]) -> Speed | None:
        return measure_speed(self.task, specs)

    def start(self, size: SizeValue | None = None) -> str | None:
        return start_in_words(self.task, size)

    def notes(self, specs: Sequence[RunSpec]) -> list[Note]:
        return counting_notes(self.task, specs)


@contextmanager
def _checked(task: Task) -> Iterator[None]:
    # models are built and timed; the caller's process stays as it was
    with isolated(0):
        before = named_values(task)
        check_task(task)
        check_unchanged(task, before)
        yield

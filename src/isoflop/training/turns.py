"""The batches of a stream whose parts take turns, each part read by a worker of its own.

The order is a function of the stream alone: parts give one batch after the other, and one that has
ended waits for the next pass. A worker always reads the same parts, and may read ahead of its turn.
"""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from isoflop.errors import DataError
from isoflop.training.jobs import Job, StreamBatch, Waiting
from isoflop.training.places import Placed, Places, Turn
from isoflop.training.reading import is_read_here, read
from isoflop.training.streams import PassEnd, Skipping, Stream
from isoflop.training.watchdog import beat
from isoflop.user_code.data import Source

__all__ = ["stream_batches"]


def stream_batches(
    source: Source, stream: Stream, first_step: int, places: Places
) -> Generator[object, None, None]:
    """The batches of a stream from a step on; their places are noted.

    Raises DataError if the stream ends before the run does and another pass is not allowed.
    """
    turn, left_out = places.begin(first_step, source.num_parts), 0
    if turn is None:  # where each part is at this step shows when they are read
        turn, left_out = _first_turn(source.num_parts), first_step
    streams = [
        replace(stream, kept=trail.resumed, part=part, num_parts=source.num_parts)
        for part, trail in enumerate(places.trails)
    ]
    batches = _Parts(source, streams, turn).batches(places, first_step - left_out)
    return _from(batches, left_out)


def _from(batches: Generator[object, None, None], number: int) -> Generator[object, None, None]:
    with closing(batches):
        yield from islice(batches, number, None)


def _first_turn(num_parts: int) -> Turn:
    return Turn(list(range(num_parts)), 0, [0] * num_parts)


@dataclass
class _Parts:
    """Reads the parts of a stream.

    turn: whose batch is next.
    ahead: by part, what was read ahead of its turn.
    """

    source: Source
    streams: list[Stream]
    turn: Turn
    ahead: list[deque[Placed]] = field(init=False)

    def __post_init__(self) -> None:
        self.ahead = [deque() for _ in self.streams]

    def batches(self, places: Places, step: int) -> Generator[object, None, None]:
        """The batches in turn, from that of a step on."""
        with closing(self._read()) as results:
            while True:
                part = self.turn.part
                while not self.ahead[part]:
                    number, placed = next(results)
                    beat()  # skipping examples may take longer than any step
                    if not isinstance(placed.batch, Skipping):
                        self.ahead[number].append(placed)
                placed = self.ahead[part].popleft()
                places.trails[part].add(self.turn.taken[part], placed)
                ends = isinstance(placed.batch, PassEnd)
                before, self.turn = self.turn, self.turn.after(ends=ends)
                if ends:
                    self._check_pass(before)
                    continue
                places.add(step, self.turn)
                step += 1
                yield placed.batch

    def _read(self) -> Generator[tuple[int, Placed], None, None]:
        """Number and next batch of part after part, without those that wait."""
        return self._read_here() if is_read_here(self.source) else self._read_ahead()

    def _read_here(self) -> Generator[tuple[int, Placed], None, None]:
        readers = [
            stream(self.source, taken)
            for stream, taken in zip(self.streams, self.turn.taken, strict=True)
        ]
        while True:
            part = self.turn.part
            yield part, next(readers[part])

    def _read_ahead(self) -> Generator[tuple[int, Placed], None, None]:
        workers = replace(self.source.workers, num_workers=self.source.num_readers)
        issued: deque[int | None] = deque()
        with closing(read(replace(self.source, workers=workers), self._jobs(issued))) as results:
            for placed in results:
                part = issued.popleft()
                if part is not None:
                    yield part, placed  # type: ignore[misc]

    def _jobs(self, issued: deque[int | None]) -> Iterator[Job]:
        first_steps, streams = list(self.turn.taken), list(self.streams)
        numbers = [0] * len(streams)
        for part in cycle(range(len(streams))):
            if self._waits(part):  # its worker stays its own only if it has every turn
                issued.append(None)
                yield Waiting()
            else:
                issued.append(part)
                yield StreamBatch(streams[part], first_steps[part], numbers[part])
                numbers[part] += 1
                streams[part] = replace(streams[part], kept=None)  # only the first carries it

    def _waits(self, part: int) -> bool:
        """Whether a part has ended its pass before others, or is far ahead of them."""
        return part not in self.turn.active or len(self.ahead[part]) > 0

    def _check_pass(self, before: Turn) -> None:
        """Raise DataError if the last pass may not be followed by another."""
        if self.turn.num_passes == before.num_passes:
            return
        name, epochs, number = self.source.name, self.streams[0].epochs, self.turn.num_passes
        if before.num_batches == 0:
            raise DataError(
                f"{name} must yield examples in every pass, but pass {number} yielded none; give "
                f"data that can be iterated over again."
            )
        if epochs is not None and number >= epochs:
            raise DataError(
                f"{name} ended after {number} pass{'es' if number > 1 else ''} of "
                f"{before.num_batches} batches, before the run's tokens were trained; bring more "
                f"data, or allow more passes with Recipe(epochs=None)."
            )

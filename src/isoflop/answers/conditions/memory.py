"""DeviceMemory: the training states must fit one device; and what that limit costs."""

from dataclasses import dataclass
from typing import ClassVar

from isoflop.answers.conditions.base import Condition, Order
from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.compute.memory import STATE_BYTES_PER_PARAM, memory_of
from isoflop.display.format import format_count, format_number, format_percent
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Surface
from isoflop.laws.inverses import flops_for
from isoflop.laws.limited import LimitedLaw
from isoflop.notes.note import Note

__all__ = ["DeviceMemory"]


@dataclass(frozen=True)
class DeviceMemory(Condition):
    """The params, at 16 bytes each, fit the `bytes_` of one device."""

    argument: ClassVar[str] = "device_memory"
    order: ClassVar[Order] = Order.LIMIT
    bytes_: float

    @classmethod
    def of(cls, value: float | str) -> "DeviceMemory":
        """The condition of bytes, "80 GB" or "H100". Raises DataError for anything else."""
        return cls(memory_of(value))

    @property
    def most_params(self) -> float:
        """Number of params whose training states fit the device."""
        return self.bytes_ / STATE_BYTES_PER_PARAM

    def check(self, question: str, value: float) -> None:
        """Raise DataError where more params are requested than fit."""
        if question == "num_params" and value > self.most_params:
            raise DataError(
                f"predict: {format_count(value)} params need {_gigabytes(value)} at "
                f"{STATE_BYTES_PER_PARAM} bytes each, but the device has "
                f"{format_number(self.bytes_ / 1e9)} GB; "
                f"leave out device_memory, or give fewer params."
            )

    def law(self, law: Surface, cost: CostPerToken | None) -> LimitedLaw:
        """The law with the limit on the number of params."""
        return LimitedLaw(law, self.most_params)

    def fixed(self, place: LawOptimum) -> frozenset[str]:
        """Params and tokens, where the limit binds."""
        binds = bool(self.most_params <= place.N)
        return frozenset({"num_params", "num_tokens"}) if binds else frozenset()

    def notes(self, outcome: Outcome, fit: Fit) -> tuple[Note, ...]:
        """What the limit costs; nothing where it does not bind."""
        place = outcome.middle
        if self.most_params > place.N:
            return ()
        free = place.law_before(self)
        enough = float(flops_for(free, "loss", place.known_loss, outcome.cost))
        N, best = float(place.N), float(free.optimum(place.C, outcome.cost)[0])
        text = (
            f"The size is what the device's memory holds, {format_count(N)} params in "
            f"{_gigabytes(N)} at {STATE_BYTES_PER_PARAM} bytes each (weight, gradient and AdamW's "
            f"two moments in fp32, activations apart); the best size, {format_count(best)} params, "
            f"needs {_gigabytes(best)}, and would reach the same loss with "
            f"{format_percent(max(0.0, 1 - enough / float(place.C)))} less compute."
        )
        return (Note("memory-limited", text),)


def _gigabytes(num_params: float) -> str:
    return f"{format_number(float(num_params) * STATE_BYTES_PER_PARAM / 1e9)} GB"

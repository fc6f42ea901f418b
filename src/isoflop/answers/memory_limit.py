"""What a device's memory allows, and what that limit costs."""

from isoflop.answers.search import Found
from isoflop.compute.memory import STATE_BYTES_PER_PARAM, memory_of
from isoflop.display.format import format_count, format_number, format_percent
from isoflop.errors import DataError
from isoflop.laws.inverses import flops_for
from isoflop.laws.limited import LimitedLaw

__all__ = ["limit_notes", "most_params"]


def most_params(device_memory: float | str | None, question: str, value: float) -> float | None:
    """Params whose training states fit the device; None without a device.

    Raises DataError where more params than that were asked for.
    """
    if device_memory is None:
        return None
    bytes_ = memory_of(device_memory)
    most = bytes_ / STATE_BYTES_PER_PARAM
    if question == "num_params" and value > most:
        raise DataError(
            f"predict: {format_count(value)} params need {_gigabytes(value)} at {STATE_BYTES_PER_PARAM} bytes each, but "
            f"the device has {format_number(bytes_ / 1e9)} GB; leave device_memory out, or ask for fewer."
        )
    return most


def limit_notes(found: Found) -> tuple[str, ...]:
    """What an answer loses to the memory that holds its params; nothing where it would be no larger without."""
    place = found.middle
    if not isinstance(place.law, LimitedLaw) or place.law.most > place.N:
        return ()
    free = place.law.law
    enough = float(flops_for(free, "loss", place.known_loss, found.cost))
    best = float(free.optimum(place.C, found.cost)[0])
    return (
        f"The size is what the device's memory holds, {format_count(float(place.N))} params in {_gigabytes(float(place.N))} at "
        f"{STATE_BYTES_PER_PARAM} bytes each (weight, gradient and AdamW's two moments in fp32, activations apart); "
        f"the best size, {format_count(best)} params, needs {_gigabytes(best)}, and would reach the same loss with "
        f"{format_percent(max(0.0, 1 - enough / float(place.C)))} less compute.",
    )


def _gigabytes(num_params: float) -> str:
    return f"{format_number(float(num_params) * STATE_BYTES_PER_PARAM / 1e9)} GB"

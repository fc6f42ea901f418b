"""Memory of a device, and the bytes that training keeps there per param."""

import re

from isoflop import arguments
from isoflop.compute.phrases import parse_hardware
from isoflop.errors import PlanError

__all__ = ["STATE_BYTES_PER_PARAM", "memory_of"]

STATE_BYTES_PER_PARAM = 16
"""fp32 weight, gradient and AdamW's two moments."""

LEAST_BYTES, MOST_BYTES = 1e3, 1e18
"""Range of a device's memory; a smaller number, such as 80, is in another unit than bytes."""
_MUST = "'80 GB', 'H100' or bytes from 1e3 to 1e18"

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(i?)b\s*", re.IGNORECASE)
# An exponent is required: 4090 is an accelerator.
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?e\d+)\s*(?:b|bytes)?\s*", re.IGNORECASE)


def memory_of(device: float | str) -> float:
    """Bytes of memory of one device.

    device: a number of bytes, "80 GB", "40 GiB" or an accelerator's name; "8xH100" means one H100.

    Raises PlanError for anything else.
    """
    num_bytes = _written(device) if isinstance(device, str) else None
    if num_bytes is None:
        num_bytes = float(
            arguments.number(
                device, "A device's memory", must=_MUST, holds=_is_memory, error=PlanError
            )
        )
    elif not _is_memory(num_bytes):
        raise arguments.refused(device, "A device's memory", _MUST, error=PlanError)
    return num_bytes


def _is_memory(num_bytes: float) -> bool:
    return LEAST_BYTES <= num_bytes <= MOST_BYTES


def _written(device: str) -> float:
    if size := _SIZE.fullmatch(device):
        return float(size[1]) * (1024.0 if size[3] else 1000.0) ** (
            "kmgt".index(size[2].lower()) + 1
        )
    if plain := _BYTES.fullmatch(device):
        return float(plain[1])
    return parse_hardware(device).accelerator.die_bytes

"""Memory of a device, and of what training keeps on it for each param."""

import re

from isoflop.compute.phrases import parse_hardware
from isoflop.errors import PlanError

__all__ = ["STATE_BYTES_PER_PARAM", "memory_of"]

STATE_BYTES_PER_PARAM = 16
"""fp32 weight, gradient and AdamW's two moments."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(i?)b\s*", re.IGNORECASE)
_BYTES = re.compile(
    r"\s*(\d+(?:\.\d+)?e\d+)\s*(?:b|bytes)?\s*", re.IGNORECASE
)  # 4090 is an accelerator


def memory_of(device: float | str) -> float:
    """Bytes that a device has: a number of them, "80 GB", "40 GiB", or an accelerator's name; of "8xH100", one's.

    Raises PlanError where that is not a size above 0 or an accelerator of the table.
    """
    found = _written(device) if isinstance(device, str) else float(device)
    if not 0 < found < float("inf"):
        raise PlanError(
            f"A device's memory must be above 0 bytes, but got {device!r}; write 80e9, '80 GB' or 'H100'."
        )
    return found


def _written(device: str) -> float:
    if size := _SIZE.fullmatch(device):
        return float(size[1]) * (1024.0 if size[3] else 1000.0) ** (
            "kmgt".index(size[2].lower()) + 1
        )
    if plain := _BYTES.fullmatch(device):
        return float(plain[1])
    return parse_hardware(device).accelerator.die_bytes

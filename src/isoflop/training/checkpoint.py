"""The loop's state in one file: written whole or not at all, read without running any code from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from isoflop.errors import StoreError
from isoflop.storage.atomic import replacing

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state (tensors, numbers, texts, and containers of them) atomically."""
    with replacing(path) as file:
        torch.save(dict(state), file)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state that was saved, its tensors on a device; None where there is none.

    Raises StoreError where the file holds anything but plain state; it is then set aside.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        aside = path.replace(path.with_name(f"{path.name}.unreadable"))
        raise StoreError(
            f"{path} was not a checkpoint that can be read ({error}) and is now {aside.name}; isoflop rerun has the "
            f"run trained from its start."
        ) from error
    return state

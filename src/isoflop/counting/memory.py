"""Memory that runs need on their device, and memory of the devices of this machine."""

import os
from collections.abc import Mapping
from importlib.util import find_spec

from isoflop.compute.memory import STATE_BYTES_PER_PARAM
from isoflop.counting.sizes import SizeCount
from isoflop.runs import RunSpec

__all__ = ["device_bytes", "has_gpu", "least_bytes", "run_bytes", "state_bytes"]


def run_bytes(spec: RunSpec, count: SizeCount) -> float | None:
    """Memory that a run needs on its device, weights to activations.

    None if activations could not be counted, or the batch is open.
    """
    if count.memory_bytes is not None:
        return count.memory_bytes
    if count.activation_bytes is None or spec.batch is None:
        return None
    states = state_bytes(count.num_params, count.params)
    return states + count.activation_bytes * spec.batch


def least_bytes(counted: SizeCount) -> float:
    """Least memory that trains a size: its states and the activations of one example."""
    if counted.memory_bytes is not None:
        return counted.memory_bytes
    return state_bytes(counted.num_params, counted.params) + (counted.activation_bytes or 0.0)


def state_bytes(num_params: int, params: Mapping[str, int]) -> float:
    """Memory of all parameters' states; a task's own N may leave some of them out.

    params: the size's params by convention.
    """
    return STATE_BYTES_PER_PARAM * params.get("total", num_params)


def device_bytes() -> float:
    """Memory of the device that runs would use here: the first GPU's, else the machine's."""
    if has_gpu():
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def has_gpu() -> bool:
    """Whether torch is installed and sees a GPU."""
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()

"""Contexts that undo what a user's code sets in the process, so that all runs start alike."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from isoflop.user_code.randomness import seeded

__all__ = ["contained", "isolated", "kept", "numerics", "use_numerics"]


class _Setting(NamedTuple):
    """A setting of the process that any code can change."""

    get: Callable[[], object]
    set: Callable[[Any], object]


@contextmanager
def isolated(*key: int) -> Iterator[None]:
    """`contained`, with random numbers from a key and with gradients enabled."""
    with seeded(*key), contained(), torch.enable_grad():
        yield


@contextmanager
def contained() -> Iterator[None]:
    """`kept`, and an exit by the user's code (`sys.exit`) raises RuntimeError instead."""
    with kept():
        try:
            yield
        except SystemExit as left:
            raise RuntimeError(f"it ended the program, as by sys.exit({left.code!r})") from left


@contextmanager
def kept() -> Iterator[None]:
    """Restore the settings of the process after the block."""
    settings = [*_NUMERICS.values(), *_OTHERS]
    before = [setting.get() for setting in settings]
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            if setting.get() != value:
                setting.set(value)


def numerics() -> dict[str, object]:
    """The current settings that change results, for a process that must give the same results."""
    return {name: setting.get() for name, setting in _NUMERICS.items()}


def use_numerics(values: Mapping[str, object]) -> None:
    """Apply the `numerics` of another process."""
    for name, value in values.items():
        if _NUMERICS[name].get() != value:
            _NUMERICS[name].set(value)


# -- settings of torch and NumPy ------------------------------------------------------------------


def _attribute(owner: object, name: str) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _set_device(kind: str) -> None:
    torch.set_default_device(None if kind == "cpu" else kind)


_Autocast = tuple[bool, list[tuple[str, bool, torch.dtype]]]


def _autocast() -> _Autocast:
    kinds = [
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
    ]
    return torch.is_autocast_cache_enabled(), kinds


def _set_autocast(value: _Autocast) -> None:
    cache_enabled, kinds = value
    torch.set_autocast_cache_enabled(cache_enabled)
    for kind, enabled, dtype in kinds:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _flushes_denormals() -> bool:
    return bool((torch.full((), 1e-310, dtype=torch.float64, device="cpu") * 0.5).item() == 0)


_ATTENTIONS = ("flash", "mem_efficient", "math", "cudnn")


def _attention() -> list[bool]:
    return [getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() for kind in _ATTENTIONS]


def _set_attention(value: list[bool]) -> None:
    for kind, enabled in zip(_ATTENTIONS, value, strict=True):
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(enabled)


_NUMERICS: Mapping[str, _Setting] = {
    "default dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
    # By type only: each process has its own GPU.
    "default device": _Setting(lambda: torch.get_default_device().type, _set_device),
    "matmul precision": _Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "deterministic": _Setting(_deterministic, _set_deterministic),
    "fill memory": _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    "cudnn": _attribute(torch.backends.cudnn, "enabled"),
    "cudnn benchmark": _attribute(torch.backends.cudnn, "benchmark"),
    "cudnn deterministic": _attribute(torch.backends.cudnn, "deterministic"),
    "autocast": _Setting(_autocast, _set_autocast),
    "denormals": _Setting(_flushes_denormals, torch.set_flush_denormal),
    "attention": _Setting(_attention, _set_attention),
    "numpy errors": _Setting(np.geterr, lambda value: np.seterr(**value)),
}

# -- settings of the process ----------------------------------------------------------------------


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _set_path(before: list[str]) -> None:
    sys.path[:] = before


def _set_filters(before: list[object]) -> None:
    warnings.resetwarnings()  # forgets which warnings were shown, as a change of filters must
    warnings.filters[:] = before  # type: ignore[index]


def _set_anomaly(value: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*value)


_OTHERS = (
    _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting(torch.get_num_threads, torch.set_num_threads),
    _Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()), _set_anomaly
    ),
    _Setting(_folder, _set_folder),
    _Setting(lambda: dict(os.environ), _set_environment),
    _Setting(lambda: list(sys.path), _set_path),
    _Setting(lambda: list(warnings.filters), _set_filters),
    _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    _Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    _Setting(gc.get_threshold, lambda value: gc.set_threshold(*value)),
    _attribute(sys, "stdout"),
    _attribute(sys, "stderr"),
    _attribute(logging.root, "level"),
    _attribute(logging.root.manager, "disable"),
)

"""Source code of pinned pure-Python packages as windows of bytes: the same text on every machine.

`requirements.lock` fixes the versions, and a wheel without compiled parts has the same files for
every system. Every twentieth file is held out.
"""

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

PACKAGES = (
    "accelerate",
    "datasets",
    "huggingface_hub",
    "hypothesis",
    "ipython",
    "jedi",
    "mpmath",
    "networkx",
    "openpyxl",
    "prompt_toolkit",
    "pydantic",
    "Pygments",
    "rich",
    "sympy",
    "transformers",
)
HELD_OUT = 20
CONTEXT = 64


class Windows(Dataset):
    """Windows of a text that do not overlap, in a shuffled order, each with itself one byte on."""

    def __init__(self, text: bytes) -> None:
        self.bytes = np.frombuffer(text, dtype=np.uint8)
        # the evaluation takes the first windows, which would all be of the first package
        self.order = np.random.default_rng(0).permutation((len(text) - 1) // CONTEXT)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.order[index] * CONTEXT
        window = torch.from_numpy(self.bytes[start : start + CONTEXT + 1].astype(np.int64))
        return window[:-1], window[1:]


def files_of(package: str) -> list[Path]:
    """The .py files that a package's wheel holds, in the order of their names."""
    listed = metadata.distribution(package).files or ()
    names = sorted((str(each), each) for each in listed if each.suffix == ".py")
    return [Path(str(each.locate())) for name, each in names if not name.startswith("..")]


@cache
def texts(packages: tuple[str, ...] = PACKAGES) -> tuple[bytes, bytes]:
    """Training and held-out text."""
    read = [path.read_bytes() for package in packages for path in files_of(package)]
    held_out = b"".join(read[::HELD_OUT])
    return b"".join(text for k, text in enumerate(read) if k % HELD_OUT), held_out


@cache
def python_packages() -> tuple[Windows, Windows]:
    """Training and held-out windows."""
    train, held_out = texts()
    return Windows(train), Windows(held_out)


def digest() -> str:
    """16 hexadecimal digits that identify the text."""
    whole = hashlib.sha256()
    for text in texts():
        whole.update(text)
    return whole.hexdigest()[:16]

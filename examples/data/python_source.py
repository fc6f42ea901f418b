"""A real corpus on every machine: the source of Python's standard library, as windows of bytes."""

import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

HELD_OUT = 20
"""Every twentieth file is held out."""


class ByteWindows(Dataset):
    """Windows of a text that do not overlap: (bytes, the same window one byte on)."""

    def __init__(self, text: bytes | np.ndarray, context: int) -> None:
        self.bytes = np.frombuffer(text, dtype=np.uint8) if isinstance(text, bytes) else text
        self.context = context

    def __len__(self) -> int:
        return (len(self.bytes) - 1) // self.context

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        window = self.bytes[index * self.context : (index + 1) * self.context + 1]
        window = torch.from_numpy(window.astype(np.int64))
        return window[:-1], window[1:]


def python_source(context: int = 64) -> tuple[ByteWindows, ByteWindows]:
    """Training and held-out windows: about 30 MB and 1.6 MB, tests of the library included."""
    library = Path(sysconfig.get_path("stdlib"))
    # What is installed beside the library is not searched: that may be many times as much.
    own = (path for path in library.iterdir() if path.name != "site-packages")
    folders = (path for path in own if path.is_dir() and not path.is_symlink())
    found = (path for folder in folders for path in folder.rglob("*.py"))
    files = sorted([*library.glob("*.py"), *found])
    texts = [path.read_bytes() for path in files]
    train = b"".join(text for k, text in enumerate(texts) if k % HELD_OUT)
    return ByteWindows(train, context), ByteWindows(b"".join(texts[::HELD_OUT]), context)

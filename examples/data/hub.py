"""TinyStories and CIFAR-10 from the Hugging Face Hub, through the `datasets` package."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from data.python_source import ByteWindows

if TYPE_CHECKING:
    import datasets

END = b"\x00"
"""Between two stories."""


def tiny_stories(context: int = 64, share: str = "100%") -> tuple[ByteWindows, ByteWindows]:
    """TinyStories (Eldan & Li 2023) as windows of bytes.

    share: how much to train on, as in "10%".
    """
    train = load("roneneldan/TinyStories", f"train[:{share}]")
    held_out = load("roneneldan/TinyStories", "validation")
    return story_windows(train, context), story_windows(held_out, context)


def cifar10() -> "tuple[Images, Images]":
    """CIFAR-10 (Krizhevsky 2009): 50,000 training images, 10,000 held out, of 3 x 32 x 32."""
    return Images(load("uoft-cs/cifar10", "train")), Images(load("uoft-cs/cifar10", "test"))


def load(name: str, split: str) -> "datasets.Dataset":
    """One split of a dataset on the Hub, downloaded on first use and read from disk after that.

    Raises RuntimeError with the remedy where `datasets` is missing or the Hub cannot be reached.
    """
    try:
        import datasets  # an extra: pip install "isoflop[hf]"
    except ImportError as error:
        raise RuntimeError(
            f'{name} needs the package datasets; run: pip install "isoflop[hf]".'
        ) from error
    try:
        return datasets.load_dataset(name, split=split)
    except (OSError, ValueError) as error:  # no network; offline and nothing on disk
        raise RuntimeError(
            f"{name} is not on this disk and the Hugging Face Hub gave {type(error).__name__}; "
            "connect once to download it, or take the data that need no download: "
            "data/python_source.py, data/teacher_images.py."
        ) from error


def story_windows(stories: "datasets.Dataset", context: int) -> ByteWindows:
    """All stories one after the other, as windows of bytes."""
    batches = stories.select_columns("text").iter(batch_size=10_000)
    texts = [END.join(text.encode() for text in batch["text"]) + END for batch in batches]
    return ByteWindows(np.frombuffer(b"".join(texts), dtype=np.uint8), context)


class Images(Dataset):
    """(image, label) pairs of a dataset with columns "img" and "label"; pixels from -1 to 1."""

    def __init__(self, rows: "datasets.Dataset") -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row: dict[str, Any] = self.rows[index]
        pixels = torch.from_numpy(np.array(row["img"].convert("RGB"))).permute(2, 0, 1)
        return pixels.float() / 127.5 - 1, row["label"]

"""A Hugging Face vision transformer for a compute budget: `ViTForImageClassification`.

Run it as `python examples/hf_vit.py` after `pip install "isoflop[hf]"`. The model takes
dictionaries with pixels and labels and returns its own loss.
"""

from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import ViTConfig, ViTForImageClassification

import isoflop
from data.teacher_images import NUM_CLASSES, TeacherImages

STORE = Path("runs/hf_vit")
BUDGETS = [3e9, 1e10, 3e10]
SIZES = [8, 12, 16, 24, 32, 48, 64, 96]
IMAGE, PATCH = 16, 4
NUM_IMAGES, NUM_HELD_OUT = 40_000, 4_000
EPOCHS = 4


def vit(width: int, num_layers: int = 2, num_heads: int = 2) -> ViTForImageClassification:
    """A vision transformer; what does not scale with the width is fixed here."""
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            image_size=IMAGE,
            patch_size=PATCH,
            num_labels=NUM_CLASSES,
        )
    )


class Pixels(Dataset):
    """Labelled images as the dictionaries that an image classifier of transformers takes."""

    def __init__(self, images: TeacherImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image, label = self.images[index]
        return {"pixel_values": image, "labels": label}


def task() -> isoflop.Task:
    return isoflop.Task(
        model=vit,
        size_param="width",
        train_data=Pixels(TeacherImages(NUM_IMAGES, IMAGE, seed=0)),
        val_data=Pixels(TeacherImages(NUM_HELD_OUT, IMAGE, seed=1)),
        loss=None,
        unit="image",
        sizes=SIZES,
        recipe=isoflop.Recipe(epochs=EPOCHS),
    )


def main() -> None:
    vits = task()
    sweep = isoflop.plan(vits, budgets=BUDGETS)
    print(sweep, end="\n\n")
    runs = isoflop.train(vits, sweep, store=STORE, executor=isoflop.Processes(2))
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=30 * BUDGETS[-1], task=vits)
    print(answer)
    print(f"\nReport: {isoflop.report(fit, answer, path=STORE / 'report.html', task=vits)}")


if __name__ == "__main__":
    main()

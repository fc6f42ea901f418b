"""A vision transformer or a convolutional network for images whose best possible loss is known.

    python examples/images_vit.py --model cnn
    python examples/images_vit.py --data cifar10

The teacher's images need no download, and no model can have a lower loss than their entropy: what
the fit gives as irreducible loss can be checked against it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F

import isoflop
from data.hub import cifar10
from data.teacher_images import TeacherImages
from models.cnn import CNN
from models.vit import ViT

NUM_IMAGES, NUM_HELD_OUT = 40_000, 4_000
EPOCHS = 4


def teacher_images() -> tuple[TeacherImages, TeacherImages]:
    return TeacherImages(NUM_IMAGES, seed=0), TeacherImages(NUM_HELD_OUT, seed=1)


MODELS = {"vit": ViT, "cnn": CNN}
SIZES = {"vit": [8, 12, 16, 24, 32, 48, 64, 96], "cnn": [2, 3, 4, 6, 8, 12, 16, 24]}
DATA = {"teacher": teacher_images, "cifar10": cifar10}


def loss(logits, labels):
    return F.cross_entropy(logits, labels)


def task(model: str = "vit", data: str = "teacher") -> isoflop.Task:
    """A family of models whose size is its width, on labelled images."""
    train_data, val_data = DATA[data]()
    kwargs: dict[str, Any] = {"image": 32} if model == "vit" and data == "cifar10" else {}
    return isoflop.Task(
        model=MODELS[model],
        size_param="width",
        model_kwargs=kwargs,
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        unit="image",
        sizes=SIZES[model],
        recipe=isoflop.Recipe(epochs=EPOCHS),
    )


def vit() -> isoflop.Task:
    return task("vit")


def cnn() -> isoflop.Task:
    return task("cnn")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="vit")
    parser.add_argument("--data", choices=DATA, default="teacher")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[3e9, 1e10, 3e10], help="FLOPs of each curve"
    )
    parser.add_argument(
        "--store", type=Path, default=Path("runs/images"), help="folder of the runs and the page"
    )
    parser.add_argument("--processes", type=int, default=1, help="runs trained at the same time")
    chosen = parser.parse_args(arguments)

    family = task(chosen.model, chosen.data)
    if isinstance(family.val_data, TeacherImages):
        print(f"A perfect model has a held-out loss of {family.val_data.entropy:.3f}.")
    sweep = isoflop.plan(family, budgets=chosen.budgets)
    print(sweep, end="\n\n")
    executor = isoflop.Processes(chosen.processes) if chosen.processes > 1 else isoflop.InProcess()
    runs = isoflop.train(family, sweep, store=chosen.store, executor=executor)
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=30 * max(chosen.budgets), task=family)
    print(fit, answer, sep="\n\n")
    print(
        f"\nReport: {isoflop.report(fit, answer, path=chosen.store / 'report.html', task=family)}"
    )


if __name__ == "__main__":
    main()

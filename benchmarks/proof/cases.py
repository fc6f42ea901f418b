"""The tasks of the campaign: kinds of net on source code, procedural images and pendulums.

Every rule of training is spelled out and every task has a name of its own in the ids of its runs,
so that records stay valid whatever isoflop's defaults become. Raise VERSION when a model, the data
or the loss changes.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import drawn_images
import pendulum
import source_text
import torch.nn.functional as F
from causal_conv import CausalConvNet
from feed_forward import FeedForwardNet
from ssm import SSM

import isoflop
from isoflop.recipe import PowerRule

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from models.cnn import CNN
from models.gpt import GPT
from models.moe import MoE
from models.vit import ViT

VERSION = 1
TEXT_SIZES = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
VIT_SIZES = (4, 6, *TEXT_SIZES)
CNN_SIZES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


@dataclass(frozen=True)
class Case:
    """A task of the campaign.

    task: gives the task, with rules that are not tuned yet.
    digest: gives what identifies its data.
    target: FLOPs of the run that is forecast.
    tuned_at: tokens per param of the runs that tune the learning rate: fewer where the smallest
        nets are large, or a token costs more, as an image does.
    about: what it is, in words.
    """

    task: Callable[[], isoflop.Task]
    digest: Callable[[], str]
    target: float
    about: str
    tuned_at: float = 20.0


def recipe(batch: PowerRule, eval_tokens: int) -> isoflop.Recipe:
    """Where tuning starts: isoflop's rules for small nets as they were in November 2026."""
    return isoflop.Recipe(
        epochs=1,
        lr=PowerRule(0.3, num_params=-0.31),
        batch_tokens=batch,
        min_batch=2,
        beta1=0.9,
        beta2=0.95,
        weight_decay=0.1,
        warmup=0.1,
        schedule="cosine",
        clip=1.0,
        precision="fp32",
        eval_tokens=eval_tokens,
    )


def next_byte_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def on_text(name: str, model: Callable[..., object], **more) -> isoflop.Task:
    train_data, val_data = source_text.python_packages()
    return isoflop.Task(
        model=model,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=next_byte_loss,
        unit="byte",
        loss_unit="nats/byte",
        sizes=TEXT_SIZES,
        recipe=recipe(PowerRule(0.5, num_tokens=0.5), eval_tokens=2**18),
        fingerprint=f"proof-{name}-{VERSION}",
        **more,
    )


def on_images(name: str, model: Callable[..., object], sizes) -> isoflop.Task:
    """A token is an image; batches are smaller than those of bytes, since an image says more."""
    train_data, val_data = drawn_images.images()
    return isoflop.Task(
        model=model,
        size_param="width",
        model_kwargs={"num_classes": drawn_images.NUM_CLASSES},
        train_data=train_data,
        val_data=val_data,
        loss=F.cross_entropy,
        unit="image",
        loss_unit="nats/image",
        sizes=sizes,
        recipe=recipe(PowerRule(0.1, num_tokens=0.5), eval_tokens=drawn_images.NUM_HELD_OUT),
        fingerprint=f"proof-{name}-{VERSION}",
    )


def gpt() -> isoflop.Task:
    return on_text("gpt", GPT)


def ssm() -> isoflop.Task:
    return on_text("ssm", SSM)


def mlp() -> isoflop.Task:
    return on_text("mlp", FeedForwardNet)


def conv() -> isoflop.Task:
    return on_text("conv", CausalConvNet)


def moe() -> isoflop.Task:
    return on_text("moe", MoE, num_params=MoE.num_active_params)


def vit() -> isoflop.Task:
    return on_images("vit", ViT, VIT_SIZES)


def cnn() -> isoflop.Task:
    return on_images("cnn", CNN, CNN_SIZES)


def swing() -> isoflop.Task:
    """A token is an example: one start and where it leads."""
    train_data, val_data = pendulum.pendulums()
    return isoflop.Task(
        model=pendulum.ResidualNet,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=F.mse_loss,
        unit="example",
        loss_unit="squared rods",
        sizes=TEXT_SIZES,
        recipe=recipe(PowerRule(0.5, num_tokens=0.5), eval_tokens=pendulum.NUM_HELD_OUT),
        fingerprint=f"proof-swing-{VERSION}",
    )


CASES = {
    "gpt": Case(gpt, source_text.digest, 3e13, "a transformer over the bytes of source code"),
    "ssm": Case(
        ssm, source_text.digest, 3e13, "a state-space model over the bytes of source code", 10.0
    ),
    "mlp": Case(
        mlp, source_text.digest, 3e13, "a feed-forward net over eight bytes of source code", 10.0
    ),
    "conv": Case(
        conv, source_text.digest, 3e13, "a causal convolutional net over source code", 10.0
    ),
    "moe": Case(
        moe, source_text.digest, 3e13, "a mixture of experts over the bytes of source code", 10.0
    ),
    "vit": Case(vit, drawn_images.digest, 3e13, "a vision transformer on procedural images", 4.0),
    "cnn": Case(cnn, drawn_images.digest, 3e13, "a convolutional net on procedural images", 1.5),
    "swing": Case(
        swing, pendulum.digest, 3e13, "a feed-forward net that predicts double pendulums"
    ),
}

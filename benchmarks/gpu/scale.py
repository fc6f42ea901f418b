"""Sizes of what check.py trains, for a large GPU and for a test."""

from dataclasses import dataclass

__all__ = ["FULL", "TINY", "Scale"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of the sections.

    context, vocabulary: of the large GPT; batch: its sequences per step; steps: its steps.
    image: pixels of a side; workers: of the images' loader.
    gpt_flops_per_token, image_flops: about those of the GPT and of a run on images, for planning.
    tiny_runs: number of tiny runs; tiny_flops: compute of each.
    packed_width, packed_steps: of tiny runs that are trained in one program.
    largest_budget: of the sweep; budget_step: ratio of its budgets.
    sweep_seconds: predicted seconds that the sweep may take.
    num_windows: most windows of text; eval_tokens: of their held-out loss.
    large_batch: a batch that is too large for the memory.
    """

    width: int
    layers: int
    heads: int
    context: int
    vocabulary: int
    batch: int
    steps: int
    compile: bool
    image: int
    num_images: int
    images_batch: int
    image_steps: int
    channels: int
    workers: int
    tiny_runs: int
    tiny_width: int
    tiny_flops: float
    packed_width: int
    packed_steps: int
    largest_budget: float
    budget_step: float
    sweep_widths: tuple[int, ...]
    sweep_seconds: float
    num_windows: int
    eval_tokens: int
    large_batch: int
    gpt_flops_per_token: float
    image_flops: float


FULL = Scale(
    width=768,
    layers=12,
    heads=12,
    context=1024,
    vocabulary=16_384,
    batch=64,
    steps=150,
    compile=True,
    image=224,
    num_images=20_000,
    images_batch=128,
    image_steps=60,
    channels=64,
    workers=12,
    tiny_runs=8,
    tiny_width=64,
    tiny_flops=1e13,
    packed_width=16,
    packed_steps=200,
    largest_budget=1e16,
    budget_step=3.0,
    sweep_widths=(64, 96, 128, 192, 256, 384, 512),
    sweep_seconds=120,
    num_windows=10**9,
    eval_tokens=2**18,
    large_batch=8192,
    gpt_flops_per_token=7e8,
    image_flops=1e14,
)
"""About 100M params; images whose decoding binds; a sweep of two minutes."""

TINY = Scale(
    width=16,
    layers=2,
    heads=2,
    context=16,
    vocabulary=64,
    batch=4,
    steps=20,
    compile=False,
    image=16,
    num_images=64,
    images_batch=8,
    image_steps=6,
    channels=4,
    workers=1,
    tiny_runs=2,
    tiny_width=8,
    tiny_flops=2e8,
    packed_width=8,
    packed_steps=5,
    largest_budget=2e8,
    budget_step=2.0,
    sweep_widths=(4, 6, 8, 12),
    sweep_seconds=1000,
    num_windows=3000,
    eval_tokens=2**11,
    large_batch=24,
    gpt_flops_per_token=3e4,
    image_flops=1e8,
)

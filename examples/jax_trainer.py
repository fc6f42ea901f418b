"""A training loop in JAX, Flax and optax trains the runs; nothing here needs PyTorch.

Run it as `python examples/jax_trainer.py` after `pip install jax flax optax isoflop`. Params are
counted on the model without building it, FLOPs per token by the formula below. `train` is a plain
function of a spec and a folder: it takes steps, batch, rates and seed from the spec, and returns
the held-out loss with the tokens that it counted.
"""

import argparse
import math
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import isoflop

CONTEXT = 64
BUDGETS = [3e9, 1.2e10]
SIZES = [4, 8, 12, 16, 24, 32]
LAYERS, KERNEL = 2, 4


class ByteNet(nn.Module):
    """Causal convolutions over bytes; `width` is what grows."""

    width: int

    @nn.compact
    def __call__(self, text):
        x = nn.Embed(256, self.width)(text)
        for _ in range(LAYERS):
            mixed = nn.Conv(self.width, (KERNEL,), padding="CAUSAL")(nn.LayerNorm()(x))
            x = x + nn.gelu(mixed)
        return nn.Dense(256)(x)


def cost(width: int) -> tuple[int, float]:
    """Params, and FLOPs per byte: 6 for each weight of a product, since the embedding has none."""
    shapes = jax.eval_shape(
        ByteNet(width).init, jax.random.key(0), jnp.zeros((1, CONTEXT), jnp.int32)
    )
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    return params, 6.0 * (LAYERS * KERNEL * width**2 + 256 * width)


def family() -> isoflop.Family:
    return isoflop.Family(
        SIZES,
        cost=cost,
        name="convolutions on bytes",
        size_param="width",
        unit="byte",
        tokens_per_example=CONTEXT,
        recipe=isoflop.Recipe(batch_tokens=512),
    )


def windows(files: Sequence[Path]) -> np.ndarray:
    """Windows of the files, each with one byte more: inputs and targets overlap."""
    text = np.frombuffer(b"".join(path.read_bytes() for path in files), np.uint8)
    starts = np.arange(0, len(text) - CONTEXT - 1, CONTEXT)
    return text[starts[:, None] + np.arange(CONTEXT + 1)].astype(np.int32)


def loss(params, net, rows):
    logits = net.apply(params, rows[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:]).mean()


def train(spec: isoflop.RunSpec, folder: Path) -> dict[str, object]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    train_rows = windows([file for k, file in enumerate(files) if k % 10])
    val_rows = windows(files[::10])[:1024]

    steps = round(spec.num_tokens / (spec.batch * CONTEXT))
    rate = optax.warmup_cosine_decay_schedule(0.0, spec.lr, round(spec.warmup * steps), steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(spec.clip),
        optax.adamw(rate, spec.beta1, spec.beta2, weight_decay=spec.weight_decay),
    )
    net = ByteNet(spec.size)
    params = net.init(jax.random.key(spec.seed), train_rows[:1, :-1])
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, rows):
        value, gradients = jax.value_and_grad(loss)(params, net, rows)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    order = np.random.default_rng(spec.seed).permutation(len(train_rows))
    if steps * spec.batch > len(order):
        raise ValueError(f"{steps} steps need more than the {len(order)} windows there are")
    curve, trained = [], 0
    for number in range(steps):
        rows = train_rows[order[number * spec.batch : (number + 1) * spec.batch]]
        params, state, value = step(params, state, rows)
        trained += rows[:, 1:].size
        if number % 10 == 9:
            curve.append((trained, float(value)))
    held_out = float(jax.jit(loss, static_argnums=1)(params, net, val_rows))
    return {"loss": held_out, "num_tokens": trained, "curve": curve}


def main(arguments: Sequence[str] | None = None) -> list[isoflop.Run]:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="FLOPs")
    options.add_argument("--store", default="runs/jax_trainer")
    given = options.parse_args(arguments)
    nets = family()
    sweep = isoflop.plan(nets, budgets=given.budgets)
    print(sweep)
    runs = isoflop.train(nets, sweep, trainer=train, store=given.store)
    fit = isoflop.fit(runs)
    print(fit)
    print(isoflop.predict(fit, flops=10 * max(given.budgets), task=nets))
    return runs


if __name__ == "__main__":
    main()

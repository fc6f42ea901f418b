"""A family whose trainer is a law with a little noise, and programs that train by it."""

import hashlib
import sys
from pathlib import Path

import isoflop

LAW = isoflop.ChinchillaLaw(E=1.8, A=48.0, B=210.0, alpha=0.35, beta=0.37)
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
BUDGETS = [1e12, 3e12]


def cost(width):
    num_params = 48 * width**2
    return num_params, 6.6 * num_params


def ladder(**fields):
    given = {
        "tokens_per_example": 64,
        "recipe": isoflop.Recipe(batch_tokens=4096, epochs=None),
        **fields,
    }
    return isoflop.Family({width: cost(width) for width in WIDTHS}, **given)


def noise(key):
    """A number from -1 to 1 that is the same for the same run."""
    return int(hashlib.sha256(str(key).encode()).hexdigest()[:8], 16) / 2**31 - 1


def loss_of(spec):
    return float(LAW.loss(spec.num_params, spec.num_tokens)) * (1 + 1e-3 * noise(spec.id))


def law_trainer(spec, folder):
    """The loss of the law; the folder says that it was called."""
    with open(folder / "calls", "a") as file:
        file.write(f"{spec.id}\n")
    return loss_of(spec)


PROGRAM = """
import argparse, json, os, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("size", "params", "tokens", "steps", "lr", "out", "id"):
    parser.add_argument(f"--{name}")
args = parser.parse_args()
out = Path(args.out)
with open(out / "calls", "a") as file:
    file.write(args.id + "\\n")
loss = 1.8 + 48 / float(args.params) ** .35 + 210 / float(args.tokens) ** .37
print(f"step {args.steps} val loss {loss:.6f}", flush=True)
(out / "result.json").write_text(json.dumps({"eval": {"loss": loss}, "tokens": float(args.tokens)}))
"""
ARGUMENTS = (
    "--size {size} --params {num_params} --tokens {num_tokens} --steps {num_steps} --lr {lr:g} "
    "--out {folder} --id {id}"
)


def program(folder):
    """A training program as a file; returns a command for it."""
    path = Path(folder) / "train it.py"
    path.write_text(PROGRAM)
    return f"{sys.executable} '{path}' {ARGUMENTS}"

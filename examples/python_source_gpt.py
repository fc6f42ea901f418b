"""How big a byte-level GPT for a compute budget, on the source of Python's standard library.

Run it with `make demo`: plans 3 budgets x 7 sizes, one of them with three seeds, trains them on two
processes, fits, answers, writes a page, and then trains the run that it recommends at a tenth of
the target, to see whether the answer holds. Run it again and it answers from what it has.
"""

import math
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

import isoflop

CONTEXT = 64
STORE = Path("runs/demo")
BUDGETS = [2e10, 5.3e10, 1.4e11]
TARGET = 30 * BUDGETS[-1]
CHECK = TARGET / 10


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(
            batch, length, 3, self.num_heads, width // self.num_heads
        )
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """A transformer over bytes whose size is its width."""

    def __init__(self, width: int, num_layers: int = 2, num_heads: int = 2) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(256, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256, bias=False)
        self.head.weight = self.embed.weight
        for table in (self.embed, self.position):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, tokens):
        x = self.embed(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Windows(Dataset):
    """Windows of bytes that do not overlap, each with the same window one byte on."""

    def __init__(self, text: bytes) -> None:
        self.bytes = np.frombuffer(text, dtype=np.uint8)

    def __len__(self) -> int:
        return (len(self.bytes) - 1) // CONTEXT

    def __getitem__(self, index: int):
        window = torch.from_numpy(
            self.bytes[index * CONTEXT : index * CONTEXT + CONTEXT + 1].astype(np.int64)
        )
        return window[:-1], window[1:]


def python_source() -> tuple[Windows, Windows]:
    """The interpreter's own .py files: every twentieth is held out."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    texts = [path.read_bytes() for path in files]
    held_out = b"".join(texts[::20])
    return Windows(b"".join(text for k, text in enumerate(texts) if k % 20)), Windows(held_out)


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def demo_task() -> isoflop.Task:
    train_data, val_data = python_source()
    return isoflop.Task(
        model=GPT,
        size_param="width",
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        unit="byte",
        sizes=[4, 6, 8, 12, 16, 24, 32, 48, 64, 96],
    )


def check(task: isoflop.Task, fit: isoflop.Fit, runs: list[isoflop.Run]) -> str:
    """Measured loss of the recommended run at a tenth of the target, beside its forecast."""
    forecast = isoflop.predict(fit, flops=CHECK, task=task)
    sweep = isoflop.plan(task, budgets=[CHECK], runs=runs)
    spec = min(
        sweep.specs, key=lambda spec: abs(math.log(spec.num_params / forecast.size_num_params))
    )
    (run,) = isoflop.train(task, replace(sweep, specs=(spec,)), store=STORE)
    expected = forecast.loss
    verdict = "inside" if expected.low <= run.loss <= expected.high else "OUTSIDE"
    return (
        f"Check at {CHECK:.2g} FLOPs, 3 times the largest budget: "
        f"size {spec.size} was forecast a loss of "
        f"{expected.value:.3f} ({expected.low:.3f} to {expected.high:.3f});\n"
        f"trained, it gives {run.loss:.3f}: {verdict} the interval."
    )


def main() -> None:
    task = demo_task()
    sweep = isoflop.plan(task, budgets=BUDGETS, target=TARGET, forecast=True)
    print(sweep, end="\n\n")
    runs = isoflop.train(task, sweep, store=STORE, executor=isoflop.Processes(2))
    fit = isoflop.fit(runs)
    print(fit, end="\n\n")
    answer = isoflop.predict(fit, flops=TARGET, task=task)
    print(answer)
    print(f"\nReport: {isoflop.report(fit, answer, path=STORE / 'report.html', task=task)}\n")
    print(check(task, fit, runs))


if __name__ == "__main__":
    main()

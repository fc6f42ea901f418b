"""The best width of a mixture of experts: each byte passes through two of eight experts.

Run it as `python examples/moe.py`. N is the active params here: they are what FLOPs follow, so
sizes compare with those of a dense model. Leave `num_params` out for N as all params; both are
counted for every size.
"""

from pathlib import Path

import torch.nn.functional as F

import isoflop
from data.python_source import python_source
from models.moe import MoE

STORE = Path("runs/moe")
BUDGETS = [2e10, 6e10, 2e11]


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def task() -> isoflop.Task:
    train_data, val_data = python_source()
    return isoflop.Task(
        model=MoE,
        size_param="width",
        model_kwargs={"num_experts": 8, "top_k": 2},
        train_data=train_data,
        val_data=val_data,
        loss=loss,
        unit="byte",
        num_params=MoE.num_active_params,
    )


def main() -> None:
    experts = task()
    sweep = isoflop.plan(experts, budgets=BUDGETS)
    print(sweep, end="\n\n")
    runs = isoflop.train(experts, sweep, store=STORE, executor=isoflop.Processes(2))
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=30 * BUDGETS[-1], task=experts)
    print(answer)
    print(f"\nReport: {isoflop.report(fit, answer, path=STORE / 'report.html', task=experts)}")


if __name__ == "__main__":
    main()

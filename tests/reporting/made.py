"""Runs of a known law, for figures, tables and pages."""

import numpy as np

from isoflop.runs import Run, RunSpec

BUDGETS = (1e17, 3e17, 1e18, 3e18)
SCRIPT = "<script>alert(1)</script>"


def make_run(
    num_params,
    num_tokens,
    loss,
    *,
    budget=None,
    status="completed",
    group=None,
    size=None,
    error=None,
    per_token=6,
):
    spent = per_token * num_params * num_tokens
    spec = RunSpec(
        num_params=num_params, num_tokens=num_tokens, flops=spent, budget=budget, size=size
    )
    return Run(
        spec=spec,
        status=status,
        loss=loss,
        num_tokens=num_tokens,
        flops=spent,
        group=group,
        error=error,
    )


def loss_of(num_params, num_tokens):
    return 1.8 + 480 / num_params**0.35 + 2100 / num_tokens**0.37


def make_sweep(**extras):
    """Seven sizes around the best one of each budget, with a little noise."""
    rng, runs = np.random.default_rng(0), []
    for budget in BUDGETS:
        best = 0.17 * (budget / 6) ** 0.51
        for size in best * np.geomspace(1 / 6, 6, 7):
            tokens = budget / 6 / size
            runs.append(
                make_run(
                    size,
                    tokens,
                    loss_of(size, tokens) + rng.normal(0, 0.005),
                    budget=budget,
                    **extras,
                )
            )
    return runs


def tiny_task(**changes):
    """A multilayer perceptron of some widths, which needs torch."""
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    import isoflop

    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(16, width), nn.GELU(), nn.Linear(width, width), nn.Linear(width, 4)
            )

        def forward(self, x):
            return self.layers(x)

    data = TensorDataset(torch.randn(64, 16), torch.zeros(64, dtype=torch.long))
    widths = [round(32 * 2 ** (k / 2)) for k in range(16)]
    settings = {"size_param": "width", "sizes": widths, "train_data": data, "val_data": data}
    return isoflop.Task(model=Net, loss=nn.functional.cross_entropy, **{**settings, **changes})

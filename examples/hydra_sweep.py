"""A sweep that is configured with Hydra, alone or under torchrun.

    python examples/hydra_sweep.py model=llama 'budgets=[2e10,6e10]' recipe.seeds=[0,1]
    python examples/hydra_sweep.py executor=slurm:gpu
    torchrun --nproc_per_node=2 examples/hydra_sweep.py

The configuration is composed here, without `@hydra.main`: no folder per process, no change of the
working folder, and options of torchrun reach torchrun. isoflop gets plain values; the store is the
one output folder. Needs `pip install "isoflop[hydra]"`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import isoflop
import train_gpt
from isoflop.training.executors.from_string import executor_from

CONFIG = Path(__file__).resolve().parent / "config"


def configuration(overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as plain values."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        values = OmegaConf.to_container(
            compose("hydra_sweep", overrides=list(overrides)), resolve=True
        )
    return values


def task_of(config: dict[str, Any]) -> isoflop.Task:
    recipe = {**config["recipe"], "seeds": tuple(config["recipe"]["seeds"])}
    return replace(
        train_gpt.task(config["model"]["family"], config["corpus"]), recipe=isoflop.Recipe(**recipe)
    )


def main(overrides: Sequence[str]) -> None:
    config = configuration(overrides)
    rank = int(os.environ.get("RANK", "0"))  # set by torchrun
    task = task_of(config)
    sweep = isoflop.plan(task, budgets=config["budgets"])
    if rank == 0:
        print(sweep)
        store = Path(config["store"])
        store.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, store / "config.yaml")
    default = "in-process" if "WORLD_SIZE" in os.environ else "processes"
    executor = executor_from(config["executor"] or default)
    runs = isoflop.train(task, sweep, store=config["store"], executor=executor)
    if rank == 0:
        print(isoflop.predict(isoflop.fit(runs), flops=config["target"], task=task))


if __name__ == "__main__":
    main(sys.argv[1:])

"""export_run(): the recommended run, as a file that a training program reads."""

import os
from pathlib import Path

from isoflop.answers.predict import Optimum
from isoflop.counting.sizes_of import sizes_of
from isoflop.errors import DataError
from isoflop.family import Family
from isoflop.planning.specs import make_spec
from isoflop.reporting.json_output import to_json
from isoflop.runs import RunSpec
from isoflop.storage.atomic import write_text
from isoflop.task import Task

__all__ = ["export_run", "final_run"]

SCHEMA = 1


def final_run(task: Task | Family, optimum: Optimum) -> RunSpec:
    """The recommended run by the task's recipe: size, tokens, batch, learning rate and the rest.

    Raises DataError for an answer of `predict` without a task.
    """
    if optimum.size is None or optimum.size_num_tokens is None:
        raise DataError(
            "A final run needs a size that can be built; use predict(..., task=task) (--task)."
        )
    sizes = sizes_of(task)
    return make_spec(
        sizes,
        sizes.supply,
        sizes.fingerprint,
        sizes.count(optimum.size),
        optimum.size_num_tokens,
        seed=sizes.recipe.seeds[0],
    )


def export_run(task: Task | Family, optimum: Optimum, path: str | os.PathLike[str]) -> Path:
    """Write the recommended run as JSON, with its number of steps and the answer; return the path.

    Raises DataError for an answer of `predict` without a task, StoreError where the file cannot be
    written.
    """
    return write_text(path, to_json(_values(task, optimum)) + "\n")


def _values(task: Task | Family, optimum: Optimum) -> dict[str, object]:
    spec = final_run(task, optimum)
    # per step, as training programs take it
    ema_decay = None if spec.ema is None else max(0.0, 1 - 1 / (spec.ema * spec.num_steps))
    size = {"size_param": task.size_param} if isinstance(task.size_param, str) else {}
    return {
        "schema": SCHEMA,
        **size,
        "size": spec.size,
        "num_params": spec.num_params,
        "num_tokens": spec.num_tokens,
        "flops": spec.flops,
        "steps": round(spec.num_steps),
        "batch": spec.batch,
        "step_tokens": spec.step_tokens,
        "lr": spec.lr,
        "beta1": spec.beta1,
        "beta2": spec.beta2,
        "weight_decay": spec.weight_decay,
        "warmup": spec.warmup,
        "schedule": spec.schedule,
        "cooldown": spec.cooldown,
        "clip": spec.clip,
        "precision": spec.precision,
        "ema": spec.ema,
        "ema_decay": ema_decay,
        "epochs": spec.epochs,
        "seed": spec.seed,
        "unit": optimum.unit,
        "answer": optimum,
    }

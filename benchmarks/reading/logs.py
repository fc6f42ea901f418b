"""Seconds to read 100,000 logged lines of each tracker, written by the tracker's own library.

    python benchmarks/reading/logs.py [--write]

20 runs of 5,000 lines, each line with a training loss, tokens and two more numbers, and a held-out
loss every hundredth. Trackers that are not installed are skipped.
"""

import csv
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "executors"))

import yaml
from report import publish, table

from isoflop.storage.tables import read_runs

RUNS, LINES = 20, 5_000
TARGET = 10.0
COLUMNS = {"params": "config.n_params", "tokens": "tokens", "loss": "eval/loss"}
Row = dict[str, float]


def settings(run: int) -> dict[str, float]:
    return {"n_params": 1e7 * 1.2**run, "lr": 3e-4}


def rows(run: int) -> Iterator[tuple[int, Row]]:
    """(step, what is logged there)."""
    for step in range(1, LINES + 1):
        loss = 2 + 3 / step**0.3 + 1 / (run + 1)
        row = {"train/loss": loss, "tokens": 1e5 * step, "lr": 3e-4, "grad_norm": 1 / loss}
        yield step, row | ({"eval/loss": loss + 0.02} if step % 100 == 0 else {})


def write_wandb(folder: Path) -> Path:
    import wandb

    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    options = wandb.Settings(console="off", x_disable_stats=True)
    for run in range(RUNS):
        one = wandb.init(project="p", dir=str(folder), config=settings(run), settings=options)
        for _, row in rows(run):
            one.log(row)
        one.finish()
    time.sleep(5)  # files are written after `finish` returns
    return folder / "wandb"


def write_mlflow(folder: Path) -> Path:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    logging.disable()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    for run in range(RUNS):
        id = client.create_run("0", run_name=f"run{run}").info.run_id
        params = [Param(name, str(value)) for name, value in settings(run).items()]
        client.log_batch(id, params=params)
        metrics = [
            Metric(name, value, step, step)
            for step, row in rows(run)
            for name, value in row.items()
        ]
        for start in range(0, len(metrics), 1000):
            client.log_batch(id, metrics=metrics[start : start + 1000])
        client.set_terminated(id)
    return folder / "mlflow.db"


def write_tensorboard(folder: Path) -> Path:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in range(RUNS):
        file = EventFileWriter(str(folder / f"run{run}"))
        for step, row in rows(run):
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in row.items()]
            file.add_event(Event(wall_time=step, step=step, summary=Summary(value=values)))
        file.close()
        (folder / f"run{run}" / "config.json").write_text(json.dumps(settings(run)))
    return folder


def write_trainer(folder: Path) -> Path:
    for run in range(RUNS):
        names = {"train/loss": "loss", "eval/loss": "eval_loss"}
        log = [
            {names.get(name, name): value for name, value in row.items()} | {"step": step}
            for step, row in rows(run)
        ]
        state = {"global_step": LINES, "max_steps": LINES, "log_history": log}
        (folder / f"run{run}").mkdir()
        (folder / f"run{run}" / "trainer_state.json").write_text(json.dumps(state))
        (folder / f"run{run}" / "config.json").write_text(json.dumps(settings(run)))
    return folder


def write_lightning(folder: Path) -> Path:
    for run in range(RUNS):
        version = folder / f"version_{run}"
        version.mkdir()
        with open(version / "metrics.csv", "w", newline="") as file:
            names = ["step", "train/loss", "tokens", "lr", "grad_norm", "eval/loss"]
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in rows(run))
        (version / "hparams.yaml").write_text(yaml.safe_dump(settings(run)))
    return folder


def write_json_lines(folder: Path) -> Path:
    with open(folder / "log.jsonl", "w") as file:
        for run in range(RUNS):
            for step, row in rows(run):
                line = {"run": run, "config": settings(run), "step": step, **row}
                file.write(f"{json.dumps(line)}\n")
    return folder / "log.jsonl"


TRACKERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "Weights & Biases, offline": ("wandb", write_wandb),
    "MLflow, SQLite": ("mlflow", write_mlflow),
    "TensorBoard": ("tensorboard", write_tensorboard),
    "Hugging Face Trainer": ("json", write_trainer),
    "Lightning": ("yaml", write_lightning),
    "JSON lines": ("json", write_json_lines),
}


def measured(write: Callable[[Path], Path]) -> tuple[str, str]:
    """Seconds by the clock and of the processor; imports of the tracker's library are included."""
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder))
        begin, used = time.perf_counter(), time.process_time()
        runs = read_runs(source, columns=COLUMNS)
        taken, used = time.perf_counter() - begin, time.process_time() - used
    assert len(runs) == RUNS
    assert all(run.status == "completed" and len(run.curve) > 500 for run in runs)
    return f"{taken:.1f} s", f"{used:.1f} s"


def main() -> None:
    found = [("log", "by the clock", "on the processor", "target")]
    for name, (package, write) in TRACKERS.items():
        if importlib.util.find_spec(package) is not None:
            found.append((name, *measured(write), f"{TARGET:g} s"))
    about = (
        f"{RUNS} runs of {LINES:,} logged lines each, with four or five numbers in a line. The "
        f"load average was {os.getloadavg()[0]:.0f}: the target is for a machine without other "
        "work, on which the two times agree."
    )
    title = "Reading 100,000 logged lines"
    publish("reading-logs", title, [about, table(found)], "--write" in sys.argv)


if __name__ == "__main__":
    main()

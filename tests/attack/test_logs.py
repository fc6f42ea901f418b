"""Logs of trackers that were spoilt: runs, or one sentence; nothing that lies in them is executed."""

import importlib.util
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attack import rule
from isoflop.errors import IsoflopError
from isoflop.runs import Run
from isoflop.storage.tables import read_runs
from storage.readers.recorded import COLUMNS, STEPS, sweep

SHORT = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
WILD = [
    None, True, [], {}, [1], {"a": {"b": None}}, "", "NaN", "-Infinity", "1e400", "x" * 500, "\x1b[2J", -1, 0, 1e400,
    10**400, "=1+1", float("nan"), "1,300", "350M",
]  # fmt: skip
"""Values that nobody logs on purpose."""


def json_lines(folder, one, row):
    lines = [
        {"run": one.name, "config": one.config, "step": k, **row(k)} for k in range(1, STEPS + 1)
    ]
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def trainer(folder, one, row):
    log = [{"step": step, **row(step)} for step in range(1, STEPS + 1)]
    state = {"global_step": STEPS, "max_steps": STEPS, "log_history": log}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "config.json").write_text(json.dumps(one.config))


def lightning(folder, one, row):
    names = ["step", "train/loss", "tokens", "eval/loss"]
    rows = [{"step": step, **row(step)} for step in range(1, STEPS + 1)]
    cells = [",".join(str(each.get(name, "")) for name in names) for each in rows]
    (folder / "metrics.csv").write_text("\n".join([",".join(names), *cells]))
    (folder / "hparams.yaml").write_text(f"n_params: {one.params}\nmodel:\n  depth: 12\n")


def events(folder, one, row):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    file = EventFileWriter(str(folder))
    for step in range(1, STEPS + 1):
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in row(step).items()]
        file.add_event(Event(wall_time=step, step=step, summary=Summary(value=values)))
    file.close()
    (folder / "config.json").write_text(json.dumps(one.config))


WRITERS = [json_lines, trainer, lightning]
if importlib.util.find_spec("tensorboard") is not None:
    WRITERS.append(events)


def check(folder):
    found = rule.outcome(lambda: read_runs(folder, columns=COLUMNS))
    assert isinstance(found, IsoflopError) or all(isinstance(run, Run) for run in found)


@pytest.mark.parametrize("write", WRITERS)
@SHORT
@given(
    share=st.floats(0, 0.999), bits=st.integers(1, 255), cut=st.booleans(), which=st.integers(0, 5)
)
def test_files_with_a_changed_byte_or_cut_off_are_read_or_refused(
    tmp_path_factory, write, share, bits, cut, which
):
    folder = tmp_path_factory.mktemp("log")
    one = sweep()[0]
    write(folder, one, one.row)
    files = sorted(folder.iterdir())
    file = files[which % len(files)]
    data = bytearray(file.read_bytes())
    place = int(share * len(data))
    data[place] ^= bits
    file.write_bytes(data[:place] if cut else data)
    check(folder)


@pytest.mark.parametrize("write", [json_lines, trainer, lightning])
@SHORT
@given(
    value=st.sampled_from(WILD),
    name=st.sampled_from(["train/loss", "tokens", "eval/loss", "step"]),
    step=st.integers(1, STEPS),
)
@example(value="NaN", name="tokens", step=STEPS)
@example(value=10**400, name="step", step=STEPS)
@example(value=0, name="tokens", step=STEPS)
def test_values_that_nobody_logs_are_read_or_refused(tmp_path_factory, write, value, name, step):
    folder = tmp_path_factory.mktemp("log")
    one = sweep()[0]
    write(folder, one, lambda k: one.row(k) | ({name: value} if k == step else {}))
    check(folder)


@pytest.mark.parametrize("value", WILD)
def test_settings_that_nobody_makes_are_read_or_refused(tmp_path, value):
    one = sweep()[0]
    trainer(tmp_path, one, one.row)
    (tmp_path / "config.json").write_text(
        json.dumps({"n_params": value, "\x1b[2J": value, "a": {"": value}})
    )
    check(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a":' * 300 + "1" + "}" * 300,
        "\x00" * 100,
        "null\n" * 3,
        "\n\n",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "log.jsonl",
        "log.json",
        "trainer_state.json",
        "metrics.csv",
        "events.out.tfevents.1",
        "run-a.wandb",
        "meta.yaml",
        "mlflow.db",
        "config.json",
    ],
)
def test_files_of_other_contents_are_read_or_refused(tmp_path, name, text):
    one = sweep()[0]
    if name == "config.json":
        trainer(tmp_path, one, one.row)
    (tmp_path / name).write_text(text)
    check(tmp_path)
    check(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["log.jsonl", "trainer_state.json", "metrics.csv", "meta.yaml", "mlflow.db"]
)
def test_folders_and_links_with_the_names_of_files_are_no_files(tmp_path, name):
    (tmp_path / name).mkdir()
    check(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).symlink_to(tmp_path / "nowhere")
    check(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "wandb:\x1b[2J",
        "wandb:" + "a" * 1000,
        "mlflow:",
        "mlflow:#",
        "mlflow:nowhere",
        "#",
        "a#b",
        "wandb:a/b#c",
    ],
)
def test_addresses_of_nothing_are_refused(source):
    assert isinstance(rule.outcome(lambda: read_runs(source)), IsoflopError)

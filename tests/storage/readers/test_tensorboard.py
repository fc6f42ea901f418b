import json
import sys

import pytest

pytest.importorskip("tensorboard", reason="needs isoflop[tensorboard]")

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from isoflop.errors import InstallError
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import COLUMNS, STEPS, check, check_answer, check_curve, sweep


class Writer:
    """Events of a folder, written by TensorBoard's own writer."""

    def __init__(self, folder):
        self.file = EventFileWriter(str(folder))
        self.time = 1e9

    def add(self, summary, step=0):
        self.time += 1
        self.file.add_event(Event(wall_time=self.time, step=step, summary=summary))

    def scalar(self, tag, value, step):
        self.add(Summary(value=[Summary.Value(tag=tag, simple_value=value)]), step)

    def settings(self, config):
        self.add(hparams.hparams_pb(config))


def write(folder, one, *, steps=range(1, STEPS + 1), settings=True, every=1):
    writer = Writer(folder)
    if settings:
        writer.settings({"n_params": one.params, "optimizer": "adamw", "tied": True})
    for step in steps:
        for tag, value in one.row(step).items():
            writer.scalar(tag, value, step)
    return writer


def test_folders_of_events_are_runs(tmp_path):
    recorded = sweep()
    for one in recorded:
        write(tmp_path / one.name, one).file.close()
    runs = read_runs(tmp_path, columns=COLUMNS)

    check(runs, recorded)
    assert {run.group for run in runs} == {one.name for one in recorded}
    check_answer(runs)


def test_a_run_may_be_read_alone_by_its_folder_or_its_file(tmp_path):
    one = sweep()[0]
    write(tmp_path / one.name, one).file.close()
    (file,) = (tmp_path / one.name).iterdir()

    check(read_runs(tmp_path / one.name, columns=COLUMNS), [one])
    check(read_runs(file, columns=COLUMNS), [one])


def test_settings_may_stand_in_a_json_file_beside_the_events(tmp_path):
    recorded = sweep()
    for one in recorded:
        write(tmp_path / one.name, one, settings=False).file.close()
        (tmp_path / one.name / "run_info.json").write_text(json.dumps(one.config))

    check(read_runs(tmp_path, columns=COLUMNS), recorded)


@pytest.mark.train
def test_hparams_of_pytorch_in_a_folder_below_belong_to_the_run(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    recorded = sweep()
    for one in recorded:
        with SummaryWriter(tmp_path / one.name) as writer:
            for step in range(1, STEPS + 1):
                for tag, value in one.row(step).items():
                    writer.add_scalar(tag, value, step)
            writer.add_hparams({"n_params": one.params}, {"hparam/loss": one.loss})

    check(read_runs(tmp_path, columns=COLUMNS), recorded)


def test_folders_of_keras_are_one_run_and_its_losses_are_counted_in_epochs(tmp_path):
    recorded = sweep()
    for one in recorded:
        train = Writer(tmp_path / one.name / "train")
        validation = Writer(tmp_path / one.name / "validation")
        train.settings({"n_params": one.params})
        for step in range(1, STEPS + 1):
            validation.time = train.time
            for tag in ("loss", "tokens"):
                value = one.train_loss(step) if tag == "loss" else one.tokens_at(step)
                train.add(scalar_pb(tag, value), step)
            if step % 10 == 0:
                validation.add(scalar_pb("epoch_loss", one.eval_loss(step)), step // 10 - 1)
        train.file.close()
        validation.file.close()
    columns = {"params": "n_params", "tokens": "train/tokens", "loss": "validation/epoch_loss"}
    table = read_table(tmp_path, columns={**columns, "train_loss": "train/loss"})

    check(table.runs, recorded)
    assert [note.code for note in table.notes] == []


def test_a_run_that_was_resumed_goes_on_from_its_checkpoint(tmp_path):
    one = sweep()[0]
    for number, steps in enumerate((range(1, 26), range(21, STEPS + 1))):
        writer = Writer(tmp_path / one.name)
        writer.time += 1000 * number
        writer.settings({"n_params": one.params})
        for step in steps:
            for tag, value in one.row(step).items():
                writer.scalar(tag, value, step)
        writer.file.close()
        for file in (tmp_path / one.name).glob("*.v2"):
            file.rename(file.with_name(f"{file.name}.{number}"))

    check(read_runs(tmp_path, columns=COLUMNS), [one])


def test_a_run_that_was_resumed_in_a_new_folder_is_joined(tmp_path):
    one, other = sweep()[:2]
    write(tmp_path / "version_0", one, steps=range(1, 21)).file.close()
    resumed = write(tmp_path / "version_1", one, steps=range(21, 22))
    resumed.time += 1000
    for step in range(22, STEPS + 1):
        for tag, value in one.row(step).items():
            resumed.scalar(tag, value, step)
    resumed.file.close()
    write(tmp_path / "version_2", other).file.close()
    table = read_table(tmp_path, columns=COLUMNS)

    check(table.runs, [one, other])
    (note,) = (note for note in table.notes if note.code == "resumed-runs")
    assert note == "1 run was resumed; the parts are read as one run each."


def test_a_run_whose_hparams_say_that_it_failed_is_no_data(tmp_path):
    first, second = sweep()[:2]
    for one, status in ((first, 1), (second, 2)):
        writer = write(tmp_path / one.name, one)
        end = hparams._summary_pb(
            "_hparams_/session_end_info",
            hparams.plugin_data_pb2.HParamsPluginData(
                session_end_info=hparams.plugin_data_pb2.SessionEndInfo(status=status)
            ),
        )
        writer.add(end)
        writer.file.close()

    runs = {run.group: run for run in read_runs(tmp_path, columns=COLUMNS)}
    check([runs[first.name]], [first])
    assert (runs[second.name].status, runs[second.name].error) == (
        "failed",
        "its state is 'failed'",
    )


def test_a_loss_from_before_the_end_is_noted(tmp_path):
    one, other = sweep()[:2]
    writer = Writer(tmp_path / one.name)
    writer.settings({"n_params": one.params})
    for step in range(1, STEPS + 1):
        row = one.row(step)
        for tag, value in row.items():
            if tag != "eval/loss" or step <= 20:
                writer.scalar(tag, value, step)
    writer.file.close()
    write(tmp_path / other.name, other).file.close()
    table = read_table(tmp_path, columns=COLUMNS)

    failed = next(run for run in table.runs if run.group == one.name)
    assert (failed.status, failed.error) == ("failed", "its last loss is from step 20 of 40")
    check_curve(failed, one)
    assert any("step 20 of 40" in note for note in table.notes)


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    write(tmp_path / "run", sweep()[0]).file.close()
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InstallError, match=r"pip install 'isoflop\[tensorboard\]'"):
        read_runs(tmp_path, columns=COLUMNS)

import csv
import sys

import pytest

from isoflop.errors import DataError, InstallError
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import COLUMNS, STEPS, check, check_answer, sweep

yaml = pytest.importorskip("yaml", reason="needs isoflop[lightning]")


def write(folder, one, steps=range(1, STEPS + 1)):
    """The files of a version as Lightning's CSVLogger writes them: a row for each logged step."""
    folder.mkdir(parents=True)
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "step", "train/loss", "tokens", "eval/loss"])
        writer.writeheader()
        for step in steps:
            row = one.row(step)
            held_out = row.pop("eval/loss", None)
            writer.writerow({"epoch": 0, "step": step, **row})
            if held_out is not None:
                writer.writerow({"epoch": 0, "step": step, "eval/loss": held_out})
    (folder / "hparams.yaml").write_text(yaml.safe_dump(one.config))


def test_versions_are_runs(tmp_path):
    recorded = sweep()
    for number, one in enumerate(recorded):
        write(tmp_path / "lightning_logs" / f"version_{number}", one)
    for path in (tmp_path, tmp_path / "lightning_logs"):
        runs = read_runs(path, columns=COLUMNS)
        check(runs, recorded)
        assert [run.num_params for run in runs] == [one.params for one in recorded]
    assert runs[11].group == "version_11"
    check_answer(runs)


def test_a_version_may_be_read_alone(tmp_path):
    one = sweep()[0]
    write(tmp_path / "version_0", one)

    check(read_runs(tmp_path / "version_0", columns=COLUMNS), [one])
    check(read_runs(tmp_path / "version_0" / "metrics.csv", columns=COLUMNS), [one])


def test_a_version_that_goes_on_from_another_is_joined_and_seeds_are_not(tmp_path):
    one, *others = sweep()
    write(tmp_path / "version_0", one, range(1, 26))
    write(tmp_path / "version_1", one, range(21, STEPS + 1))
    for number, other in enumerate([*others, one], start=2):
        write(tmp_path / f"version_{number}", other)
    table = read_table(tmp_path, columns=COLUMNS)

    check(table.runs, [one, *others, one])
    assert [note.code for note in table.notes] == ["resumed-runs"]


def test_objects_in_a_settings_file_are_never_created(tmp_path):
    one = sweep()[0]
    write(tmp_path / "version_0", one)
    mark = tmp_path / "executed"
    (tmp_path / "version_0" / "hparams.yaml").write_text(
        f"n_params: {one.params}\n"
        f"evil: !!python/object/apply:os.system ['touch {mark}']\n"
        f"model: !!python/object:a.Model {{width: 3}}\n"
    )

    check(read_runs(tmp_path, columns=COLUMNS), [one])
    assert not mark.exists()


def test_a_settings_file_that_is_no_yaml_is_refused(tmp_path):
    write(tmp_path / "version_0", sweep()[0])
    (tmp_path / "version_0" / "hparams.yaml").write_text("a: [1\nb: }")
    with pytest.raises(DataError, match=r"hparams\.yaml is no YAML file"):
        read_runs(tmp_path, columns=COLUMNS)


def test_a_row_that_was_cut_off_is_left_out_and_a_damaged_one_is_refused(tmp_path):
    one = sweep()[0]
    write(tmp_path / "version_0", one)
    file = tmp_path / "version_0" / "metrics.csv"
    file.write_text(file.read_text() + "0,41,3.5,1e1e")
    check(read_runs(tmp_path, columns=COLUMNS), [one])

    file.write_text(file.read_text() + "\n0,42,3.5,1,1\n")
    with pytest.raises(DataError, match=r"Row 46 of .*metrics\.csv must hold numbers"):
        read_runs(tmp_path, columns=COLUMNS)


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    write(tmp_path / "version_0", sweep()[0])
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InstallError, match=r"pip install 'isoflop\[lightning\]'"):
        read_runs(tmp_path, columns=COLUMNS)


def test_files_that_lightning_wrote_are_read(tmp_path):
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="needs lightning")
    recorded = sweep()
    for one in recorded:
        logger = loggers.CSVLogger(tmp_path)
        logger.log_hyperparams(one.config)
        for step in range(1, STEPS + 1):
            logger.log_metrics(one.row(step), step)
        logger.save()

    check(read_runs(tmp_path / "lightning_logs", columns=COLUMNS), recorded)

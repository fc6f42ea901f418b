"""Logs of trackers on the command line, as a CSV; and what all readers share."""

import json
import os
import sys
from types import SimpleNamespace

import pytest

import isoflop
from isoflop.errors import DataError
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.readers import find
from isoflop.storage.tables import read_runs
from storage.readers.recorded import COLUMNS, LAW, STEPS, check, sweep
from storage.readers.test_json_lines import rows_of, write_lines
from storage.readers.test_lightning_logs import write as write_version
from storage.readers.test_wandb_runs import ApiRun

OPTIONS = [word for field, name in COLUMNS.items() for word in ("--column", f"{field}={name}")]


@pytest.fixture
def versions(tmp_path):
    for number, one in enumerate(sweep()):
        write_version(tmp_path / "lightning_logs" / f"version_{number}", one)
    return tmp_path / "lightning_logs"


def test_a_folder_of_logs_is_fitted_as_a_table(run, versions):
    code, out, err = run("fit", versions, *OPTIONS, "--target", "1e20", "--json")
    best = json.loads(out)["optimum"]["num_params"]

    assert (code, err) == (0, "")
    assert best["low"] < LAW.optimum(1e20)[0] < best["high"]
    assert (
        best["value"]
        == isoflop.predict(
            isoflop.fit(read_runs(versions, columns=COLUMNS)), flops=1e20
        ).num_params.value
    )


def test_options_may_be_named_as_the_argument_of_python(run, versions):
    options = ["--columns" if word == "--column" else word for word in OPTIONS]
    code, out, _ = run("predict", versions, *options, "--flops", "1e20")

    assert code == 0
    assert "Compute-optimal at 1e+20 FLOPs" in out


def test_a_project_is_fitted_by_its_address_with_the_notes_of_its_reading(run, monkeypatch):
    recorded = sweep()
    runs = [ApiRun(one) for one in recorded]
    for row in runs[0].rows[38:]:
        row.pop("eval/loss", None)
    runs[0].rows[37]["eval/loss"] = recorded[0].eval_loss(38)
    api = type("Api", (), {"runs": lambda self, path: runs})
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=api))
    code, out, _ = run("fit", "wandb:team/sweep", *OPTIONS)
    words = " ".join(out.split())

    assert code == 0
    assert f"The loss is from step 38 of 40 in {recorded[0].name}." in words
    assert "FLOPs are 6·N·D in every row" in words


def test_a_column_that_is_missing_is_refused_with_those_that_there_are(run, versions):
    code, out, err = run("fit", versions, "--column", "params=n_parms")

    assert (code, out) == (2, "")
    assert "has no column 'n_parms'" in err
    assert "config.n_params" in err


@pytest.mark.parametrize(
    "name", ["n_params", "params.n_params", "hparams/n_params", "config.n_params"]
)
def test_a_setting_may_be_named_as_in_any_tracker(versions, name):
    check(read_runs(versions, columns={**COLUMNS, "params": name}), sweep())
    scaled = {**COLUMNS, "params": f"{name} * 1", "loss": "metrics.eval/loss"}
    check(read_runs(versions, columns=scaled), sweep())


def test_metrics_and_other_fields_may_be_named(versions):
    columns = {**COLUMNS, "size": "model.depth", "training": "train/loss"}
    runs = read_runs(versions, columns=columns)

    assert {run.size for run in runs} == {12}
    assert runs[0].metrics == {"training": pytest.approx(sweep()[0].train_loss(STEPS))}


def test_two_losses_are_refused_until_one_is_named(tmp_path):
    rows = [{**row, "val_loss": 3.0, "eval_loss": 3.1} for one in sweep() for row in rows_of(one)]
    path = write_lines(tmp_path / "log.jsonl", rows)
    with pytest.raises(DataError, match="several columns that could be the loss"):
        read_runs(path, columns={"params": "n_params", "tokens": "tokens"})


def test_a_store_is_a_store_whatever_its_runs_logged(tmp_path):
    spec = isoflop.RunSpec(num_params=1e6, num_tokens=2e7, flops=1.2e14)
    run = isoflop.Run(spec=spec, status="completed", loss=4.5, num_tokens=2e7, flops=1.2e14)
    DirectoryStore(tmp_path).write_run(run)
    write_lines(tmp_path / "tracking" / "log.jsonl", rows_of(sweep()[0]))

    assert read_runs(tmp_path) == [run]


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "_MOST_FILES", 30)
    for number, one in enumerate(sweep()):
        write_lines(tmp_path / f"{number}" / "log.jsonl", rows_of(one))
    check(read_runs(tmp_path, columns=COLUMNS), sweep())
    for number in range(10):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(DataError, match="must hold fewer than 30 files"):
        read_runs(tmp_path, columns=COLUMNS)


def test_links_and_hidden_folders_are_not_followed(tmp_path):
    one, other = sweep()[:2]
    write_lines(tmp_path / "runs" / one.name / "log.jsonl", rows_of(one))
    write_lines(tmp_path / "runs" / ".trash" / "log.jsonl", rows_of(other))
    os.symlink(tmp_path, tmp_path / "runs" / "around")

    check(read_runs(tmp_path / "runs", columns=COLUMNS), [one])


def test_runs_of_a_plan_are_joined_to_it_by_the_id_among_their_settings(tmp_path):
    recorded = sweep()
    specs = [
        isoflop.RunSpec(num_params=one.params, num_tokens=one.tokens, flops=1e20, size=number)
        for number, one in enumerate(recorded)
    ]
    for one, spec in zip(recorded, specs, strict=True):
        rows = [row | {"config": one.config | {"id": spec.id}} for row in rows_of(one)]
        write_lines(tmp_path / f"{one.name}.jsonl", rows)
    runs = read_runs(tmp_path, columns=COLUMNS, specs=specs)

    assert sorted(run.size for run in runs) == list(range(len(specs)))
    assert all(run.curve and run.id in {spec.id for spec in specs} for run in runs)


def test_a_scheduled_learning_rate_is_no_setting_and_one_among_the_settings_is(tmp_path):
    def write(**settings):
        rows = [
            row | {"lr": 3e-4 * (1.1 - row["step"] / STEPS), "config": one.config | settings}
            for one in sweep()
            for row in rows_of(one)
        ]
        return write_lines(tmp_path / "log.jsonl", rows)

    assert {run.spec.lr for run in read_runs(write(), columns=COLUMNS)} == {None}
    runs = read_runs(write(learning_rate=3e-4, seed=5), columns=COLUMNS)
    assert {(run.spec.lr, run.spec.seed) for run in runs} == {(3e-4, 5)}
    runs = read_runs(write(), columns={**COLUMNS, "lr": "lr"})
    assert [run.spec.lr for run in runs] == pytest.approx([3e-5] * len(runs))

import shutil
import sqlite3
import sys

import pytest

from isoflop.errors import DataError, InstallError, StoreError
from isoflop.storage.readers import mlflow_store
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import COLUMNS, STEPS, check, check_answer, check_curve, sweep

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own code, while it records
MAPPING = {"params": "params.n_params", "tokens": "metrics.tokens", "loss": "metrics.eval/loss"}
"""The names of `mlflow.search_runs`."""


def record(
    client, experiment, one, steps=range(1, STEPS + 1), *, status="FINISHED", run_id=None, row=None
):
    """A run, or a part of one, with MLflow's own client; every step takes a second."""
    from mlflow.entities import Metric, Param

    if run_id is None:
        run = client.create_run(experiment, run_name=one.name, start_time=0)
        run_id = run.info.run_id
        client.log_batch(run_id, params=[Param("n_params", str(one.params)), Param("opt", "adamw")])
    metrics = [
        Metric(name, value, 1000 * step, step)
        for step in steps
        for name, value in (row or one.row)(step).items()
    ]
    client.log_batch(run_id, metrics=metrics)
    if status:
        client.set_terminated(run_id, status)
    return run_id


def record_all(address):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=address)
    good = client.create_experiment("good")
    for one in sweep():
        record(client, good, one)

    states = client.create_experiment("states")
    finished, failed, killed, running, diverged, resumed, early = sweep()[:7]
    record(client, states, finished)
    record(client, states, failed, range(1, 21), status="FAILED")
    record(client, states, killed, range(1, 21), status="KILLED")
    record(client, states, running, range(1, 21), status="")

    def nan(step):
        return {**diverged.row(step), "eval/loss": float("nan")}

    record(client, states, diverged, status="FAILED", row=nan)
    part = record(client, states, resumed, range(1, 26), status="FAILED")
    record(client, states, resumed, range(21, STEPS + 1), run_id=part)

    def short(step):
        return {k: v for k, v in early.row(step).items() if k != "eval/loss" or step <= 20}

    record(client, states, early, row=short)

    once = client.create_experiment("once")
    for one in sweep():
        run_id = record(
            client, once, one, row=lambda step, one=one: {"tokens": one.tokens_at(step)}, status=""
        )
        client.log_metric(run_id, "eval/loss", one.loss, timestamp=1000 * STEPS)  # without a step
        client.set_terminated(run_id)


@pytest.fixture(scope="module", params=["mlflow.db", "mlruns"])
def store(request, tmp_path_factory):
    """An SQLite file, or the folders of older versions, with runs that MLflow recorded."""
    pytest.importorskip("mlflow", reason="needs isoflop[mlflow]")
    path = tmp_path_factory.mktemp("tracking") / request.param
    if request.param == "mlruns":
        with mlflow_store._folders_allowed():
            record_all(str(path))
    else:
        pytest.importorskip("sqlalchemy", reason="needs isoflop[mlflow]")
        record_all(f"sqlite:///{path}")
    return path


@pytest.mark.parametrize("columns", [COLUMNS, MAPPING])
def test_the_runs_of_an_experiment_are_read(store, columns):
    runs = read_runs(f"{store}#good", columns=columns)

    check(runs, sweep())
    assert {run.group for run in runs} == {one.name for one in sweep()}
    check_answer(runs)


def test_a_store_is_found_in_the_folder_around_it_and_is_not_written_to(store):
    before = {file: file.stat().st_mtime_ns for file in store.parent.rglob("*")}
    check(read_runs(f"{store.parent}#good", columns=COLUMNS), sweep())
    check(read_runs(f"mlflow:{store}#good", columns=COLUMNS), sweep())

    assert {file: file.stat().st_mtime_ns for file in store.parent.rglob("*")} == before


def test_several_experiments_are_refused_until_one_is_named(store):
    with pytest.raises(DataError, match=rf"has 'good', 'once' and 'states'; .*{store.name}#good"):
        read_runs(store, columns=COLUMNS)
    with pytest.raises(DataError, match="must have runs of 'bad', but it has 'good'"):
        read_runs(f"{store}#bad", columns=COLUMNS)


def test_states_resumed_runs_and_early_ends_are_seen(store):
    table = read_table(f"{store}#states", columns=COLUMNS)
    runs = {run.group: run for run in table.runs}
    finished, failed, killed, running, diverged, resumed, early = sweep()[:7]

    check([runs[finished.name], runs[resumed.name]], [finished, resumed])
    for one, state in ((failed, "failed"), (killed, "killed"), (running, "running")):
        assert runs[one.name].error == f"its state is {state!r}"
    assert runs[diverged.name].status == "diverged"
    assert runs[early.name].error == "its last loss is from step 20 of 40"
    check_curve(runs[early.name], early)
    assert [note.code for note in table.notes] == ["early-end"]


def test_a_loss_that_was_logged_once_without_a_step_is_that_of_the_end(store):
    table = read_table(f"{store}#once", columns=COLUMNS)

    check(table.runs, sweep(), curves=False)
    assert table.notes == ()


def test_an_experiment_may_be_read_by_its_folder(store):
    if store.name != "mlruns":
        pytest.skip("an SQLite file has no folders")
    for folder in store.iterdir():
        if folder.name.isdigit() and "name: good" in (folder / "meta.yaml").read_text():
            check(read_runs(folder, columns=COLUMNS), sweep())


def test_a_database_of_an_older_mlflow_is_refused_with_its_remedy(store, tmp_path):
    if store.name != "mlflow.db":
        pytest.skip("folders have no version")
    old = shutil.copy(store, tmp_path / "mlflow.db")
    database = sqlite3.connect(old)
    with database:
        database.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
    database.close()
    with pytest.raises(StoreError, match=r"mlflow\.db cannot be read .*out-of-date"):
        read_runs(old, columns=COLUMNS)


def test_a_database_of_another_program_is_no_log(tmp_path):
    database = sqlite3.connect(tmp_path / "other.db")
    with database:
        database.execute("CREATE TABLE runs (a)")
    database.close()
    with pytest.raises(DataError, match=r"or \.parquet file, but got other\.db"):
        read_runs(tmp_path / "other.db")


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "meta.yaml").write_text("artifact_location: a\nexperiment_id: '1'\n")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for source in (tmp_path, "mlflow:http://localhost:1"):
        with pytest.raises(InstallError, match=r"pip install 'isoflop\[mlflow\]'"):
            read_runs(source)

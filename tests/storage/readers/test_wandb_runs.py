import sys
import time
from types import SimpleNamespace

import pytest

from isoflop.errors import DataError, InstallError, StoreError
from isoflop.storage.readers.wandb_log import records
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import COLUMNS, STEPS, check, check_answer, check_curve, sweep

pytestmark = pytest.mark.filterwarnings("ignore")  # of wandb's own code, while it records


@pytest.fixture(scope="module")
def wandb():
    return pytest.importorskip("wandb", reason="needs isoflop[wandb]")


@pytest.fixture
def record(wandb, tmp_path):
    """Record a run offline, with wandb itself."""

    def record(
        one, steps=range(1, STEPS + 1), *, exit_code=0, logged=None, given_steps=False, **options
    ):
        run = wandb.init(
            project=options.pop("project", "sweep"),
            dir=str(tmp_path),
            mode="offline",
            name=one.name,
            config=one.config,
            settings=wandb.Settings(
                silent=True, console="off", x_disable_stats=True, disable_git=True
            ),
            **options,
        )
        for step in steps:
            run.log((logged or one.row)(step), step=step if given_steps else None)
        run.finish(exit_code=exit_code)
        wait_for_exit(next((tmp_path / "wandb" / "latest-run").glob("*.wandb")))
        return tmp_path / "wandb"

    return record


def wait_for_exit(file):
    """Wait for the record of a run's exit, which wandb writes after `finish` has returned."""
    from wandb.proto.wandb_internal_pb2 import Record

    for _ in range(500):
        if any(Record.FromString(data).HasField("exit") for data in records(file)):
            return
        time.sleep(0.02)
    raise AssertionError(f"{file} has no record of an exit")


def by_name(runs):
    return {run.group: run for run in runs}


def test_offline_runs_are_read_from_their_folders(record, tmp_path):
    recorded = sweep()
    for one in recorded:
        folder = record(one)
    for path in (folder, tmp_path):
        runs = read_runs(path, columns=COLUMNS)
        check(runs, recorded)
        assert {run.group for run in runs} == {one.name for one in recorded}
    check_answer(runs)

    check(read_runs(folder / "latest-run", columns=COLUMNS), recorded[-1:])
    (file,) = (folder / "latest-run").glob("*.wandb")
    check(read_runs(file, columns=COLUMNS), recorded[-1:])


def test_runs_that_failed_or_were_killed_are_no_data(record):
    good, failed, diverged, killed = sweep()[:4]
    record(good)
    record(failed, range(1, 21), exit_code=1)
    record(
        diverged, exit_code=1, logged=lambda step: {**diverged.row(step), "eval/loss": float("nan")}
    )
    folder = record(killed)
    (file,) = (folder / "latest-run").glob("*.wandb")
    file.write_bytes(file.read_bytes()[:-40])  # before the record of its exit
    runs = by_name(read_runs(folder, columns=COLUMNS))

    check([runs[good.name]], [good])
    assert (runs[failed.name].status, runs[failed.name].error) == (
        "failed",
        "its state is 'failed'",
    )
    assert runs[diverged.name].status == "diverged"
    assert (runs[killed.name].status, runs[killed.name].error) == (
        "failed",
        "its state is 'crashed'",
    )


def test_a_run_that_was_resumed_under_its_id_is_one_run(record):
    one, other = sweep()[:2]
    record(one, range(1, 26), id="abc", resume="allow", exit_code=1)
    record(one, range(26, STEPS + 1), id="abc", resume="allow")  # offline, its steps begin at 0
    table = read_table(record(other), columns=COLUMNS)

    check(table.runs, [one, other])
    assert [note.code for note in table.notes] == ["resumed-runs"]


def test_a_run_that_was_resumed_in_its_group_is_one_run_and_seeds_are_not(record):
    one, other = sweep()[:2]
    record(one, range(1, 26), group="g", given_steps=True, exit_code=1)
    record(one, range(21, STEPS + 1), group="g", given_steps=True)
    record(other, group="g")
    folder = record(other, group="g")

    check(read_runs(folder, columns=COLUMNS), [one, other, other])


def test_nested_values_and_words_for_numbers_are_read(record):
    one = sweep()[0]

    def logged(step):
        return {
            "tokens": one.tokens_at(step),
            "eval": {"loss": float("inf"), "x": "Infinity"},
        }

    folder = record(one, logged=logged)
    (run,) = read_runs(
        folder,
        columns={
            "params": "n_params",
            "tokens": "tokens",
            "loss": "eval.loss",
            "depth": "model.depth",
        },
    )
    assert run.loss != run.loss
    assert run.metrics == {"depth": 12}


def test_several_projects_are_refused_until_one_is_named(record):
    first, second = sweep()[:2]
    record(first, project="a")
    folder = record(second, project="b")
    with pytest.raises(DataError, match="of one project, but wandb has 'a' and 'b'; .* wandb#a"):
        read_runs(folder, columns=COLUMNS)

    check(read_runs(f"{folder}#b", columns=COLUMNS), [second])
    with pytest.raises(DataError, match="must have runs of 'c', but it has 'a' and 'b'"):
        read_runs(f"{folder}#c", columns=COLUMNS)


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(record):
    one = sweep()[0]
    folder = record(one)
    (file,) = (folder / "latest-run").glob("*.wandb")
    whole = file.read_bytes()
    number = len([*records(file)])
    for length in range(7, len(whole), 997):
        file.write_bytes(whole[:length])
        assert len([*records(file)]) < number
    file.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    assert len([*records(file)]) < number


def test_a_log_of_many_blocks_is_read(record):
    one = sweep()[0]
    text = "x" * 50_000  # longer than a block
    folder = record(one, logged=lambda step: {**one.row(step), "text": f"{step}{text}"})

    check(read_runs(folder, columns=COLUMNS), [one])


def test_a_summary_beside_an_empty_log_is_read(wandb, tmp_path):
    folder = tmp_path / "wandb" / "run-20250301_100000-abc"
    (folder / "files").mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    (folder / "files" / "wandb-summary.json").write_text('{"eval/loss": 3.1, "tokens": 1e9}')
    (folder / "files" / "config.yaml").write_text(
        "n_params:\n  desc: null\n  value: 1e8\nwandb_version: 1\n"
    )
    (run,) = read_runs(tmp_path, columns=COLUMNS)

    assert (run.num_params, run.num_tokens, run.loss) == (1e8, 1e9, 3.1)


def test_an_empty_log_is_a_run_that_crashed(record):
    one = sweep()[0]
    folder = record(one)
    (folder / "offline-run-20250301_100000-abc").mkdir()
    (folder / "offline-run-20250301_100000-abc" / "run-abc.wandb").write_bytes(b"")
    empty, run = read_runs(folder, columns=COLUMNS)

    check([run], [one])
    assert (empty.group, empty.error) == ("abc", "its state is 'crashed'")


def test_a_file_of_another_kind_is_refused(wandb, tmp_path):
    (tmp_path / "run-a.wandb").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"run-a\.wandb must be a run file of W&B"):
        read_runs(tmp_path)


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "run-a.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    monkeypatch.setitem(sys.modules, "wandb", None)
    for source in (tmp_path, "wandb:team/sweep"):
        with pytest.raises(InstallError, match=r"pip install 'isoflop\[wandb\]'"):
            read_runs(source)


# -- through the API, with a stand-in that answers as wandb.Api does ----------------------------


class ApiRun:
    """A run of the API: its history has a row only where all requested keys were logged."""

    def __init__(
        self, one, steps=range(1, STEPS + 1), state="finished", id=None, summary=(), group=None
    ):
        self.id, self.name, self.state, self.group = id or one.name, one.name, state, group
        self.config = {**one.config, "_wandb": {"cli_version": "0.31"}}
        self.rows = [{"_step": step, **one.row(step)} for step in steps]
        last = {key: value for row in self.rows for key, value in row.items()}
        self.summary = SimpleNamespace(
            _json_dict={**last, "_wandb": {"runtime": 1}, **dict(summary)}
        )
        self.created_at = f"2025-03-01T10:{steps[0]:02d}:00Z"
        self.scanned = []

    def scan_history(self, keys=None):
        self.scanned.append(keys)
        return ({key: row[key] for key in keys} for row in self.rows if set(keys) <= set(row))


@pytest.fixture
def project(monkeypatch):
    """Let `wandb.Api` answer with the given runs."""

    def project(*runs, fails=None):
        def list_runs(self, path):
            if fails is not None:
                raise fails
            assert path == "team/sweep"
            return list(runs)

        api = type("Api", (), {"runs": list_runs})
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=api))

    return project


def test_a_project_is_read_through_the_api(project):
    recorded = sweep()
    project(*map(ApiRun, recorded))
    runs = read_runs("wandb:team/sweep", columns=COLUMNS)

    check(runs, recorded)
    check_answer(runs)


def test_only_the_history_that_is_needed_is_fetched(project):
    run = ApiRun(sweep()[0])
    project(run)
    read_runs("wandb:team/sweep", columns=COLUMNS)

    assert sorted(key for keys in run.scanned for key in keys if key != "_step") == [
        "eval/loss",
        "tokens",
        "train/loss",
    ]


def test_the_states_of_the_api_decide_which_runs_are_data(project):
    recorded = sweep()
    states = ["crashed", "failed", "killed", "running", *["finished"] * 8]
    project(*(ApiRun(one, state=state) for one, state in zip(recorded, states, strict=True)))
    runs = read_runs("wandb:team/sweep", columns=COLUMNS)

    assert [run.error for run in runs[:4]] == [f"its state is {state!r}" for state in states[:4]]
    check(runs[4:], recorded[4:])


def test_parts_of_a_resumed_run_are_joined_in_the_api_too(project):
    one, other = sweep()[:2]
    project(
        ApiRun(one, range(1, 26), state="crashed", id="a", group="g"),
        ApiRun(one, range(21, STEPS + 1), id="b", group="g"),
        ApiRun(other, id="c", group="g"),
        ApiRun(other, id="d", group="g"),
    )
    runs = read_runs("wandb:team/sweep", columns=COLUMNS)

    check(runs, [one, other, other])
    assert len({run.group for run in runs}) == 3


def test_a_summary_of_the_best_loss_does_not_replace_the_last_one(project):
    one = sweep()[0]
    project(ApiRun(one, summary={"eval/loss": {"min": 0.1}, "train/loss": {"mean": 0.1}}.items()))

    check(read_runs("wandb:team/sweep", columns=COLUMNS), [one])


def test_a_loss_that_ends_before_its_run_is_noted(project):
    one, other = sweep()[:2]
    short = ApiRun(one)
    for row in short.rows[20:]:
        row.pop("eval/loss", None)
    project(short, ApiRun(other))
    table = read_table("wandb:team/sweep", columns=COLUMNS)

    assert table.runs[0].error == "its last loss is from step 20 of 40"
    check_curve(table.runs[0], one)
    assert f"The loss is from step 20 of 40 in {one.name}, which is set aside." in table.notes


@pytest.mark.parametrize("address", ["wandb:", "wandb:a/b/c", "wandb:a/"])
def test_an_address_of_another_form_is_refused(project, address):
    project()
    with pytest.raises(DataError, match="must be written as wandb:entity/project"):
        read_runs(address)


def test_a_project_without_runs_is_refused(project):
    project()
    with pytest.raises(DataError, match="must have runs, but it has no runs"):
        read_runs("wandb:team/sweep")


def test_an_answer_of_the_api_that_fails_is_a_sentence(project):
    project(fails=ValueError("Could not find project sweep\nTraceback"))
    with pytest.raises(
        StoreError, match="cannot be read .ValueError: Could not find project sweep"
    ):
        read_runs("wandb:team/sweep")

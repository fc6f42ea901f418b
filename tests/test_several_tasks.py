"""A store with the runs of two tasks: no law is fitted to both, and each of them can be named."""

import contextlib
from dataclasses import replace

import pytest

import isoflop
from isoflop.reporting.live import live_report
from isoflop.reporting.status import status_text
from isoflop.storage.status import stage_statuses
from tasks import MLP, mlp_task

TASKS = {name: mlp_task(fingerprint=name) for name in ("first", "second")}


def made(mark, scale):
    """Runs of a known law."""
    runs = []
    for flops in (1e15, 3e15, 1e16):
        for num_params in (2e5 * (flops / 1e15) ** 0.5 * factor for factor in (0.5, 1, 2, 4, 8)):
            num_tokens = flops / 6 / num_params
            spec = isoflop.RunSpec(
                num_params=num_params,
                num_tokens=num_tokens,
                flops=flops,
                budget=flops,
                fingerprint=mark,
            )
            loss = scale * (1.7 + 400 / num_params**0.34 + 410 / num_tokens**0.28)
            runs.append(
                isoflop.Run(
                    spec=spec, status="completed", loss=loss, num_tokens=num_tokens, flops=flops
                )
            )
    return runs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = isoflop.DirectoryStore(tmp_path_factory.mktemp("store"))
    for run in [*made("first", 1.0), *made("second", 1.3)]:
        folder.write_spec(run.spec)
        folder.write_run(run)
    return folder


def test_a_fit_of_two_tasks_is_refused_with_how_to_take_one(store):
    with pytest.raises(
        isoflop.DataError, match="one task.*15 runs of first, 15 runs of second.*fingerprint="
    ):
        isoflop.fit(isoflop.read_runs(store))


def test_the_runs_of_a_task_are_read_by_its_fingerprint(store):
    runs = isoflop.read_runs(store.path, fingerprint=isoflop.fingerprint(TASKS["second"]))
    assert len(runs) == 15
    assert {run.spec.fingerprint for run in runs} == {"second"}
    with pytest.raises(
        isoflop.DataError, match="must have runs of the task third, but it has 15 runs of first"
    ):
        isoflop.read_runs(store, fingerprint="third")


def test_runs_of_a_table_go_with_those_of_one_task(store):
    runs = isoflop.read_runs(store, fingerprint="first")
    isoflop.fit(
        [*runs[:8], *(replace(run, spec=replace(run.spec, fingerprint="")) for run in runs[8:])],
        resamples=20,
    )


def test_an_answer_for_another_task_than_the_one_that_was_trained_says_so(store):
    fit = isoflop.fit(
        isoflop.read_runs(store, fingerprint="first"), isoflop.Parametric(), resamples=20
    )
    said = "The runs are not of the task that is named"
    assert not any(
        said in note for note in isoflop.predict(fit, flops=1e17, task=TASKS["first"]).notes
    )
    assert any(
        said in note for note in isoflop.predict(fit, flops=1e17, task=TASKS["second"]).notes
    )


def test_a_plan_leaves_out_the_runs_of_other_tasks(store):
    runs = isoflop.read_runs(store, fingerprint="second")
    told = isoflop.plan(TASKS["first"], budgets=[1e6], runs=runs)
    assert told.specs == isoflop.plan(TASKS["first"], budgets=[1e6]).specs
    assert "15 of the runs so far are of another task and are left out." in told.notes


def test_a_live_page_of_both_gives_no_answer_but_the_reason(store, tmp_path):
    live_report(tmp_path / "page.html", target=1e17, runs=store.read_runs())
    assert "fit needs runs of one task" in (tmp_path / "page.html").read_text()


def test_comparing_needs_the_two_apart(store):
    first, second = (isoflop.read_runs(store, fingerprint=mark) for mark in TASKS)
    assert isoflop.compare(first, second, flops=1e17, resamples=20).loss.value > 0
    with pytest.raises(isoflop.DataError, match="one task"):
        isoflop.compare(store.read_runs(), second, flops=1e17, resamples=20)


def test_the_status_of_a_store_tells_of_both(store):
    assert "of 2 tasks (15 runs of first, 15 runs of second)" in status_text(stage_statuses(store))


def test_a_store_notes_both_tasks(tmp_path):
    store = isoflop.DirectoryStore(tmp_path)
    for mark in ("first", "second", "first"):
        store.write_task({"model": MLP.__name__, "fingerprint": mark})
    text = (tmp_path / "task.json").read_text()
    assert text.count('"first"') == text.count('"second"') == 1


PROGRAM = """
from tasks import mlp_task
first, second = (mlp_task(fingerprint=name) for name in ("first", "second"))
third = mlp_task(fingerprint="third")
def broken():
    return 1 / 0
"""


@pytest.fixture
def command(store, tmp_path, monkeypatch, capsys):
    from isoflop.cli.app import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "two_tasks.py").write_text(PROGRAM)

    def answered(*arguments):
        with contextlib.suppress(SystemExit):
            main([*arguments])
        printed = capsys.readouterr()
        return printed.out + printed.err

    return answered


def test_the_command_line_fits_the_task_that_is_named(command, store):
    assert "isoflop: fit needs runs of one task" in command("fit", str(store.path))
    named = command("fit", str(store.path), "--task=two_tasks.py:second", "--approach=parametric")
    assert "15, up to 1.0e+16 FLOPs" in named or "15, up to 1e+16 FLOPs" in named
    assert "must have runs of the task third" in command(
        "fit", str(store.path), "--task=two_tasks.py:third"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("two_tasks.py:secnd", "has nothing of the name 'secnd'; did you mean second"),
        ("two_tasks.py:broken", "but its code raises ZeroDivisionError: division by zero"),
        ("slip.py:task", "slip.py cannot be read:"),
        ("late.py:task", "but its code raises NameError: name 'y' is not defined"),
        (
            "needs.py:task",
            "but its code raises ModuleNotFoundError: No module named 'no_such_package'",
        ),
    ],
)
def test_a_task_that_cannot_be_made_is_one_sentence_with_its_line(
    command, tmp_path, address, sentence
):
    (tmp_path / "slip.py").write_text("x = 1\ntask = (\n")
    (tmp_path / "late.py").write_text("x = 1\n\ntask = y\n")
    (tmp_path / "needs.py").write_text("import no_such_package\n")
    said = command("plan", address, "--budget=1e6")
    assert len(said.splitlines()) == 1
    assert sentence in said
    assert "line" in said or "secnd" in said

"""Files of a store that disks, people and other programs have spoilt: the rest is read, and the file is named."""

import contextlib
import io
import os
import shutil
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoflop
from attack import rule
from attack.stores import KINDS, Harm, make_store
from isoflop.cli import app as cli
from isoflop.planning.sweep import Sweep
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.status import clear_failed, stage_statuses
from isoflop.training.executors.simulated import Simulated
from isoflop.user_code.fingerprint import fingerprint
from tasks import mlp_task

HARMS = st.lists(
    st.builds(lambda kind, seed: Harm(*kind, seed), st.sampled_from(KINDS), st.integers(0, 2**32)),
    min_size=1,
    max_size=2,
)


@pytest.fixture(scope="module")
def task():
    return mlp_task()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, task):
    return make_store(tmp_path_factory.mktemp("store") / "whole", fingerprint(task))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A new path for each case."""
    folder = tmp_path_factory.mktemp("cases")
    return (folder / str(number) for number in count())


def harmed(whole, path, harms):
    """A copy of the store with the harms done to it, and the ids of the runs that they touch."""
    shutil.copytree(whole.path, path)
    touched = set()
    for harm in harms:
        try:
            touched |= harm.do(path)
        except (
            OSError,
            ValueError,
            IndexError,
            TypeError,
            KeyError,
        ):  # what the first harm left cannot be harmed so
            continue
    return DirectoryStore(path), touched


def check_runs(runs, whole, touched):
    """Fail unless the runs that were not touched came back as they were, and each of the others says what it is."""
    before = {run.id: run for run in whole.read_runs()}
    found = {run.id: run for run in runs}
    assert len(found) == len(runs), "a run came back twice"
    for run_id in before.keys() - touched:
        assert run_id in found, f"{run_id} is lost"
        assert_equal(found[run_id], before[run_id])
    for run_id in found.keys() - before.keys():
        assert found[run_id].status == "failed", f"{run_id} is nobody's and counts"
    for run in runs:
        if run.status == "failed" and run.id in touched and not is_equal(run, before.get(run.id)):
            assert run.error.isprintable()
        if run.status == "completed":
            assert_equal(run.spec, before[run.id].spec)


def is_equal(run, other):
    return repr(run) == repr(other) and str(vars(run)) == str(vars(other))


def assert_equal(value, expected):
    assert str(value) == str(expected)
    assert {k: v for k, v in vars(value).items() if v == v} == {
        k: v for k, v in vars(expected).items() if v == v
    }


def command(*arguments):
    """A command of the command line keeps the rule: 0, or 2 with one sentence."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code or 0
    assert code in (0, 2), f"exit code {code}"
    if code == 2:
        rule.check_sentence(err.getvalue().splitlines()[-1])
    shown = f"{out.getvalue()}{err.getvalue()}".replace("\n", "")
    assert shown.isprintable(), f"control characters: {shown!r}"


def attack(whole, path, harms, commands=()):
    store, touched = harmed(whole, path, harms)
    runs = rule.outcome(store.read_runs)
    assert not isinstance(runs, isoflop.IsoflopError), f"reading stopped: {runs}"
    check_runs(runs, whole, touched)
    for stage in rule.outcome(lambda: stage_statuses(store)):
        assert stage.num_runs >= 0
    for arguments in commands:
        rule.outcome(lambda arguments=arguments: command(*arguments, path))
    forgotten = rule.outcome(lambda: clear_failed(store))
    if isinstance(forgotten, list):
        again = rule.outcome(store.read_runs)
        check_runs(
            [run for run in again if run.status != "failed"],
            whole,
            touched | {run.id for run in forgotten},
        )
        assert not [run for run in again if run.status == "failed"], "rerun leaves failed runs"
    shutil.rmtree(path)


def attack_train(whole, path, harms, task):
    """A sweep goes on in a store with harms: what is there counts, and nothing is trained or written over what may be."""
    store, touched = harmed(whole, path, harms)
    before = {run.id: run for run in whole.read_runs()}
    specs = whole.read_stages()["first"][0]
    recorded = {spec.id for spec in specs if os.path.lexists(path / spec.id / "record.json")}
    kept = contents(path)
    runs = rule.outcome(
        lambda: isoflop.train(
            task,
            Sweep(specs=specs, notes=()),
            store=store,
            executor=Simulated(lambda *_: 9.0),
            progress=False,
        )
    )
    if isinstance(runs, isoflop.IsoflopError):  # what stands in place of the store's own folders
        assert str(path)[:100] in str(runs)
    else:
        assert [run.spec for run in runs] == list(specs)
        for run in runs:
            if run.id in recorded:
                assert run.device != "simulated", "trained again over a record"
            if run.id in before.keys() - touched:
                assert_equal(run, before[run.id])
    assert not kept - contents(path), "something that a file held is lost"
    shutil.rmtree(path)


def contents(path):
    """What the records of a store hold, under whatever names."""
    files = (file for file in path.rglob("record.json*") if file.is_file())
    return {file.read_bytes() for file in files}


COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("fit", "--approach", "parametric"),
    ("fit", "--json", "--approach", "isoflop"),
)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(harms=HARMS)
def test_a_spoilt_file_stops_nothing_but_its_own_run(whole, places, harms):
    attack(whole, next(places), harms)


@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(harms=HARMS)
def test_a_sweep_goes_on_beside_spoilt_files(whole, places, harms, task):
    attack_train(whole, next(places), harms, task)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, database=None)
@given(harms=HARMS)
def test_sweeps_go_on_beside_any_spoilt_files(whole, places, harms, task):
    attack_train(whole, next(places), harms, task)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, database=None)
@given(harms=HARMS)
def test_spoilt_files_keep_the_rule_in_every_command(whole, places, harms):
    attack(whole, next(places), harms, COMMANDS)

"""Files of a store that disks, people and other programs have spoilt: the rest is read, and the file is named."""

import shutil
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoflop
from attack import rule
from attack.stores import KINDS, Harm, make_store
from isoflop import cli
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.standing import forget_failed, standings

HARMS = st.lists(
    st.builds(lambda kind, seed: Harm(*kind, seed), st.sampled_from(KINDS), st.integers(0, 2**32)),
    min_size=1,
    max_size=2,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "whole")


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
        except (OSError, ValueError, IndexError, TypeError, KeyError):  # what the first harm left cannot be harmed so
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
    assert {k: v for k, v in vars(value).items() if v == v} == {k: v for k, v in vars(expected).items() if v == v}


def command(capsys, *arguments):
    """A command of the command line keeps the rule: 0, or 2 with one sentence."""
    code = 0
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as left:
        code = left.code or 0
    output = capsys.readouterr()
    assert code in (0, 2), f"exit code {code}"
    if code == 2:
        rule.check_sentence(output.err.strip())
    shown = output.out.replace("\n", "")
    assert shown.isprintable(), f"control characters: {shown!r}"
    return code, output.out


def attack(whole, path, harms, capsys, commands=()):
    store, touched = harmed(whole, path, harms)
    runs = rule.outcome(store.read_runs)
    assert not isinstance(runs, isoflop.IsoflopError), f"reading stopped: {runs}"
    check_runs(runs, whole, touched)
    for stage in rule.outcome(lambda: standings(store)):
        assert stage.num_runs >= 0
    for arguments in commands:
        rule.outcome(lambda arguments=arguments: command(capsys, *arguments, path))
    forgotten = rule.outcome(lambda: forget_failed(store))
    if isinstance(forgotten, list):
        again = rule.outcome(store.read_runs)
        check_runs([run for run in again if run.status != "failed"], whole, touched | {run.id for run in forgotten})
        assert not [run for run in again if run.status == "failed"], "rerun leaves failed runs"
    shutil.rmtree(path)


COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("fit", "--approach", "parametric"),
    ("fit", "--json", "--approach", "isoflop"),
)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(harms=HARMS)
def test_a_spoilt_file_stops_nothing_but_its_own_run(whole, places, capsys, harms):
    attack(whole, next(places), harms, capsys)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, database=None)
@given(harms=HARMS)
def test_spoilt_files_keep_the_rule_in_every_command(whole, places, capsys, harms):
    attack(whole, next(places), harms, capsys, COMMANDS)

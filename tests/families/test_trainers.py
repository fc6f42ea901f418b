"""Trainers of the user's: functions and commands, with the promises that isoflop's own loop keeps."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import isoflop
from isoflop.training import guard
from isoflop.training.trainer import version_of
from ladder import ARGUMENTS, BUDGETS, LAW, ladder, law_trainer, loss_of, program


@pytest.fixture(scope="module")
def family():
    return ladder()


@pytest.fixture(scope="module")
def sweep(family):
    return isoflop.plan(family, budgets=BUDGETS)


def train(family, specs, trainer, store, **options):
    sweep = isoflop.Sweep(specs=tuple(specs))
    return isoflop.train(family, sweep, trainer=trainer, store=store, progress=False, **options)


def calls(store):
    return [
        line for path in Path(store).glob("*/trainer/calls") for line in path.read_text().split()
    ]


def records(store):
    return isoflop.DirectoryStore(store).read_runs()


# -- functions -------------------------------------------------------------------------------------


def test_a_function_trains_each_run_once_in_a_folder_of_its_own(family, sweep, tmp_path):
    runs = isoflop.train(family, sweep, trainer=law_trainer, store=tmp_path, progress=False)
    assert [run.spec for run in runs] == list(sweep.specs)
    assert all(run.status == "completed" and run.loss == loss_of(run.spec) for run in runs)
    assert all((run.num_tokens, run.flops) == (run.spec.num_tokens, run.spec.flops) for run in runs)
    assert sorted(calls(tmp_path)) == sorted(spec.id for spec in sweep.specs)
    again = isoflop.train(family, sweep, trainer=law_trainer, store=tmp_path, progress=False)
    assert again == runs
    assert len(calls(tmp_path)) == len(runs)
    assert "law_trainer" in (tmp_path / "task.json").read_text()


def test_processes_give_the_same_runs(family, sweep, tmp_path):
    here = train(family, sweep.specs[:4], law_trainer, tmp_path / "a")
    there = train(family, sweep.specs[:4], law_trainer, tmp_path / "b", executor="processes:2")
    assert [run.loss for run in here] == [run.loss for run in there]
    assert len(calls(tmp_path / "b")) == 4


def test_a_whole_search_answers_in_sizes_of_the_family(family, tmp_path):
    answer = isoflop.find_optimal(
        family, trainer=law_trainer, target=1e15, spend=0.02, store=tmp_path
    )
    assert answer.size in family.members
    sizes = {width: member.num_params for width, member in family.members.items()}
    losses = {width: float(LAW.loss(N, 1e15 / (6.6 * N))) for width, N in sizes.items()}
    assert answer.size in sorted(losses, key=losses.get)[:2]
    number = len(calls(tmp_path))
    again = isoflop.find_optimal(
        family, trainer=law_trainer, target=1e15, spend=0.02, store=tmp_path
    )
    assert str(again) == str(answer)
    assert len(calls(tmp_path)) == number


def test_a_mapping_gives_more_than_the_loss(family, sweep, tmp_path):
    def trainer(spec, folder):
        return {
            "loss": 3.0,
            "num_tokens": spec.num_tokens * 1.01,
            "metrics": {"accuracy": 0.25},
            "perplexity": math.exp(3.0),
            "curve": [(1e5, 5.0), (2e5, 4.0)],
            "seconds": 12.5,
            "note": "no number",
        }

    (run,) = train(family, sweep.specs[:1], trainer, tmp_path)
    assert (run.loss, run.seconds, run.curve) == (3.0, 12.5, ((1e5, 5.0), (2e5, 4.0)))
    assert run.num_tokens == pytest.approx(1.01 * run.spec.num_tokens)
    assert run.flops == pytest.approx(1.01 * run.spec.flops)
    assert run.metrics == {"accuracy": 0.25, "perplexity": pytest.approx(20.09, rel=1e-3)}
    (read,) = isoflop.read_runs(tmp_path)
    assert read == run


def test_runs_of_a_trainer_that_has_changed_since_are_said(family, sweep, tmp_path, capsys):
    train(family, sweep.specs[:2], law_trainer, tmp_path)
    assert "another name" not in capsys.readouterr().err
    train(family, sweep.specs[:2], law_trainer, tmp_path)
    assert "another name" not in capsys.readouterr().err
    train(family, sweep.specs[:3], lambda spec, folder: 3.0, tmp_path)
    assert "2 runs of the store were trained by law_trainer" in capsys.readouterr().err


def test_the_version_of_a_trainer_is_that_of_its_code_in_any_process(
    family, sweep, tmp_path, capsys
):
    specs = sweep.specs[:2]
    for trainer in (partial(law_trainer), lambda spec, folder: 3.0):
        store = tmp_path / str(id(trainer))
        train(family, specs[:1], trainer, store, executor="processes:1")
        train(family, specs, trainer, store)
        assert "another name" not in capsys.readouterr().err


def test_tokens_off_the_plan_are_recorded_as_trained_and_said(family, sweep, tmp_path, capsys):
    def trainer(spec, folder):
        return {"loss": 3.0, "num_tokens": spec.num_tokens / 2}

    (run,) = train(family, sweep.specs[:1], trainer, tmp_path)
    assert run.num_tokens == run.spec.num_tokens / 2
    assert "0.500 times" in capsys.readouterr().err


RESULTS = {
    "nothing": (None, "failed", "must return the held-out loss"),
    "a text": ("3.2", "failed", "must return the held-out loss"),
    "a text as loss": ({"loss": "3.2"}, "failed", "must be a number, but got '3.2'"),
    "no loss": ({"val_loss": 3.2}, "failed", "must have a 'loss'"),
    "below 0": (-1.0, "failed", "must be above 0"),
    "true": (True, "failed", "must return the held-out loss"),
    "NaN": (math.nan, "diverged", "not finite"),
    "infinite": ({"loss": math.inf}, "diverged", "not finite"),
    "falling curve": ({"loss": 3.0, "curve": [(2, 1), (1, 2)]}, "failed", "rising tokens"),
    "no tokens": ({"loss": 3.0, "num_tokens": -1}, "failed", "num_tokens"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_no_result_is_a_record_with_its_reason(name, family, sweep, tmp_path):
    result, status, words = RESULTS[name]
    (run,) = train(family, sweep.specs[:1], lambda spec, folder: result, tmp_path)
    assert run.status == status
    assert words in run.error


def test_a_trainer_that_raises_or_exits_fails_its_run_alone(family, sweep, tmp_path):
    def trainer(spec, folder):
        if spec == sweep.specs[0]:
            raise ZeroDivisionError("oh")
        if spec == sweep.specs[1]:
            sys.exit(3)
        return 3.0

    runs = train(family, sweep.specs[:3], trainer, tmp_path)
    assert [run.status for run in runs] == ["failed", "failed", "completed"]
    assert "ZeroDivisionError: oh" in runs[0].error
    assert "SystemExit: 3" in runs[1].error


def test_a_transient_error_is_tried_again_in_the_same_folder(family, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("isoflop.training.executors.stored_work.RETRY_SECONDS", (0.01, 0.01))

    def trainer(spec, folder):
        tries = folder / "tries"
        tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
        if len(tries.read_text()) < 3:
            raise ConnectionResetError("the network")
        return 3.0

    (run,) = train(family, sweep.specs[:1], trainer, tmp_path)
    assert run.status == "completed"
    assert (tmp_path / run.id / "trainer" / "tries").read_text() == "xxx"


def test_what_a_trainer_returns_after_a_stop_is_not_recorded(family, sweep, tmp_path):
    def trainer(spec, folder):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:  # as trainers do that save and return
            return 9.9
        return 3.0

    with pytest.raises(KeyboardInterrupt):
        train(family, sweep.specs[:2], trainer, tmp_path)
    assert records(tmp_path) == []


def test_options_of_the_own_loop_are_refused_with_a_trainer(family, sweep, tmp_path):
    for options, words in (
        ({"hang_seconds": 5}, "hang_seconds are of isoflop's own loop"),
        ({"devices_per_run": 4}, "called once for each run"),
        ({"executor": isoflop.Slurm(ntasks_per_node=8)}, "called once for each run"),
    ):
        with pytest.raises(isoflop.PlanError, match=words):
            isoflop.train(family, sweep, trainer=law_trainer, store=tmp_path, **options)
    with pytest.raises(isoflop.PlanError, match="a function"):
        isoflop.train(family, sweep, trainer=3.0, store=tmp_path)


def test_a_plan_of_another_family_is_refused(sweep, tmp_path):
    with pytest.raises(isoflop.PlanError, match="another task"):
        isoflop.train(ladder(name="other"), sweep, trainer=law_trainer, store=tmp_path)


def test_the_rule_of_rates_is_tuned_by_a_trainer(family, sweep, tmp_path):
    """A loss with its best rate at 0.02 (N / 1e5)^-0.3 gives that rule."""

    def trainer(spec, folder):
        best = 0.02 * (spec.num_params / 1e5) ** -0.3
        return loss_of(spec) * math.exp(0.05 * math.log(spec.lr / best) ** 2)

    tuning = isoflop.tune(family, sweep, trainer=trainer, store=tmp_path, progress=False)
    assert tuning.recipe.lr(1e5, 1e7) == pytest.approx(0.02, rel=0.1)
    assert tuning.lr.rule.num_params == pytest.approx(-0.3, abs=0.05)
    again = isoflop.plan(ladder(recipe=tuning.recipe), budgets=BUDGETS)
    assert again.specs[0].lr == pytest.approx(tuning.recipe.lr(12288, again.specs[0].num_tokens))


def test_the_page_of_a_search_is_drawn_for_a_family(family, tmp_path):
    path = tmp_path / "page.html"
    isoflop.find_optimal(
        family, trainer=law_trainer, target=1e14, budgets=BUDGETS, store=tmp_path / "s", page=path
    )
    assert "Compute-optimal" in path.read_text()


# -- commands --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    return program(tmp_path_factory.mktemp("program"))


@pytest.mark.parametrize(
    "result",
    [
        "result.json:eval.loss",
        "{folder}/result.json:eval.loss",
        r"val loss ([0-9.]+)",
        lambda folder: json.loads((folder / "result.json").read_text())["eval"]["loss"],
        {"loss": "result.json:eval.loss", "num_tokens": "result.json:tokens"},
    ],
)
def test_a_command_trains_a_run_and_its_result_is_found(result, command, family, sweep, tmp_path):
    trainer = isoflop.Command(command, result=result)
    (run,) = train(family, sweep.specs[:1], trainer, tmp_path / "a store")
    spec = run.spec
    expected = 1.8 + 48 / spec.num_params**0.35 + 210 / spec.num_tokens**0.37
    assert run.status == "completed", run.error
    assert run.loss == pytest.approx(expected, rel=1e-6)
    folder = tmp_path / "a store" / run.id / "trainer"
    assert f"step {round(spec.num_tokens / 4096)} val loss" in (folder / "log.txt").read_text()
    assert json.loads((folder / "spec.json").read_text())["num_tokens"] == spec.num_tokens


def test_commands_in_processes_and_without_a_shell(command, family, sweep, tmp_path):
    import shlex

    trainer = isoflop.Command(shlex.split(command), result="result.json:eval.loss")
    runs = train(family, sweep.specs[:3], trainer, tmp_path, executor="processes:2")
    assert [run.status for run in runs] == ["completed"] * 3
    assert len(calls(tmp_path)) == 3


def test_the_last_row_of_a_table_is_the_result(family, sweep, tmp_path):
    write = "printf 'step,val\\n1,9\\n2,2.5\\n3,\\n' > {folder}/m.csv; echo '{{\"v\": 2}}' > {folder}/m.jsonl"
    for result, loss in (("m.csv:val", 2.5), ("m.jsonl:v", 2.0)):
        trainer = isoflop.Command(write, result=result)
        (run,) = train(family, sweep.specs[:1], trainer, tmp_path / result[:5])
        assert (run.status, run.loss) == ("completed", loss)


def test_the_environment_and_the_folder_are_set(family, sweep, tmp_path):
    trainer = isoflop.Command(
        "echo loss $WIDTH.$PWD", result=r"loss (\d+)\.", env={"WIDTH": "{size}"}, cwd="{folder}"
    )
    (run,) = train(family, sweep.specs[:1], trainer, tmp_path)
    assert run.loss == run.spec.size


def test_a_trainer_is_the_same_wherever_its_functions_lie_in_memory():
    def trainer():
        return isoflop.Command("true", result=lambda folder: 1.0)

    assert repr(trainer()) != repr(trainer())
    assert version_of(trainer()) == version_of(trainer())


FAILING = {
    "exit code": ("echo one; echo two >&2; exit 3", "exit code 3; its output in"),
    "the last lines": ("seq 1 100; exit 1", "96 | 97 | 98 | 99 | 100"),
    "no result": ("echo done", "must write"),
    "no match": (("echo done", r"loss ([0-9.]+)"), "must match"),
    "a text": ('echo \'{{"loss": "low"}}\' > {folder}/r.json', "must be a number"),
    "no key": ("echo '{{\"val\": 1}}' > {folder}/r.json", "must have a value at 'loss'"),
    "no JSON": ("echo '{{' > {folder}/r.json", "must be JSON"),
    "of another run": (
        'echo \'{{"loss": 2, "id": "0123456789abcdef"}}\' > {folder}/r.json',
        "but is that of 0123456789abcdef",
    ),
    "too long": ("sleep 60", "more than its timeout of"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_command_without_a_result_is_a_failed_run_with_its_last_lines(
    name, family, sweep, tmp_path
):
    template, words = FAILING[name]
    template, result = template if isinstance(template, tuple) else (template, "r.json:loss")
    trainer = isoflop.Command(template, result=result, timeout=0.5 if name == "too long" else None)
    (run,) = train(family, sweep.specs[:1], trainer, tmp_path)
    assert run.status == "failed"
    assert words in run.error


def test_a_stale_result_is_none(family, sweep, tmp_path):
    spec = sweep.specs[0]
    old = tmp_path / spec.id / "trainer" / "r.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"loss": 2}')
    (run,) = train(family, [spec], isoflop.Command("true", result="r.json:loss"), tmp_path)
    assert "left it as it was before" in run.error


def test_a_command_that_is_killed_is_tried_again(family, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("isoflop.training.executors.stored_work.RETRY_SECONDS", (0.01,))
    template = "test -e {folder}/tried && echo loss 2.5 || (touch {folder}/tried; kill -9 $$)"
    (run,) = train(
        family, sweep.specs[:1], isoflop.Command(template, result=r"loss (.+)"), tmp_path
    )
    assert (run.status, run.loss) == ("completed", 2.5)


def test_a_stop_ends_the_command_and_what_it_started(family, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "GRACE_SECONDS", 1.0)
    child = "sleep 300 & echo $! > {folder}/pid; kill -INT " + str(os.getpid()) + "; wait"
    with pytest.raises(KeyboardInterrupt):
        train(family, sweep.specs[:1], isoflop.Command(child, result="r.json:loss"), tmp_path)
    (pid,) = [int(path.read_text()) for path in tmp_path.glob("*/trainer/pid")]
    assert is_gone(pid)


def test_a_killed_worker_leaves_no_command_running(family, sweep, tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(
        f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1])]!r}
import isoflop
from ladder import ladder, BUDGETS
family = ladder()
specs = isoflop.plan(family, budgets=BUDGETS).specs[:1]
template = "sleep 300 & echo $! > {{folder}}/pid.new; mv {{folder}}/pid.new {{folder}}/pid; wait"
isoflop.train(family, isoflop.Sweep(specs=specs), trainer=isoflop.Command(template, result="r.json:loss"),
              store={str(tmp_path / "store")!r})
"""
    )
    program = subprocess.Popen([sys.executable, str(script)])
    pid = int(waited_for(partial(first_text, tmp_path, "store/*/trainer/pid")))
    program.kill()
    program.wait()
    assert is_gone(pid)


def first_text(folder, pattern):
    return next((path.read_text() for path in folder.glob(pattern)), None)


def waited_for(value, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := value()) is not None:
            return found
        time.sleep(0.05)
    raise TimeoutError


def is_gone(pid):
    """Whether a process ends within the guard's grace."""

    def ended():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        return True if state.exists() and state.read_text().split()[2] == "Z" else None

    return waited_for(ended)


SLIPS = {
    "an unknown placeholder": (
        lambda: isoflop.Command("train --width {wdith}", result="r.json:loss"),
        "got {wdith}",
    ),
    "a single brace": (lambda: isoflop.Command("train {", result="r.json:loss"), "in pairs"),
    "a wrong format": (
        lambda: isoflop.Command("true {schedule:d}", result="r.json:loss"),
        "must fit their values",
    ),
    "an open value": (
        lambda: isoflop.Command("true {cooldown}", result="r.json:loss"),
        "leaves it open",
    ),
    "no such program": (
        lambda: isoflop.Command("trian --width {size}", result="r.json:loss"),
        "must be a program 'trian'",
    ),
    "no such file": (
        lambda: isoflop.Command("./train.sh {size}", result="r.json:loss"),
        "does not exist",
    ),
    "no such folder": (
        lambda: isoflop.Command("true", result="r.json:loss", cwd="/nowhere"),
        "cwd must be a folder",
    ),
    "one result file for all": (
        lambda: isoflop.Command("true", result="/tmp/result.json:loss"),
        "a result file of its own",
    ),
    "an unknown placeholder in the result": (
        lambda: isoflop.Command("true", result="{out}/r.json:loss"),
        "got {out}",
    ),
    "no group": (lambda: isoflop.Command("true", result="loss"), "one group"),
    "no regular expression": (lambda: isoflop.Command("true", result="loss ("), "is none"),
    "no loss": (lambda: isoflop.Command("true", result={"val": "r.json:val"}), "'loss' is found"),
    "no template": (lambda: isoflop.Command("", result="r.json:loss"), "a command"),
    "a number": (lambda: isoflop.Command(7, result="r.json:loss"), "a text or a list of texts"),
    "no time": (lambda: isoflop.Command("true", result="r.json:a", timeout=0), "timeout"),
    "a number in env": (
        lambda: isoflop.Command("true", result="r.json:a", env={"A": 1}),
        "env['A']",
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_of_a_command_are_refused_before_the_first_run(name, family, sweep, tmp_path):
    make, words = SLIPS[name]
    with pytest.raises(isoflop.IsoflopError) as caught:
        isoflop.train(family, sweep, trainer=make(), store=tmp_path, progress=False)
    assert words in str(caught.value)
    assert records(tmp_path) == []


def test_programs_are_not_looked_for_where_runs_are_trained_elsewhere(sweep):
    elsewhere = isoflop.Command("/opt/nowhere/train {size}", result="r.json:loss")
    elsewhere.check(sweep.specs, is_here=False)
    with pytest.raises(isoflop.ContractError, match="does not exist"):
        elsewhere.check(sweep.specs, is_here=True)


def test_arguments_of_a_command_are_quoted_for_the_shell(family, sweep, tmp_path):
    trainer = isoflop.Command(f"printf '%s\\n' {ARGUMENTS} loss 1.5", result=r"^(1\.5)$")
    (run,) = train(family, sweep.specs[:1], trainer, tmp_path / "a 'quoted; $HOME' store")
    log = tmp_path / "a 'quoted; $HOME' store" / run.id / "trainer" / "log.txt"
    assert str(log.parent) in log.read_text().splitlines()

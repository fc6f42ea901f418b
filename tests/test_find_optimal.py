import dataclasses
import inspect
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import isoflop
from isoflop.reporting import live
from isoflop.reporting import page as page_module
from isoflop.training.executors.simulated import Simulated
from tasks import MLP, examples, loss, mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import isoflop
from tasks import MLP, examples, loss

isoflop.find_optimal(
    MLP, "width", train_data=examples(4000), val_data=examples(500, seed=1), loss=loss,
    budgets=[1e6, 3e6], target=1e9, recipe=isoflop.Recipe(epochs=None), store={store!r}, executor={executor},
)
"""


def program(store, executor="None"):
    text = PROGRAM.format(tests=str(Path(__file__).parent), store=str(store), executor=executor)
    return [sys.executable, "-c", text]


def answer_of(store):
    """The answer of the same call in this process, where a program's runs are the same bit for bit."""
    answer = find(store=store)
    return answer.num_params, answer.num_tokens, answer.loss, answer.size


def records(store):
    return {
        run.id: (run.loss, run.loss_stderr, run.curve, run.num_tokens)
        for run in isoflop.read_runs(store)
    }


def find(budgets=(1e6, 3e6), target=1e9, store=None, executor=None, page=None, **changes):
    """The program's question of a task that is kept: its sizes are counted once."""
    store = isoflop.MemoryStore() if store is None else store
    return isoflop.find_optimal(
        mlp_task(**changes),
        budgets=budgets,
        target=target,
        store=store,
        executor=executor,
        page=page,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    return answer_of(store), records(store), store


def test_one_call_gives_params_tokens_and_loss_with_intervals_and_a_real_size(undisturbed):
    answer = find(store=undisturbed[2])
    for estimate in (answer.num_params, answer.num_tokens, answer.loss):
        assert estimate.low <= estimate.value <= estimate.high
    assert answer.size_num_params == 13 * answer.size + 4
    assert answer.flops == 1e9


def test_the_same_call_again_answers_the_same_and_trains_nothing(undisturbed):
    text, before, store = undisturbed
    times = {path: path.stat().st_mtime_ns for path in store.rglob("record.json")}
    assert answer_of(store) == text
    assert records(store) == before
    assert {path: path.stat().st_mtime_ns for path in store.rglob("record.json")} == times


def test_the_page_is_the_report_of_the_answer(undisturbed, tmp_path, monkeypatch):
    drawn = []
    for module in (page_module, live):
        render = module.render
        monkeypatch.setattr(
            module, "render", lambda *a, _render=render, **k: drawn.append(a) or _render(*a, **k)
        )
    answer = find(store=undisturbed[2], page=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert (
        f"<title>{isoflop.display.format.format_flops(1e9)} FLOPs: {isoflop.display.format.format_count(answer.num_params.value)} params"
        in page
    )
    assert "http-equiv" not in page  # nothing more to wait for
    assert len(drawn) == 1  # nor was there


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "file").touch()
    store = isoflop.DirectoryStore(tmp_path / "store")
    with pytest.raises(isoflop.StoreError):
        find(store=store, page=tmp_path / "file" / "page.html")
    assert store.read_runs() == []


def test_a_sweep_that_is_killed_again_and_again_equals_an_undisturbed_one_bit_for_bit(
    undisturbed, tmp_path
):
    draw = random.Random(0)
    for executor in ("None", "isoflop.Processes(2)"):
        process = subprocess.Popen(
            program(tmp_path, executor), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        done = len(list(tmp_path.glob("*/record.json")))
        while process.poll() is None and len(list(tmp_path.glob("*/record.json"))) <= done:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        process.kill()
        process.wait()
    assert len(list(tmp_path.glob("*/record.json"))) < len(undisturbed[1]), (
        "it was not killed in the middle"
    )
    assert answer_of(tmp_path) == undisturbed[0]
    assert records(tmp_path) == undisturbed[1]


def test_ctrl_c_stops_and_the_same_call_goes_on(undisturbed, tmp_path):
    process = subprocess.Popen(
        program(tmp_path, "isoflop.Processes(2)"), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(tmp_path.glob("*/spec.json")):  # a run is under way
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert answer_of(tmp_path) == undisturbed[0]


SMALL = [3e5, 1e6]


@pytest.fixture(scope="module")
def _small(tmp_path_factory):
    store = tmp_path_factory.mktemp("small")
    find(store=store, budgets=SMALL)
    return store


@pytest.fixture
def small(_small, tmp_path):
    """A store of its own, with the runs of two budgets."""
    return shutil.copytree(_small, tmp_path / "small")


def test_a_plan_that_was_begun_is_the_plan_that_is_finished(small):
    stages = set((small / "stages").iterdir())
    find(store=small, budgets=SMALL)
    assert set((small / "stages").iterdir()) == stages


def test_another_recipe_is_another_plan(small):
    stages = set((small / "stages").iterdir())
    find(store=small, budgets=SMALL, recipe=isoflop.Recipe(epochs=None, lr=0.01))
    assert stages < set((small / "stages").iterdir())
    assert len({run.spec.lr for run in isoflop.read_runs(small)}) > 1


def test_more_budgets_train_only_what_is_new(small):
    before = records(small)
    find(store=small, budgets=[*SMALL, 3e6])
    after = records(small)
    assert {run_id: after[run_id] for run_id in before} == before
    assert len(before) < len(after) == 23


def test_a_question_in_words_resumes_the_plan_of_the_same_question_in_numbers(undisturbed):
    store = undisturbed[2]
    answer = find(store=store, budgets=["1 MFLOP", "3e6"], target="1e-8 T4-hours")
    assert answer.flops == pytest.approx(1e-8 * 3600 * 0.38 * 65e12)
    assert sum("38 % is assumed" in note for note in answer.notes) == 1
    assert records(store) == undisturbed[1]


SMALL_IS_BEST = Simulated(lambda N, D: 1.5 + 30 * (100 * N) ** -0.5 + 60 * (D / 100) ** -0.4)


def test_a_grid_whose_edge_lacks_data_is_answered_from_the_runs_that_it_has():
    budgets = [3e6, 1e7]
    largest = max(spec.num_tokens for spec in isoflop.plan(mlp_task(), budgets=budgets).specs)
    changes = {
        "train_data": examples(largest),
        "recipe": isoflop.Recipe(),
        "budgets": budgets,
        "target": 1e8,
    }
    store = isoflop.MemoryStore()
    answer = find(**changes, store=store, executor=SMALL_IS_BEST)
    assert answer.flops == 1e8
    assert any(
        "the recipe's passes over the data give too few tokens" in note for note in answer.notes
    )
    assert len({run.size for run in store.read_runs() if run.budget == 1e7}) == 7


def test_an_extension_with_nothing_new_ends_a_grid(tmp_path):
    sizes = [4, 8, 16, 32]
    answer = find(
        sizes=sizes, store=tmp_path, executor=SMALL_IS_BEST, budgets=[3e6, 1e7], target=1e8
    )
    assert {run.size for run in isoflop.read_runs(tmp_path)} == set(sizes)
    assert len(list((tmp_path / "stages").iterdir())) == 2
    assert any("there is no size beyond it to try" in note for note in answer.notes)


def simulated(task, *arguments, **changes):
    return isoflop.find_optimal(
        task, *arguments, budgets=[1e6, 3e6], target=1e9, executor=SMALL_IS_BEST, **changes
    )


LONG_FORM = {
    "train_data": examples(4000),
    "val_data": examples(500, seed=1),
    "loss": loss,
    "recipe": isoflop.Recipe(epochs=None),
}


def test_a_task_and_the_long_form_with_the_same_fields_share_their_runs():
    store = isoflop.MemoryStore()
    task = isoflop.Task(model=MLP, size_param="width", **LONG_FORM)
    answer = simulated(task, store=store)
    ids = {run.id for run in isoflop.read_runs(store)}
    assert simulated(MLP, "width", store=store, **LONG_FORM).num_params == answer.num_params
    by_keyword = simulated(None, model=MLP, size_param="width", store=store, **LONG_FORM)
    assert by_keyword.num_params == answer.num_params
    assert {run.id for run in isoflop.read_runs(store)} == ids


def test_the_long_form_takes_every_field_of_a_task(monkeypatch):
    fields = {field.name for field in dataclasses.fields(isoflop.Task)}
    assert fields <= {*inspect.signature(isoflop.find_optimal).parameters}
    tasks = []

    def stop(task, *_, **__):
        tasks.append(task)
        raise KeyboardInterrupt

    monkeypatch.setattr("isoflop.stages.train_stages", stop)
    given = {
        **LONG_FORM,
        "model_kwargs": {"num_classes": 4},
        "val_loss": loss,
        "metrics": {"error": loss},
        "unit": "image",
        "loss_unit": "nats/image",
        "bytes_per_token": 2.0,
        "sizes": (1, 2, 4),
        "fingerprint": "mine",
        "num_params": lambda model: 7,
        "flops_per_token": lambda model: 42.0,
        "count_tokens": len,
    }
    with pytest.raises(KeyboardInterrupt):
        simulated(MLP, "width", store=isoflop.MemoryStore(), **given)
    assert {name: getattr(tasks[0], name) for name in given} == given


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ((mlp_task(),), {"unit": "image"}, "but got unit beside it"),
        ((mlp_task(), "width"), {"loss": loss}, "but got size_param and loss beside it"),
        ((MLP, "width"), {"train_data": examples(9)}, "but val_data is missing"),
        ((None,), {}, "but model, size_param, train_data and val_data are missing"),
        ((MLP, "width"), {"model": MLP}, "model must be given once"),
    ],
)
def test_a_task_is_described_once(arguments, changes, message):
    with pytest.raises(isoflop.ContractError, match=message):
        simulated(*arguments, store=isoflop.MemoryStore(), **changes)

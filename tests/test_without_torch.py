"""Without the extras `train` and `tables` isoflop fits, answers and reports; the rest is one sentence."""

import json
from dataclasses import replace

import pytest

import isoflop
from hidden import run_without
from isoflop.answers.predict import predict
from isoflop.extras import TRAIN
from isoflop.family import Family
from isoflop.fitting.fit import fit
from isoflop.laws.additive import ChinchillaLaw
from isoflop.planning.plan import plan
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.tables import read_runs

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
NEEDS_TORCH = {"coordinate_check", "fingerprint"}
SENTENCE = (
    "Tasks and their training need the extra train, but torch and accelerate are not installed; "
    "run: pip install 'isoflop[train]'."
)

COMMANDS = """
import contextlib, io, json
from isoflop.cli import app as cli

def run(asked):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exec(asked, {}) if isinstance(asked, str) else cli.main(asked)
        except SystemExit as end:
            return [end.code or 0, out.getvalue(), err.getvalue()]
    return [0, out.getvalue(), err.getvalue()]

print(json.dumps({name: run(asked) for name, asked in json.loads(sys.argv[1]).items()}))
"""
PROGRAM = """
import isoflop
fitted = isoflop.fit(isoflop.read_runs({runs!r}))
answer = isoflop.predict(fitted, flops=1e20)
task = isoflop.Task(model=dict, size_param="width", train_data=[], val_data=[], loss=max)

def tried(call):
    try:
        call()
    except isoflop.InstallError as error:
        print(error)

def read_datasets():
    import isoflop.datasets

"""
FOR_A_TASK = """
tried(lambda: isoflop.predict(fitted, flops=1e20, task=task))
tried(lambda: isoflop.report(fitted, answer, path={page!r}, task=task))
"""
AS_FRAMES = """
tried(fitted.to_frame)
tried(lambda: isoflop.read_runs({parquet!r}))
tried(read_datasets)
"""
NAMES = """
import json
import isoflop

def problem(name):
    try:
        getattr(isoflop, name)
    except isoflop.InstallError as error:
        return str(error)

print(json.dumps({name: problem(name) for name in sys.argv[1:] or isoflop.__all__}))
"""
TASK = "import torch\nfrom tasks import mlp_task\n\ntask = mlp_task()\n"
PLAIN_TASK = """import isoflop

task = isoflop.Task(model=dict, size_param="width", train_data=[], val_data=[], loss=max)
"""


def a_run(params, budget):
    tokens = budget / 6 / params
    spec = RunSpec(num_params=params, num_tokens=tokens, flops=budget, budget=budget)
    return Run(
        spec=spec,
        status="completed",
        loss=float(LAW.loss(params, tokens)),
        num_tokens=tokens,
        flops=budget,
    )


def sweep():
    budgets, factors = (1e17, 3e17, 1e18, 3e18), (0.2, 0.5, 1, 2, 5)
    return [a_run(float(LAW.optimum(C)[0]) * factor, C) for C in budgets for factor in factors]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two systems' tables, a store with a failed run, and tasks."""
    folder = tmp_path_factory.mktemp("light")
    for name, worse in (("runs", 1.0), ("other", 1.02)):
        rows = [f"{r.num_params},{r.num_tokens},{worse * r.loss},{r.budget}" for r in sweep()]
        (folder / f"{name}.csv").write_text("\n".join(["params,tokens,loss,compute_budget", *rows]))
    store = DirectoryStore(folder / "store")
    for run in sweep():
        store.write_run(run)
    store.write_run(
        replace(a_run(1e6, 3e18), status="failed", loss=float("nan"), error="out of memory")
    )
    params = [round(1e7 * 1.7**k) for k in range(12)]
    (folder / "sizes.csv").write_text("\n".join(["size,params", *(f"{n},{n}" for n in params)]))
    (folder / "with_torch.py").write_text(TASK)
    (folder / "plain.py").write_text(PLAIN_TASK)
    (folder / "runs.parquet").touch()
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Exit code, stdout and stderr of commands and programs without torch and pandas, by name."""
    table, store = str(folder / "runs.csv"), str(folder / "store")
    sizes, told = str(folder / "sizes.csv"), str(folder / "told")
    first = plan(Family(sizes), budgets=[1e17]).specs[0].id
    commands = {
        "help": ["--help"],
        "fit": ["fit", table, "--target", "1e20", "--json"],
        "fit a store": ["fit", store, "--target", "1e20", "--json"],
        "predict": ["predict", table, "--params", "1e9"],
        "report": ["report", table, "--target", "1e20", "--path", str(folder / "page.html")],
        "compare": ["compare", table, str(folder / "other.csv"), "--target", "1e19"],
        "holdout": ["holdout", table],
        "budget": ["budget", "1e21"],
        "doctor": ["doctor"],
        "status": ["status", store],
        "rerun": ["rerun", store],
        "plan": ["plan", f"{folder / 'plain.py'}:task", "--budget", "1e6"],
        "train": [
            "train",
            f"{folder / 'plain.py'}:task",
            "--budget",
            "1e6",
            "--store",
            str(folder / "new"),
        ],
        "tune": [
            "tune",
            f"{folder / 'plain.py'}:task",
            "--budget",
            "1e6",
            "--store",
            str(folder / "new"),
        ],
        "fit for a task": [
            "fit",
            table,
            "--target",
            "1e20",
            "--task",
            f"{folder / 'plain.py'}:task",
        ],
        "plan a family": ["plan", sizes, "--budget", "1e17", "--store", told, "--format", "csv"],
        "tell": ["tell", told, first, "--loss", "3.21"],
        "next": ["next", sizes, table, "--target", "1e20", "--spend", "50%"],
        "predict for a family": ["predict", table, "--flops", "1e20", "--task", sizes],
        "train by a command": [
            *("train", sizes, "--budget", "1e17", "--store", str(folder / "trained")),
            *("--executor", "processes:2", "--command", "echo loss 2.{seed}5"),
            *("--result", "loss ([0-9.]+)"),
        ],
        "fit for a task that imports torch": [
            "fit",
            table,
            "--task",
            f"{folder / 'with_torch.py'}:task",
        ],
        "answer for a task": (PROGRAM + FOR_A_TASK).format(
            runs=table, page=str(folder / "no.html")
        ),
        "data frames": (PROGRAM + AS_FRAMES).format(
            runs=table, parquet=str(folder / "runs.parquet")
        ),
    }
    return json.loads(run_without((*TRAIN, "pandas"), COMMANDS, json.dumps(commands)))


@pytest.mark.parametrize(
    "command",
    [
        "help",
        "fit",
        "fit a store",
        "predict",
        "report",
        "compare",
        "holdout",
        "budget",
        "doctor",
        "status",
        "rerun",
    ],
)
def test_commands_that_train_nothing_work_without_torch(results, command):
    code, out, err = results[command]
    assert (code, err) == (0, "")
    assert out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("plan a family", "id,size,num_params"),
        ("tell", "loss 3.21"),
        ("next", "The sweep is finished"),
        ("predict for a family", "size to build"),
        ("train by a command", "2.050"),
    ],
)
def test_families_are_planned_told_and_trained_without_torch(results, command, words):
    code, out, err = results[command]
    assert code == 0, err
    assert words in out


def test_the_answer_without_torch_is_the_answer_with_it(results, folder):
    answer = predict(fit(read_runs(folder / "runs.csv")), flops=1e20)
    found = json.loads(results["fit"][1])["optimum"]
    assert found["num_params"]["value"] == answer.num_params.value


def test_the_page_is_whole_without_torch(results, folder):
    page = (folder / "page.html").read_text()
    assert "Compute-optimal" in page
    assert page.count("<svg") >= 3


def test_a_store_shows_its_failed_run_without_torch(results):
    assert "out of memory" in results["status"][1] + results["rerun"][1]


def test_doctor_says_how_to_install_what_trains(results):
    out = results["doctor"][1]
    assert out.count("not installed; pip install 'isoflop[train]'") == len(TRAIN) + 1
    assert "not measured without torch" in out


@pytest.mark.parametrize(
    "command",
    ["plan", "train", "tune", "fit for a task", "fit for a task that imports torch"],
)
def test_commands_that_need_torch_say_how_to_install_it(results, command):
    assert results[command] == [2, "", f"isoflop: {SENTENCE}\n"]


def test_public_names_that_need_torch_say_how_to_install_it_and_the_others_are_there():
    problems = json.loads(run_without(TRAIN, NAMES))
    assert set(problems) == set(isoflop.__all__)
    assert {name for name, problem in problems.items() if problem} == NEEDS_TORCH
    assert {problems[name] for name in NEEDS_TORCH} == {SENTENCE}


@pytest.mark.train
def test_one_missing_package_is_enough_and_is_named():
    problems = json.loads(run_without(("accelerate",), NAMES, "fingerprint"))
    assert "train, but accelerate is not installed" in problems["fingerprint"]


def test_an_answer_for_a_task_says_how_to_install_torch(results):
    code, out, err = results["answer for a task"]
    assert (code, err) == (0, "")
    assert out.splitlines() == [SENTENCE, SENTENCE]


def test_data_frames_and_parquet_say_how_to_install_pandas(results):
    code, out, err = results["data frames"]
    needed = (
        "This needs the package pandas, which is not installed; run: pip install 'isoflop[{}]'."
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == [needed.format(extra) for extra in ("tables", "tables", "datasets")]

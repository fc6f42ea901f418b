import json
import subprocess
import sys

import pytest

from isoflop.answers.predict import predict
from isoflop.cli import app as cli
from isoflop.fitting.fit import fit
from isoflop.storage.tables import read_runs


def loss_of(num_params, num_tokens):
    return 1.8 + 480 / num_params**0.35 + 2100 / num_tokens**0.37


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = ["params,tokens,flops,loss,compute_budget"]
    for budget in (1e17, 3e17, 1e18, 3e18):
        best = 0.17 * (budget / 6) ** 0.51
        for size in (best / 5, best / 3, best / 1.7, best, best * 1.7, best * 3, best * 5):
            tokens = budget / 6 / size
            rows.append(f"{size!r},{tokens!r},{budget!r},{loss_of(size, tokens)!r},{budget!r}")
    path = tmp_path_factory.mktemp("tables") / "runs.csv"
    path.write_text("\n".join(rows))
    return path


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_fit_prints_the_law_and_the_answer_once_with_its_notes(run, table):
    code, out, err = run("fit", table, "--target", "1e20")
    answer = predict(fit(read_runs(table)), flops=1e20)

    assert (code, err) == (0, "")
    assert "alpha     0.3500" in out
    assert "Compute-optimal at 1e+20 FLOPs (90 % intervals)" in out
    assert all(note.split(";")[0][:60] in out.replace("\n    ", " ") for note in answer.notes)
    assert out.count("FLOPs are 6·N·D in every row") == 1
    assert out.count("beyond the rest") == 1


def test_fit_without_a_target_prints_the_fit_alone(run, table):
    code, out, _ = run("fit", table)

    assert code == 0
    assert "Compute-optimal" not in out
    assert "FLOPs are 6·N·D in every row" in out


def test_json_holds_the_same_numbers_as_python(run, table):
    _, out, _ = run("fit", table, "--target", "1e20", "--json", "--level", "0.5")
    values = json.loads(out)
    fitted = fit(read_runs(table), level=0.5)
    answer = predict(fitted, flops=1e20)

    assert values["fit"]["law"]["alpha"] == fitted.law.alpha
    assert values["fit"]["num_runs"] == 28
    assert values["optimum"]["num_params"]["value"] == answer.num_params.value
    assert values["optimum"]["num_params"]["low"] == answer.num_params.low
    assert values["optimum"]["size"] is None


def test_json_without_a_target_has_no_optimum(run, table):
    assert json.loads(run("fit", table, "--json")[1])["optimum"] is None


def test_json_has_null_where_a_number_is_not_finite(run, table, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(table.read_text() + "\n1e8,1e9,6e17,,\n")

    (aside,) = json.loads(run("fit", path, "--json")[1])["fit"]["set_aside"]

    assert aside["loss"] is None
    assert aside["num_params"] == 1e8


def test_approaches_are_chosen_by_name(run, table):
    assert "IsoFLOP(" in run("fit", table, "--approach", "IsoFLOP")[1]
    assert "Parametric(" in run("fit", table, "--approach", "parametric")[1]


def test_columns_are_mapped(run, table, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(table.read_text().replace("params", "weights of it", 1))

    assert run("fit", path, "--column", "params=weights of it")[0] == 0


@pytest.mark.parametrize("option", ["--flops=1e20", "--params=1e9", "--tokens=2e10", "--loss=2.5"])
def test_predict_answers_each_question(run, table, option):
    code, out, _ = run("predict", table, option)

    assert code == 0
    assert "Compute-optimal at" in out


@pytest.mark.parametrize(
    "arguments", [("fit", "TABLE", "--target"), ("predict", "TABLE", "--flops")]
)
def test_compute_may_be_told_in_hours_and_an_assumed_mfu_is_noted(run, table, arguments):
    _, out, _ = run(
        *(table if argument == "TABLE" else argument for argument in arguments), "8xH100 for 1 day"
    )

    assert "Compute-optimal at 2.6e+20 FLOPs" in out
    assert out.count("No MFU was given") == 1


def test_predict_keeps_the_size_to_a_devices_memory(run, table):
    _, out, _ = run("predict", table, "--flops=1e24", "--device-memory", "L4")

    assert "1.50B params in 24.0 GB" in " ".join(out.split())


def test_predict_prints_json(run, table):
    assert json.loads(run("predict", table, "--flops=1e20", "--json")[1])["flops"] == 1e20


def test_report_writes_a_page_and_prints_its_path(run, table, tmp_path):
    path = tmp_path / "answer.html"

    code, out, _ = run("report", table, "--target", "1e20", "--path", path)

    assert (code, out.strip()) == (0, str(path))
    assert "<title>1e+20 FLOPs:" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fit", "missing.csv"), "There is no file or store missing.csv"),
        (
            ("fit", "TABLE", "--approach", "magic"),
            "--approach must be 'bayesian' or 'kriging' or 'parametric' or 'isoflop' or 'envelope', but got 'magic'.",
        ),
        (
            ("fit", "TABLE", "--column", "params"),
            "--column must be written as field=name, as in params=my_col",
        ),
        (("fit", "TABLE", "--column", "params=x"), "has no column 'x'"),
        (("predict", "TABLE"), "one question at a time"),
        (
            ("predict", "TABLE", "--flops=1e20", "--task=nothing"),
            "A task is named as module:task or file.py:task",
        ),
        (
            ("fit", "TABLE", "--target", "8xH10 for 3 days"),
            "There is no accelerator 'H10' in the table",
        ),
        (("fit", "TABLE", "--task=no_such_module:task"), "There is no module 'no_such_module'"),
        (
            ("fit", "TABLE", "--task=json:dumps2"),
            "json has nothing of the name 'dumps2'; did you mean dumps",
        ),
        (("fit", "TABLE", "--task=json:__name__"), "json:__name__ must be an isoflop.Task"),
        (("fit", "TABLE", "--task=gone.py:task"), "There is no module 'gone.py'"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_exit_code_2(run, table, arguments, sentence):
    code, out, err = run(
        *(str(table) if argument == "TABLE" else argument for argument in arguments)
    )

    assert code == 2
    assert out == ""
    assert err.startswith("isoflop: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_wrong_option_is_exit_code_2(run, table):
    assert run("fit", table, "--targt", "1e20")[0] == 2


def test_ctrl_c_is_exit_code_130(run, table, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("isoflop.storage.tables.read_table", stop)

    assert run("fit", table)[0] == 130


@pytest.mark.train
def test_what_a_task_cannot_import_is_not_blamed_on_its_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_task.py").write_text("import surely_not_installed\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit):
        cli.main(["plan", "broken_task:task", "--budget", "1e9"])
    assert (
        "its code raises ModuleNotFoundError: No module named 'surely_not_installed'"
        in capsys.readouterr().err
    )


def test_the_version_is_shown(run):
    assert run("--version")[1].strip() == "0.1.0"


def test_help_names_the_verbs_and_the_exit_codes(run):
    code, out, _ = run("--help")

    assert code == 0
    assert all(verb in out for verb in ("plan", "train", "fit", "predict", "report", "Exit codes"))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "TABLE", "--target", "1e20"], ["budget", "1e21"]]
)
def test_help_fit_and_budget_import_neither_torch_nor_matplotlib_nor_pandas(table, arguments):
    code = (
        "import sys\nfrom isoflop.cli.app import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'matplotlib', 'pandas') if name in sys.modules])"
    )

    out = python(
        "-c", code, *(str(table) if argument == "TABLE" else argument for argument in arguments)
    )

    assert out.splitlines()[-1] == "[]"


@pytest.mark.train
def test_a_task_is_planned_from_the_command_line(run, own_task):
    code, out, _ = run("plan", "own_task:task", "--budget=2e6", "--budget=5e6")

    assert code == 0
    assert "2e+06" in out


@pytest.mark.train
def test_a_plan_is_told_for_named_hardware(run, own_task):
    plan = ("plan", "own_task:task", "--budget=2e6", "--hardware", "8xT4 at 30% MFU at $0.50/hour")

    assert "T4 hours at 30 % MFU, at least" in run(*plan)[1]
    values = json.loads(run(*plan, "--json")[1])
    assert values["device_hours"] == pytest.approx(values["flops"] / (0.3 * 65e12) / 3600)
    assert values["money"] == pytest.approx(0.5 * values["device_hours"])


@pytest.mark.train
def test_a_plan_has_a_check_of_its_rates_unless_it_is_left_out(run, own_task):
    plan = ("plan", "own_task:task", "--budget=2e6", "--json")

    def codes(*options):
        return {note["code"] for note in json.loads(run(*plan, *options)[1])["notes"]}

    assert codes() & {"rates-checked", "rates-unchecked"}
    assert not codes("--no-check-rates") & {"rates-checked", "rates-unchecked"}


@pytest.mark.train
def test_a_refusal_names_the_option_that_lifts_it(run, own_task):
    code, _, err = run("plan", "own_task:task", "--target=1e15", "--spend=1e8")

    assert code == 2
    assert "spend more, or give --allow-far." in err
    assert "allow_far" not in err


@pytest.mark.train
def test_a_plan_is_centred_on_what_was_run_so_far(run, own_task, table):
    with_runs = run("plan", "own_task:task", "--budget=1e6", "--runs", table)
    without = run("plan", "own_task:task", "--budget=1e6")

    assert with_runs[0] == 0
    assert with_runs[1] != without[1]


@pytest.mark.train
def test_a_task_is_trained_once_from_the_command_line(run, own_task):
    train = ("train", "own_task.py:task", "--budget=1e6", "--store", "store")

    code, out, _ = run(*train)
    again = run(*train)[1]

    assert code == 0
    runs = read_runs("store")
    assert {run.budget for run in runs} == {1e6}
    assert out.splitlines()[-len(runs) :] == again.splitlines()[-len(runs) :]


@pytest.mark.train
def test_an_answer_is_given_in_sizes_of_a_task(run, table, own_task):
    assert (
        json.loads(run("predict", table, "--flops=1e9", "--task=own_task:task", "--json")[1])[
            "size"
        ]
        == 128
    )


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    (tmp_path / "own_task.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_task", None)
    sys.path[:] = [folder for folder in sys.path if folder != str(tmp_path)]


TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

import isoflop


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, x):
        return self.layers(x)


def data(seed, length):
    torch.manual_seed(seed)
    x = torch.randn(length, 16)
    return TensorDataset(x, (x[:, :4] * x[:, 4:8]).argmax(1))


def task():
    return isoflop.Task(
        model=Net, size_param="width", sizes=[2, 4, 8, 16, 32, 64, 128], train_data=data(0, 2000), val_data=data(1, 500),
        loss=nn.functional.cross_entropy, recipe=isoflop.Recipe(epochs=None),
    )
"""

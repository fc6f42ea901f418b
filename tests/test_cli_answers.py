"""Tables over computes, the final run as a file, JSON of every command, and the check of the installation."""

import json
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest

from isoflop.answers.predict import predict
from isoflop.answers.watch import watch
from isoflop.cli import doctor
from isoflop.errors import DataError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.reporting.export import final_run
from isoflop.storage.tables import read_runs
from tasks import mlp_task


def loss_of(num_params, num_tokens):
    return 1 + 4 / num_params**0.3 + 20 / num_tokens**0.3


@pytest.fixture
def table(tmp_path):
    rows = ["params,tokens,loss,compute_budget"]
    for budget in (1e7, 3e7, 1e8, 3e8):
        for size in np.round(0.07 * (budget / 6) ** 0.5 * np.geomspace(1 / 5, 5, 7)).tolist():
            rows.append(
                f"{size!r},{budget / 6 / size!r},{loss_of(size, budget / 6 / size)!r},{budget!r}"
            )
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(rows))
    return path


def test_several_computes_give_a_table_with_intervals(run, table):
    code, out, _ = run("predict", table, "--approach=parametric", "--flops=1e9", "--flops=1e10")
    lines = out.splitlines()

    assert code == 0
    assert lines[0].split() == [
        "FLOPs",
        "params",
        "90",
        "%",
        "tokens",
        "90",
        "%",
        "loss",
        "90",
        "%",
    ]
    assert [line.split()[0] for line in lines[1:3]] == ["1e+09", "1e+10"]
    assert lines[3].startswith("  - ")


def test_the_table_holds_what_predict_says(run, table):
    out = run("predict", table, "--approach=parametric", "--flops=1e9", "--flops=1e10", "--json")[1]
    answer = predict(fit(read_runs(table), Parametric()), flops=1e10)

    assert [one["flops"] for one in json.loads(out)] == [1e9, 1e10]
    assert json.loads(out)[1]["num_params"]["high"] == answer.num_params.high


def width_of_params(run, table, *arguments):
    params = json.loads(run("predict", table, "--flops=1e12", "--json", *arguments)[1])[
        "num_params"
    ]
    return np.log(params["high"] / params["low"])


def test_a_prior_narrower_than_the_default_narrows_the_answer_and_a_flat_one_widens_it(run, table):
    known, default, flat = (
        width_of_params(run, table, *p) for p in (["--prior=0.5±0.01"], [], ["--prior=flat"])
    )

    assert known < 0.9 * default
    assert default < 0.9 * flat


def test_a_plus_and_a_minus_stand_for_the_sign(run, table):
    assert width_of_params(run, table, "--prior=0.5+-0.01") == width_of_params(
        run, table, "--prior=0.5±0.01"
    )


@pytest.mark.parametrize("words", ["wide", "0.5", "0.5±-1", "nan±0.1", ""])
def test_a_prior_that_cannot_be_read_is_one_sentence(run, table, words):
    code, out, err = run("predict", table, "--flops=1e9", f"--prior={words}")

    assert code == 2
    assert out == ""
    assert (
        err.strip()
        == f"isoflop: --prior must be flat, or a slope such as 0.5±0.05, but got {words!r}."
    )


@pytest.mark.parametrize(
    ("form", "first"),
    [("markdown", "| FLOPs |"), ("latex", r"\begin{tabular}{rrlrlrl}"), ("csv", "flops,params,")],
)
def test_a_table_is_written_in_the_form_that_is_asked_for(run, table, form, first):
    asked = ("predict", table, "--approach=parametric", "--flops=1e9", "--flops=1e13")
    _, out, err = run(*asked, "--format", form)
    assert out.startswith(first)
    assert "times the largest run" in err
    assert "times the largest run" not in out


def test_the_final_run_is_exported_with_all_that_trains_it(run, table):
    code, _, _ = run("predict", table, "--flops=2e8", "--task=owned:task", "--export=final.json")
    told = json.loads(Path("final.json").read_text())
    task = mlp_task()
    spec = final_run(task, predict(fit(read_runs(table)), flops=2e8, task=task))

    assert code == 0
    assert (told["size"], told["num_tokens"], told["lr"]) == (spec.size, spec.num_tokens, spec.lr)
    assert told["steps"] * told["step_tokens"] == told["num_tokens"]
    assert told["flops"] == pytest.approx(2e8, rel=0.1)
    assert told["answer"]["flops"] == 2e8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--flops=1e9", "--export=final.json"),
            "--export writes the final run of one answer by the task's recipe",
        ),
        (
            ("--flops=1e9", "--format=tabular"),
            "--format must be text or markdown or latex or csv, but got 'tabular'",
        ),
        (("--flops=1e9", "--loss=2"), "one question at a time"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(run, table, arguments, sentence):
    code, out, err = run("predict", table, *arguments)

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert sentence in err


def test_a_final_run_needs_an_answer_in_sizes(table):
    with pytest.raises(DataError, match="needs a size that can be built"):
        final_run(mlp_task(), predict(fit(read_runs(table)), flops=1e9))


def test_plan_train_and_report_speak_json_too(run, table):
    planned = json.loads(run("plan", "owned:task", "--budget=1e6", "--json")[1])
    trained = json.loads(run("train", "owned:task", "--budget=1e6", "--store=store", "--json")[1])
    written = json.loads(run("report", table, "--target=1e9", "--approach=parametric", "--json")[1])

    assert [one["id"] for one in planned["runs"]] == [one["id"] for one in trained]
    assert {one["status"] for one in trained} == {"completed"}
    assert Path(written["path"]).exists()


def test_a_plan_in_json_says_all_that_its_text_does(run):
    arguments = (
        "plan",
        "owned:task",
        "--budget=3e7",
        "--budget=1e8",
        "--budget=3e8",
        "--target=1e9",
        "--hardware=H100",
    )
    text, planned = run(*arguments)[1], json.loads(run(*arguments, "--json")[1])

    assert f"to within a factor of {planned['forecast']['factor']:.2g}" in " ".join(text.split())
    assert f"Condition number of the design: {planned['condition']:.2g}" in text
    assert planned["hardware"]["accelerator"]["name"].startswith("H100")
    assert all(
        " ".join(note["text"].split()) in " ".join(text.split()) for note in planned["notes"]
    )
    assert {"code", "text", "severity", "remedy"} == set(planned["notes"][0])
    assert f"{len(planned['checks'])} short runs more" in " ".join(text.split())
    assert all(one["checked_lr"] and one["seconds"] > 0 for one in planned["checks"])
    assert "mfu-assumed" in {note["code"] for note in planned["notes"]}


def test_status_says_what_each_stage_is_for(run):
    run("train", "owned:task", "--budget=1e6", "--store=store", "--json")

    assert run("status", "store")[1].startswith("budget 1e+06 FLOPs: ")
    assert json.loads(run("status", "store", "--json")[1])[0]["purpose"] == "budget 1e+06 FLOPs"


def test_a_page_is_drawn_while_runs_are_trained(warm_python, run):
    code, _, _ = run(
        "train",
        "owned:task",
        "--budget=1e6",
        "--store=store",
        "--target=1e8",
        "--page=page.html",
        "--processes=1",
    )

    assert code == 0
    assert "1e+08 FLOPs" in Path("page.html").read_text()


def test_a_page_without_a_target_is_refused_before_anything_is_trained(run):
    code, _, err = run("train", "owned:task", "--budget=1e6", "--store=store", "--page=page.html")

    assert code == 2
    assert "give --target" in err
    assert not [*Path("store").glob("*/record.json")]


def test_doctor_names_versions_devices_and_extras(run):
    code, out, _ = run("doctor")
    found = json.loads(run("doctor", "--json")[1])

    assert code == 0
    assert "FLOPs per second in a fp32 matrix product" in out
    assert found["versions"]["isoflop"] == "0.1.0"
    assert set(found["extras"]) == set(metadata("isoflop").get_all("Provides-Extra"))
    assert found["devices"][0]["flops_per_second"] > 1e8


def test_doctor_says_how_to_get_what_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"ray": ("surely_not_installed",)})
    monkeypatch.setattr(doctor, "PACKAGES", ("isoflop", "surely-not-installed"))
    shown = str(doctor.doctor_report())

    assert "[ray]" in shown
    assert "not installed; pip install 'isoflop[ray]'" in shown
    assert "missing; pip install 'surely-not-installed'" in shown


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """30,000 rows under names of their own, in millions and billions, with text, gaps and NaN among the losses."""
    rng, rows = np.random.default_rng(0), ["who,model size (M),Tokens_B,final/val_loss"]
    sizes, ratios = 10 ** rng.uniform(6, 10, 30_000), 10 ** rng.uniform(0, 3, 30_000)
    for i, (size, tokens) in enumerate(zip(sizes.tolist(), (sizes * ratios).tolist(), strict=True)):
        loss = (
            ""
            if i % 997 == 0
            else "nan"
            if i % 501 == 0
            else "pending"
            if i == 17_777
            else repr(loss_of(size, tokens))
        )
        rows.append(f"r{i},{size / 1e6!r},{tokens / 1e9!r},{loss}")
    path = tmp_path_factory.mktemp("huge") / "huge.csv"
    path.write_text("\n".join(rows))
    return path


HUGE_COLUMNS = (
    "--column=params=model size (M)",
    "--column=tokens=Tokens_B",
    "--column=loss=final/val_loss",
)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ((), "has no column for params; it has who, model size (M), Tokens_B and final/val_loss"),
        (
            (*HUGE_COLUMNS[:2], "--column=loss=who"),
            "who must hold numbers, but row 2 of huge.csv has 'r0' and 29999 more rows have text",
        ),
        (
            ("--column=params=size (M)", *HUGE_COLUMNS[1:]),
            "no column 'size (M)' (did you mean 'model size (M)'?)",
        ),
    ],
)
def test_a_huge_table_that_cannot_be_read_is_refused_in_one_sentence(run, huge, columns, sentence):
    code, _, err = run("fit", huge, *columns)

    assert code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_huge_table_with_units_in_names_and_a_stray_word_is_fitted_and_says_how_it_was_read(
    run, huge
):
    code, out, _ = run("fit", huge, *HUGE_COLUMNS, "--json")
    notes = " ".join(note["text"] for note in json.loads(out)["fit"]["notes"])

    assert code == 0
    assert (
        "'model size (M)' as params in units of 1e+06, 'Tokens_B' as tokens in units of 1e+09"
        in notes
    )
    assert "1 run set aside (failed: the table has text for its loss)" in notes
    assert "90 runs set aside (its loss is not finite)" in notes


@pytest.fixture
def checkpoints(tmp_path):
    """Runs of six sizes with five rows each, of which only the last is known to be finished."""
    rows = ["run,params,tokens,loss"]
    for size in np.geomspace(1e6, 1e8, 6).round().tolist():
        for tokens in (20 * size * np.geomspace(0.1, 3, 5)).tolist():
            rows.append(f"r{size:.0f},{size!r},{tokens!r},{loss_of(size, tokens)!r}")
    path = tmp_path / "checkpoints.csv"
    path.write_text("\n".join(rows))
    return path


def test_the_schedule_of_all_runs_lets_their_earlier_rows_count(run, checkpoints):
    told = json.loads(run("fit", checkpoints, "--schedule=constant", "--json")[1])["fit"]
    expected = fit(read_runs(checkpoints, schedule="constant"))
    code, _, err = run("fit", checkpoints, "--schedule=cosine")

    assert told["num_runs"] == len(expected.runs) == 30
    assert code == 2
    assert "--schedule constant" in err
    assert "read_runs" not in err


def test_a_loss_worse_than_guessing_among_the_vocabulary_has_failed(run, table):
    bad = table.read_text() + f"\n{5e3!r},{1e8 / 6 / 5e3!r},9.5,{1e8!r}"
    table.write_text(bad)
    plain, told = (
        json.loads(run("fit", table, *arguments, "--json")[1])["fit"]
        for arguments in ([], ["--vocabulary=256"])
    )

    assert "worse than guessing among 256" in read_runs(table, vocabulary=256)[-1].error
    assert all("guessing" not in one["reason"] for one in plain["set_aside"])
    assert told["num_runs"] == 28


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "--flops=1e9"),
        ("report", "--target=1e9"),
        ("holdout",),
        ("compare", "--target=1e9"),
        ("fit",),
    ],
)
def test_every_command_that_reads_runs_refuses_a_wrong_vocabulary(run, table, arguments):
    command, *rest = arguments
    sources = [table] * (2 if command == "compare" else 1)
    code, out, err = run(command, *sources, *rest, "--vocabulary=1", "--schedule=constant")

    assert (code, out) == (2, "")
    assert err.strip() == "isoflop: --vocabulary must be 2 or more, but got '1'."


@pytest.fixture
def architectures(table):
    """The table's runs for an architecture `a`, and with a higher floor for `b`."""
    head, *rows = table.read_text().splitlines()
    higher = [row.split(",") for row in rows]
    for cells in higher:
        cells[2] = repr(float(cells[2]) + 0.5)
    lines = [f"{row},a" for row in rows] + [f"{','.join(cells)},b" for cells in higher]
    table.write_text("\n".join([f"{head},arch", *lines]))
    return table


def test_each_group_of_a_column_has_its_own_fit(run, architectures):
    arguments = ("fit", architectures, "--by=arch", "--approach=parametric", "--target=1e9")
    code, out, _ = run(*arguments)
    told = json.loads(run(*arguments, "--json")[1])

    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("arch = ")] == [
        "arch = a",
        "arch = b",
    ]
    assert [told[label]["fit"]["num_runs"] for label in "ab"] == [28, 28]
    losses = [told[label]["optimum"]["loss"]["value"] for label in "ab"]
    assert losses[1] - losses[0] == pytest.approx(0.5, abs=0.02)


def test_groups_that_cannot_be_fitted_are_one_sentence(run, architectures, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("\n".join(architectures.read_text().splitlines()[:31]))
    (tmp_path / "store").mkdir()
    of_few, of_none, of_store = (
        run("fit", source, f"--by={by}")
        for source, by in ((few, "arch"), (few, "optimiser"), (tmp_path / "store", "arch"))
    )

    for code, out, err in (of_few, of_none, of_store):
        assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "isoflop: arch 'b': " in of_few[2]
    assert "has no column 'optimiser'" in of_none[2]
    assert "--by reads a column of a table" in of_store[2]


def test_watch_shows_and_gives_what_the_function_does(run, table, tmp_path):
    size, tokens = 5e3, 1e9 / 6 / 5e3
    share = np.linspace(0.05, 0.5, 10)
    losses = loss_of(size, share * tokens) * 1.1
    curve = tmp_path / "curve.csv"
    rows = zip((share * tokens).tolist(), losses.tolist(), strict=True)
    curve.write_text("\n".join(["seen,nll", *(f"{at!r},{loss!r}" for at, loss in rows)]))
    arguments = (
        "watch", table, "--approach=parametric", f"--params={size}", f"--tokens={tokens}",
        f"--curve={curve}", "--curve-column=tokens=seen", "--curve-column=loss=nll",
    )  # fmt: skip
    code, out, _ = run(*arguments)
    told = json.loads(run(*arguments, "--json")[1])
    expected = watch(
        fit(read_runs(table), Parametric()),
        curve,
        num_params=size,
        num_tokens=tokens,
        columns={"tokens": "seen", "loss": "nll"},
    )

    assert code == 0
    assert out.startswith(str(expected).split("  - ")[0].rstrip())
    assert "none of the sweep's runs has a training curve" in out
    assert told["course"] == expected.course == "unknown"
    assert told["share"] == pytest.approx(0.5)
    assert told["forecast"]["loss"]["high"] == expected.forecast.loss.high


def test_watch_without_the_column_says_how_to_name_it(run, table, tmp_path):
    curve = tmp_path / "curve.csv"
    curve.write_text("step,loss\n1,2\n")
    code, out, err = run("watch", table, "--params=5000", "--tokens=1e4", f"--curve={curve}")

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "--curve-column tokens=..." in err

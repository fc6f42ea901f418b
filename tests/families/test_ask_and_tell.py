"""Plans handed out to trainers, and results taken back by hand, in Python and in a shell."""

import json
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import isoflop
from ladder import BUDGETS, ladder, loss_of


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(ladder(), budgets=BUDGETS)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path, sweep):
    store = isoflop.DirectoryStore(tmp_path) if request.param == "folder" else isoflop.MemoryStore()
    sweep.save(store)
    return store


def test_tables_have_what_a_trainer_needs(sweep, tmp_path):
    frame = sweep.to_frame()
    assert [*frame["id"]] == [spec.id for spec in sweep.specs]
    first, spec = frame.iloc[0], sweep.specs[0]
    assert first["num_steps"] * first["batch_tokens"] == first["num_tokens"] == spec.num_tokens
    assert first["warmup_steps"] == round(spec.warmup * first["num_steps"])
    for name in ("size", "lr", "beta1", "beta2", "weight_decay", "schedule", "seed", "flops"):
        assert first[name] == getattr(spec, name)
    read = pd.read_csv(tmp_path / "plan.csv") if sweep.to_csv(tmp_path / "plan.csv") else None
    assert [*read["num_tokens"]] == [spec.num_tokens for spec in sweep.specs]
    assert json.loads(sweep.to_json(tmp_path / "plan.json")) == sweep.rows()
    assert json.loads((tmp_path / "plan.json").read_text()) == sweep.rows()


def test_commands_survive_the_shell(sweep):
    lines = sweep.commands(
        "printf '%s\\n' {size} {lr:.2e} {folder} {schedule}", folder="my 'runs'; rm x/{id}"
    )
    for line, spec in zip(lines, sweep.specs, strict=True):
        printed = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True)
        assert printed.stdout.splitlines() == [
            str(spec.size),
            f"{spec.lr:.2e}",
            f"my 'runs'; rm x/{spec.id}",
            spec.schedule,
        ]
    with pytest.raises(isoflop.ContractError, match="got {widht}"):
        sweep.commands("train {widht}")


def test_what_is_told_is_recorded(store, sweep):
    by_spec = store.tell(sweep.specs[0], loss=3.5, metrics={"acc": 0.2})
    by_id = store.tell(sweep.specs[1].id, loss=3.25, num_tokens=sweep.specs[1].num_tokens * 1.01)
    diverged = store.tell(sweep.specs[2].id, loss=float("nan"))
    failed = store.tell(sweep.specs[3].id, status="failed", error="out of memory")
    told = {run.id: run for run in (by_spec, by_id, diverged, failed)}
    assert {run.id for run in store.read_runs()} == set(told)
    assert by_spec.flops == sweep.specs[0].flops
    assert by_id.flops == pytest.approx(1.01 * sweep.specs[1].flops)
    assert (diverged.status, failed.status) == ("diverged", "failed")
    assert store.tell(sweep.specs[0], loss=3.5).loss == 3.5  # the same again
    assert store.tell(sweep.specs[3], loss=3.0).status == "completed"  # another try
    assert store.tell(sweep.specs[0], loss=3.4, again=True).loss == 3.4


def test_train_makes_only_what_was_not_told(store, sweep):
    for spec in sweep.specs[:-1]:
        store.tell(spec, loss=loss_of(spec))
    called = []

    def trainer(spec, folder):
        called.append(spec)
        return loss_of(spec)

    runs = isoflop.train(ladder(), sweep, trainer=trainer, store=store, progress=False)
    assert called == [sweep.specs[-1]]
    assert [run.loss for run in runs] == [loss_of(spec) for spec in sweep.specs]


REFUSED = {
    "an unknown id": (dict(spec_or_id="0" * 16, loss=3.0), "has no '0000000000000000'"),
    "no id": (dict(spec_or_id=7, loss=3.0), "a RunSpec or its id"),
    "no loss": ({}, "must have a loss"),
    "a text": (dict(loss="low"), "must be a number"),
    "below 0": (dict(loss=-2.0), "must be above 0"),
    "tokens off by 10 %": (dict(loss=3.0, num_tokens=1.1), "1.10 times"),
    "another unit": (dict(loss=3000.0), "in the unit of the other runs"),
    "another loss": (dict(spec_or_id=0, loss=3.1), "is recorded as completed with loss 3.000"),
    "an unknown status": (dict(loss=3.0, status="done"), "status"),
    "a curve of one number": (dict(loss=3.0, curve=[1, 2]), "pairs of tokens"),
    "metrics in words": (dict(loss=3.0, metrics={"acc": "high"}), "'acc' must be a number"),
    "no FLOPs": (dict(loss=3.0, flops=0), "flops"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_the_plan_is_refused(name, store, sweep):
    store.tell(sweep.specs[0], loss=3.0)
    given, words = REFUSED[name]
    spec = given.get("spec_or_id", 1)
    spec = sweep.specs[spec] if spec in (0, 1) else spec
    values = {key: value for key, value in given.items() if key != "spec_or_id"}
    if "num_tokens" in values:
        values["num_tokens"] *= sweep.specs[1].num_tokens
    with pytest.raises(isoflop.DataError) as caught:
        store.tell(spec, **values)
    assert words in str(caught.value)
    assert len(store.read_runs()) == 1


def test_a_table_with_ids_is_joined_to_its_plan(sweep, tmp_path):
    frame = sweep.to_frame()
    frame["loss"] = [loss_of(spec) for spec in sweep.specs]
    frame.iloc[::-1].to_csv(tmp_path / "runs.csv", index=False)
    runs = isoflop.read_runs(tmp_path / "runs.csv", specs=sweep)
    assert [run.spec for run in reversed(runs)] == list(sweep.specs)
    assert all(run.loss == pytest.approx(loss_of(run.spec)) for run in runs)
    frame.loc[0, "id"] = "1" * 16
    with pytest.raises(isoflop.DataError, match="the plan has no '1111111111111111'"):
        isoflop.read_runs(frame, specs=sweep)
    frame.loc[0, "id"] = frame.loc[1, "id"]
    with pytest.raises(isoflop.DataError, match="has two"):
        isoflop.read_runs(frame, specs=sweep)


def test_a_table_needs_no_more_than_ids_and_losses(sweep, tmp_path):
    rows = [f"{spec.id},{loss_of(spec)!r}" for spec in sweep.specs]
    (tmp_path / "done.csv").write_text("\n".join(["id,loss", *rows, ",9.9"]))
    runs = isoflop.read_runs(tmp_path / "done.csv", specs=sweep)
    assert [run.spec for run in runs] == list(sweep.specs)
    for run in runs:
        assert (run.num_tokens, run.flops) == (run.spec.num_tokens, run.spec.flops)
        assert run.loss == loss_of(run.spec)


def test_the_flops_of_a_table_follow_the_plan_where_it_has_none(sweep):
    frame = pd.DataFrame(
        {
            "id": [spec.id for spec in sweep.specs],
            "tokens": [1.01 * spec.num_tokens for spec in sweep.specs],
            "loss": [loss_of(spec) for spec in sweep.specs],
        }
    )
    for run in isoflop.read_runs(frame, specs=sweep.specs):
        assert run.num_tokens == pytest.approx(1.01 * run.spec.num_tokens)
        assert run.flops == pytest.approx(1.01 * run.spec.flops)


def test_rows_that_wait_for_their_loss_are_neither_trained_nor_spent():
    planned = isoflop.plan(ladder(), target=1e15, spend=0.02)
    frame = planned.to_frame()
    frame["loss"] = [loss_of(spec) if k == 0 else None for k, spec in enumerate(planned.specs)]
    again = isoflop.plan(ladder(), target=1e15, spend=0.02, runs=isoflop.read_runs(frame))
    only = isoflop.plan(ladder(), target=1e15, spend=0.02, runs=isoflop.read_runs(frame[:1]))
    assert again.specs == only.specs
    waiting = f"{len(planned.specs) - 1} runs without a loss count as not trained"
    assert any(waiting in note for note in again.notes)


# -- from a shell ----------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs a command of isoflop in a folder with a table of sizes; returns what it prints."""
    from isoflop.cli import app

    family = ladder()
    rows = [f"{w},{m.num_params},{m.flops_per_token}" for w, m in family.members.items()]
    (tmp_path / "sizes.csv").write_text("\n".join(["size,params,flops_per_token", *rows]))
    monkeypatch.chdir(tmp_path)

    def run(line, code=0):
        ended = 0
        try:
            app.main(shlex.split(line))
        except SystemExit as error:
            ended = error.code or 0
        printed = capsys.readouterr()
        assert ended == code, printed.err
        return printed.out if code == 0 else printed.err

    return run


SET = "--set tokens_per_example=64 --set batch_tokens=4096 --set epochs=none"


def test_a_sweep_from_the_shell_gives_the_answer_of_python(shell, tmp_path):
    """plan, tell and next, stage after stage, until the sweep is finished."""
    target, spend, told = "1e15", "2%", 0
    out = shell(f"plan sizes.csv --target {target} --spend {spend} {SET} --store s --format json")
    while planned := json.loads(out):
        for row in planned:
            spec = isoflop.DirectoryStore("s").read_spec(row["id"])
            shell(f"tell s {row['id']} --loss {loss_of(spec)!r}")
            told += 1
        out = shell(
            f"next sizes.csv s --target {target} --spend {spend} {SET} --store s --format json"
        )
    answer = json.loads(shell(f"predict s --flops {target} --task sizes.csv --json"))
    other = isoflop.find_optimal(
        ladder(),
        trainer=lambda spec, folder: loss_of(spec),
        target=float(target),
        spend=spend,
        store=isoflop.MemoryStore(),
    )
    assert told == len(isoflop.read_runs("s"))
    # the store gives runs in the order of their ids, and sums depend on it
    assert answer["num_params"]["value"] == pytest.approx(other.num_params.value, rel=1e-6)
    assert answer["size"] == other.size
    assert "completed" in shell("status s")
    shell(f"report s --target {target} --path page.html --task sizes.csv")
    assert "Compute-optimal" in (tmp_path / "page.html").read_text()


def test_a_sweep_needs_nothing_but_two_tables(shell, tmp_path):
    out = shell(f"plan sizes.csv --target 1e15 --spend 2% {SET} --format csv")
    (tmp_path / "plan.csv").write_text(out)
    plan = pd.read_csv(tmp_path / "plan.csv")
    family = ladder()
    specs = isoflop.plan(family, target=1e15, spend=0.02).specs
    assert [*plan["id"]] == [spec.id for spec in specs]
    plan["loss"] = [loss_of(spec) for spec in specs]
    plan.to_csv(tmp_path / "runs.csv", index=False)
    out = shell(f"next sizes.csv runs.csv --target 1e15 --spend 2% {SET} --format json")
    second = json.loads(out)
    assert second
    assert max(row["flops"] for row in second) > max(plan["flops"])


def test_tables_of_results_are_told_at_once(shell, tmp_path):
    shell(f"plan sizes.csv --budget 1e12 --budget 3e12 {SET} --store s --format csv")
    specs = isoflop.plan(ladder(), budgets=BUDGETS).specs
    frame = pd.DataFrame(
        {"id": [spec.id for spec in specs], "params": [spec.num_params for spec in specs]}
    )
    frame["tokens"] = [spec.num_tokens for spec in specs]
    frame["val"] = [loss_of(spec) for spec in specs]
    frame.to_csv("done.csv", index=False)
    shell("tell s done.csv --column loss=val")
    assert len(isoflop.read_runs("s")) == len(specs)
    frame.loc[0, "tokens"] *= 3
    frame["val"] += 0.001
    frame.to_csv("off.csv", index=False)
    assert "times the" in shell("tell s off.csv --column loss=val", code=2)


def test_rows_without_a_loss_are_not_told(shell):
    shell(f"plan sizes.csv --budget 1e12 {SET} --store s --format csv")
    specs = isoflop.plan(ladder(), budgets=[1e12]).specs
    losses = [f"{loss_of(spec)!r}" if k < 2 else "" for k, spec in enumerate(specs)]
    rows = [f"{spec.id},{loss}" for spec, loss in zip(specs, losses, strict=True)]
    Path("done.csv").write_text("\n".join(["id,loss", *rows]))
    shell("tell s done.csv")
    assert {run.id for run in isoflop.read_runs("s")} == {spec.id for spec in specs[:2]}
    Path("none.csv").write_text("\n".join(["id,loss", *(f"{spec.id}," for spec in specs)]))
    assert "the loss of one run at least" in shell("tell s none.csv", code=2)
    assert len(isoflop.read_runs("s")) == 2


def test_ids_of_no_plan_and_options_that_would_be_ignored_are_refused(shell):
    shell(f"plan sizes.csv --budget 1e12 {SET} --store s --format csv")
    Path("done.csv").write_text("id,loss\nabc,3.1\n")
    assert "the plan has no 'abc'" in shell("tell s done.csv", code=2)
    assert "--status gives a result for the id" in shell("tell s done.csv --status failed", code=2)
    assert "--loss gives a result for the id" in shell("tell s done.csv --loss 3", code=2)
    assert "--column gives a name" in shell("tell s abc --loss 3 --column loss=val", code=2)


def test_results_are_told_in_words_of_the_shell(shell):
    shell(f"plan sizes.csv --budget 1e12 {SET} --store s --format csv")
    first, second, third = (spec.id for spec in isoflop.plan(ladder(), budgets=[1e12]).specs[:3])
    assert "diverged" in shell(f"tell s {first} --loss nan")
    assert "loss 3.200" in shell(f"tell s {second} --loss 3.2 --metric acc=0.5")
    assert "or give --any-tokens to" in shell(f"tell s {third} --loss 3.1 --tokens 9M", code=2)
    assert "give --again to" in shell(f"tell s {second} --loss 3.1", code=2)
    assert "`isoflop plan --store`" in shell(f"tell s {'0' * 16} --loss 3.1", code=2)
    assert "failed" in shell(f"tell s {third} --status failed --error 'node lost'")
    (run,) = (run for run in isoflop.DirectoryStore("s").read_runs() if run.id == second)
    assert run.metrics == {"acc": 0.5}


def test_commands_and_a_trainer_from_the_shell(shell):
    template = "echo loss 2.{seed}5 {size}"
    lines = shell(f"plan sizes.csv --budget 1e12 {SET} --format commands --command '{template}'")
    assert lines.splitlines()[0] == "echo loss 2.05 16"
    out = shell(
        f"train sizes.csv --budget 1e12 {SET} --store t --command '{template}' "
        f"--result 'loss ([0-9.]+)'"
    )
    assert "2.050" in out


def test_a_sweep_that_nothing_can_train_leaves_no_plan_behind(shell):
    shell(f"train sizes.csv --budget 1e12 {SET} --store s", code=2)
    assert not Path("s").exists() or not isoflop.DirectoryStore("s").read_stages()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan sizes.csv --budget 1e12 --format xml", "--format must be"),
        ("plan sizes.csv --budget 1e12 --format commands", "needs --command"),
        ("plan sizes.csv --budget 1e12 --command 'a {size}'", "for --format commands"),
        ("plan sizes.csv --budget 1e12 --set batch=3", "--set must be name=value"),
        ("plan nowhere.csv --budget 1e12", "There is no file"),
        ("plan sizes.csv --budget 1e12 --format csv --json", "give one of them"),
        ("plan sizes.csv --budget 1e12 --format csv --check-rates", "`isoflop train` makes"),
        ("train sizes.csv --budget 1e12 --store s --tune --no-check-rates", "give one of them"),
        ("train sizes.csv --budget 1e12 --store s", "give --command and --result"),
        ("train sizes.csv --budget 1e12 --store s --command true", "belong together"),
        ("tell nowhere abc --loss 2", "There is no store"),
    ],
)
def test_slips_in_the_shell_are_one_sentence(line, words, shell):
    assert words in shell(f"{line}", code=2)

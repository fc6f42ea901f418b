"""The campaign of registered forecasts: its steps on simulated runs, and the files that are committed."""

import json
import math
from pathlib import Path

import pytest

import isoflop
from isoflop.laws.additive import ChinchillaLaw
from isoflop.training.executors.simulated import Simulated
from tasks import mlp_task

PROOF = Path(__file__).parents[2] / "benchmarks" / "proof"
LAW = ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
TARGET = 1e11


def best_at_a_rate(spec):
    """Of twice or half the best learning rate, 0.1 N^-0.31: 1 % more loss."""
    return math.exp(0.02 * math.log(spec.lr / (0.1 * spec.num_params**-0.31)) ** 2)


@pytest.fixture
def campaign(tmp_path):
    from bookkeeping import Campaign
    from cases import Case

    def task():
        rate = isoflop.Recipe(epochs=None, lr=isoflop.PowerRule(0.3, num_params=-0.31))
        return mlp_task(sizes=tuple(round(4 * 1.3**k) for k in range(30)), recipe=rate)

    case = Case(task, lambda: "0" * 16, TARGET, "a toy")
    executor = Simulated(LAW.loss, noise=0.002, factor=best_at_a_rate)
    return Campaign("toy", case, tmp_path, tmp_path / "stores", executor)


def test_a_task_of_known_law_is_forecast_then_trained_at_its_target_then_judged(
    campaign, monkeypatch
):
    import outcomes
    from forecasts import make_forecasts
    from judging import judge
    from pages import write_page

    make_forecasts(campaign)
    rule = json.loads(campaign.tuning.read_text())["lr"]
    assert rule == {
        "coefficient": pytest.approx(0.1, rel=0.15),
        "num_params": -0.31,
        "num_tokens": 0.0,
    }
    for values in campaign.forecasts().values():
        assert values["spent"] <= values["spend"]
        assert values["spent by the grid"] <= values["spend"]
    with pytest.raises(SystemExit, match="commit"):
        outcomes.train_outcomes(campaign)
    assert max(run.flops for run in campaign.store.read_runs()) < TARGET / 20
    assert judge(campaign) is None
    assert "not yet" in write_page([campaign], campaign.folder)

    monkeypatch.setattr(outcomes, "commit_of", lambda path: "abc 2026-11-29")
    outcomes.train_outcomes(campaign)
    judgement = judge(campaign)
    assert abs(math.log(judgement["best num_params"] / LAW.optimum(TARGET)[0])) < 0.35
    for verdict in judgement["verdicts"].values():
        assert verdict["num_params covered"]
        assert verdict["waste"]["advice"] < verdict["waste"]["20 tokens per param"]
    assert "2 forecasts judged" in write_page([campaign], campaign.folder)


def test_a_campaign_goes_on_from_its_records_without_its_stores(campaign, tmp_path, monkeypatch):
    from bookkeeping import Campaign

    task = campaign.case.task()
    sweep = isoflop.plan(task, budgets=[1e8])
    trained = campaign.train(task, sweep.specs)
    moved = Campaign("toy", campaign.case, tmp_path, tmp_path / "elsewhere")
    monkeypatch.setattr(isoflop.training.runner, "_own_work", None)  # training would fail
    assert [run.loss for run in moved.train(task, sweep.specs)] == [run.loss for run in trained]


def test_a_torn_last_record_is_left_out_and_a_changed_one_is_refused(campaign):
    from bookkeeping import read_records

    task = campaign.case.task()
    campaign.train(task, isoflop.plan(task, budgets=[1e8]).specs)
    text = campaign.records.read_text()
    campaign.records.write_text(text[:-9])
    assert len(read_records(campaign.records)) == text.count("\n") - 1
    campaign.records.write_text(text.replace('"lr": 0.0', '"lr": 0.1'))
    with pytest.raises(ValueError, match="another"):
        read_records(campaign.records)


@pytest.mark.parametrize("path", sorted(PROOF.glob("records/*.jsonl")), ids=lambda path: path.stem)
def test_committed_records_are_of_their_specs(path):
    from bookkeeping import read_records

    assert all(run.loss > 0 for run in read_records(path).values() if run.status == "completed")


@pytest.mark.parametrize(
    "path", sorted(PROOF.glob("forecasts/*pct.json")), ids=lambda path: path.stem
)
def test_committed_forecasts_cost_what_they_say_and_saw_nothing_near_their_target(path):
    from bookkeeping import read_records

    forecast = json.loads(path.read_text())
    records = read_records(PROOF / "records" / f"{forecast['task']}.jsonl")
    for name, runs in (("spent", "runs"), ("spent by the grid", "grid runs")):
        cost = sum(records[run_id].flops for run_id in forecast[runs])
        assert cost + forecast["spent on tuning"] == pytest.approx(forecast[name])
        assert forecast[name] <= forecast["spend"]
    assert max(records[run_id].flops for run_id in forecast["runs"]) < forecast["target"] / 20


def test_designs_are_compared_on_records_that_cost_no_more_than_their_spend():
    from bookkeeping import SPENDS, Campaign
    from designs import answers, sweeps
    from forecasts import after_tuning, spent

    campaign = Campaign.of("gpt")
    for spend in SPENDS:
        compared = dict(sweeps(campaign, spend))
        assert list(compared) == ["sequential", "lean", "grid"]
        most = 1.02 * after_tuning(campaign.case.target, spend)
        assert all(0.9 * most < spent(runs) <= most for runs in compared.values())
        assert len({run.budget for run in compared["lean"]}) == 4
    assert [one.design for one in answers(campaign)] == ["sequential", "lean", "grid"] * 2

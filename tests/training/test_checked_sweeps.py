"""Sweeps with a check of their learning rates: trained, resumed, tuned where it fails."""

import json
import math
import shutil
from dataclasses import replace

import pytest

import isoflop
from isoflop.planning.lean import LEAN_LARGEST_SHARE
from isoflop.recipe import default_batch_tokens
from isoflop.reporting.json_output import status_values, to_json
from isoflop.reporting.status import status_text
from isoflop.storage.status import CHECKS, UNPLANNED, stage_statuses
from isoflop.training.executors.simulated import Simulated
from tasks import mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
TARGET, SPEND = 1e11, 1e10
OWN = isoflop.Recipe(epochs=None, lr=isoflop.PowerRule(0.3, num_params=-0.31))


class Counted(Simulated):
    """Runs of a law whose loss depends on the learning rate, with a count of them."""

    def __init__(self, best):
        super().__init__(LAW.loss, noise=0.002, factor=lambda spec: factor(spec, best))
        object.__setattr__(self, "trained", [])

    def run(self, spec):
        self.trained.append(spec.id)
        return super().run(spec)


class Failing(Counted):
    """The same, where runs that check a rate fail, or those that are told to."""

    def __init__(self, best, fails=lambda spec: spec.checked_lr is not None):
        super().__init__(best)
        object.__setattr__(self, "fails", fails)

    def run(self, spec):
        run = super().run(spec)
        if not self.fails(spec):
            return run
        return replace(run, status="failed", loss=math.nan, error="the disk is slow")


def factor(spec, best):
    return math.exp(0.05 / 2 * math.log(spec.lr / best(spec.num_params)) ** 2)


def own(num_params):
    return OWN.peak_lr(num_params, 1.0)


def lower(num_params):
    """The best rate where the recipe's own is ever more too high."""
    return 0.9 * num_params**-0.8


def find(store, best, **options):
    executor = Counted(best)
    answer = isoflop.find_optimal(
        mlp_task(recipe=OWN), target=TARGET, spend=SPEND, store=store, executor=executor, **options
    )
    return answer, executor


@pytest.fixture(scope="module")
def _tuned(tmp_path_factory):
    store = tmp_path_factory.mktemp("tuned")
    return store, *find(store, lower)


@pytest.fixture
def tuned(_tuned, tmp_path):
    """A store of its own of a sweep whose wrong rule was tuned, its answer and its executor."""
    store, answer, executor = _tuned
    return shutil.copytree(store, tmp_path / "tuned"), answer, executor


def codes(answer):
    return {note.code for note in answer.notes}


def test_a_sweep_trains_its_checks_and_keeps_them_apart(capsys):
    task, executor = mlp_task(recipe=OWN), Counted(own)
    sweep = isoflop.plan(task, budgets=[1e8, 3e8, 1e9])
    store = isoflop.MemoryStore()
    runs = isoflop.train(task, sweep, store=store, executor=executor, progress=False)
    assert [run.id for run in runs] == [spec.id for spec in sweep.specs]
    assert [run.id for run in runs.checks] == [spec.id for spec in sweep.checks]
    assert executor.trained[0] == sweep.checks[0].id
    said = capsys.readouterr().err
    assert "The rule of the learning rate holds" in said
    assert "The rule of the batch holds" in said
    fits = [isoflop.fit(given) for given in (runs, store.read_runs())]
    assert fits[0].law.optimum(TARGET) == pytest.approx(fits[1].law.optimum(TARGET))
    assert all("rates-holds" in {note.code for note in fit.notes} for fit in fits)


def test_the_check_of_a_rule_with_a_step_is_of_that_rule():
    recipe = replace(OWN, lr=lambda N, D: own(N) * (0.6 if N < 3000 else 3))
    task = mlp_task(recipe=recipe)
    sweep = isoflop.plan(task, budgets=[1e8, 3e8, 1e9])
    store = isoflop.MemoryStore()
    runs = isoflop.train(task, sweep, store=store, executor=Counted(own), progress=False)
    assert isoflop.fit(runs).rates is not None


def test_the_runs_of_a_check_are_told_from_those_of_the_law():
    task, store = mlp_task(recipe=OWN), isoflop.MemoryStore()
    sweep = isoflop.plan(task, budgets=[1e8, 3e8, 1e9])
    sweep.save(store)
    runs = isoflop.train(task, sweep, store=store, executor=Counted(own), progress=False)
    assert "checks the learning rate" in repr(runs.checks[0])
    assert "checks the batch" in repr(runs.checks[-1])
    assert "checks the learning rate" not in repr(runs[0])
    stages = {one.stage: one.num_runs for one in stage_statuses(store)}
    assert stages.pop(CHECKS) == len(runs.checks)
    assert list(stages.values()) == [len({run.id for run in runs})]


def test_a_store_on_disk_gives_the_checks_back(tmp_path):
    task, store = mlp_task(recipe=OWN), isoflop.DirectoryStore(tmp_path)
    sweep = isoflop.plan(task, budgets=[1e8, 3e8, 1e9])
    runs = isoflop.train(task, sweep, store=store, executor=Counted(own), progress=False)
    read = {run.id: run for run in isoflop.read_runs(tmp_path)}
    assert any(run.spec.checked_batch for run in runs.checks)
    assert all(read[run.id].spec == run.spec for run in runs.checks)


def test_a_right_rule_is_on_the_answer_and_the_spend_pays_for_the_check():
    store = isoflop.MemoryStore()
    answer, _ = find(store, own)
    assert "rates-holds" in codes(answer)
    assert "rates-tuned" not in codes(answer)
    assert sum(run.flops for run in store.read_runs()) <= 1.02 * SPEND


def test_a_wrong_rule_is_tuned_within_the_spend(tuned):
    store, answer, executor = tuned
    assert {"rates-tuned", "rates-holds"} <= codes(answer)
    runs = isoflop.read_runs(store)
    assert sum(run.flops for run in runs) <= 1.02 * SPEND
    truth = LAW.optimum(TARGET)[0]
    assert answer.num_params.low < truth < answer.num_params.high
    again, second = find(store, lower)
    assert second.trained == []
    assert str(again) == str(answer)
    assert len(executor.trained) == len(set(executor.trained))


def test_a_plan_that_tuned_rates_replaced_waits_for_nothing(tuned):
    store = isoflop.DirectoryStore(tuned[0])
    first, *others = stage_statuses(store)
    assert (first.ended, first.waiting) == ((), ())
    assert first.num_runs == len(first.replaced) > 0
    assert not any(stage.waiting or stage.replaced for stage in others)
    assert "the learning rates were tuned" in status_text([first])
    assert not any(line.endswith(": ") for line in status_text(others).splitlines())
    assert json.loads(to_json(status_values(first)))["replaced"][0]["id"] == first.replaced[0].id


def test_tuning_may_cost_a_tenth_of_what_all_stages_cost(tuned):
    cells = stage_statuses(isoflop.DirectoryStore(tuned[0]))[-1]
    assert cells.stage == UNPLANNED
    # the first round takes up to .6 of that, in cells as large as it pays for
    assert 0.03 * SPEND < sum(run.flops for run in cells.ended) <= 0.1 * SPEND


def test_runs_of_the_tuning_that_are_tried_again_change_no_rule(tuned):
    folder, answer, _ = tuned
    store = isoflop.DirectoryStore(folder)
    cells = stage_statuses(store)[-1]
    assert cells.stage == UNPLANNED
    for run in cells.ended[:10]:
        store.remove_record(run.id)
    again, second = find(store, lambda num_params: 9 * lower(num_params))
    assert second.trained == []
    assert str(again) == str(answer)


def test_a_replaced_plan_is_trained_where_nothing_is_to_be_tuned(tuned):
    store = isoflop.DirectoryStore(tuned[0])
    answer, _ = find(store, lower, tune=None)
    assert "rates-tuned" not in codes(answer)
    assert not any(stage.waiting or stage.replaced for stage in stage_statuses(store))


@pytest.mark.parametrize(("best", "share"), [(own, 0.99), (lower, 0.95)])
def test_what_a_check_and_its_tuning_cost_puts_no_target_out_of_reach(best, share):
    spend = TARGET / 1000 / LEAN_LARGEST_SHARE / share
    far = isoflop.find_optimal(
        mlp_task(recipe=OWN),
        target=100 * TARGET,
        spend=100 * spend,
        store=isoflop.MemoryStore(),
        executor=Counted(best),
    )
    assert "far-target" in codes(far)


def test_a_check_whose_runs_fail_is_said(capsys):
    task, store = mlp_task(recipe=OWN), isoflop.MemoryStore()
    answer = isoflop.find_optimal(
        task, target=TARGET, spend=SPEND, store=store, executor=Failing(own)
    )
    (note,) = (note for note in answer.notes if note.code.startswith("rates-"))
    assert note.code == "rates-unchecked"
    assert "26 failed" in note
    capsys.readouterr()
    sweep = isoflop.plan(task, budgets=[1e8, 3e8])
    isoflop.train(task, sweep, store=store, executor=Failing(own), progress=False)
    assert "failed with the disk is slow" in capsys.readouterr().err


def test_a_wrong_rule_of_branches_is_tuned_to_one_that_branches_can_share():
    recipe = replace(OWN, schedule="wsd", branches=True, batch_tokens=16)
    answer = isoflop.find_optimal(
        mlp_task(recipe=recipe),
        target=TARGET,
        budgets=[1e8, 3e8, 1e9],
        tune=True,
        store=isoflop.MemoryStore(),
        executor=Counted(lower),
    )
    assert {"rates-tuned", "rates-holds"} <= codes(answer)


def in_small_batches(spec):
    """Loss over the best where batches six times smaller than the default are best."""
    over = spec.step_tokens / (default_batch_tokens(1, spec.num_tokens) / 6)
    off = math.log(spec.lr / math.sqrt(over / 6) / own(spec.num_params))
    return math.exp(0.05 / 2 * off**2 + 0.04 / 2 * math.log(over) ** 2)


class Batched(Counted):
    """Runs whose loss depends on the batch, too, with rates that go with its square root."""

    def __init__(self):
        Simulated.__init__(self, LAW.loss, noise=0.002, factor=in_small_batches)
        object.__setattr__(self, "trained", [])


def find_batched(recipe):
    store, executor = isoflop.MemoryStore(), Batched()
    task = mlp_task(recipe=recipe)
    answer = isoflop.find_optimal(task, target=TARGET, spend=SPEND, store=store, executor=executor)
    return answer, store


def test_a_wrong_default_batch_is_tuned_with_the_rates_within_the_spend():
    answer, store = find_batched(OWN)
    (note,) = (note for note in answer.notes if note.code == "rates-tuned")
    assert "recipe's batch wrong" in note
    assert "per step" in note
    assert "batches-holds" in codes(answer)
    assert sum(run.flops for run in store.read_runs()) <= 1.02 * SPEND


def test_a_batch_of_the_users_own_is_kept_and_its_cost_is_said():
    answer, _ = find_batched(replace(OWN, batch_tokens=lambda N, D: default_batch_tokens(N, D)))
    assert {"batches-wrong", "batches-widened"} <= codes(answer)
    assert "rates-tuned" not in codes(answer)


def test_without_tuning_a_wrong_rule_is_said():
    answer, _ = find(isoflop.MemoryStore(), lower, tune=None)
    assert "rates-wrong" in codes(answer)
    assert codes(answer) & {"rates-corrected", "rates-widened"}
    assert "rates-tuned" not in codes(answer)


def test_nothing_is_checked_where_that_is_turned_off():
    store = isoflop.MemoryStore()
    answer, _ = find(store, lower, check_rates=None)
    assert not any(code.startswith("rates-") for code in codes(answer))
    assert all(run.spec.checked_lr is None for run in store.read_runs())


def test_a_value_of_another_kind_is_refused():
    with pytest.raises(isoflop.PlanError, match='tune must be "auto", True or None'):
        find(isoflop.MemoryStore(), own, tune="always")

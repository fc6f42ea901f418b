"""The runs that check the learning rates of a sweep: what they are, and what they cost."""

import math
from dataclasses import replace

import pytest
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import isoflop
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_flops
from isoflop.planning.rate_check import LEAST_STEPS, SHARE
from tasks import mlp_task

pytestmark = pytest.mark.train
BUDGETS = [1e8, 3e8, 1e9]


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=BUDGETS)


def of_rates(sweep):
    return [spec for spec in sweep.checks if spec.checked_batch is None]


def of_batches(sweep):
    return [spec for spec in sweep.checks if spec.checked_batch is not None]


def test_two_sizes_are_tried_at_half_and_twice_the_planned_rate(sweep):
    recipe = sizes_of(mlp_task()).recipe
    sizes = {spec.size for spec in sweep.checks}
    assert len(sizes) == 2
    for size in sizes:
        tried = {(spec.lr, spec.checked_lr) for spec in of_rates(sweep) if spec.size == size}
        (planned,) = {checked for _, checked in tried}
        assert sorted(lr / planned for lr, _ in tried) == pytest.approx([0.5, 1, 2])
        spec = next(spec for spec in sweep.checks if spec.size == size)
        assert planned == pytest.approx(recipe.peak_lr(spec.num_params, spec.num_tokens), rel=0.01)


def test_the_check_costs_its_share_at_most_and_the_plan_says_so(sweep):
    cost = sum(spec.flops for spec in sweep.checks)
    assert 0.3 * SHARE * sweep.flops < cost <= SHARE * sweep.flops
    assert "short runs more, which check the learning rates" in str(sweep).replace("\n    ", " ")
    assert min(spec.num_steps for spec in of_rates(sweep)) >= LEAST_STEPS


def test_the_same_sizes_are_tried_in_half_and_twice_the_batch_on_as_many_tokens(sweep):
    for size in {spec.size for spec in sweep.checks}:
        (planned,) = {
            (spec.batch, spec.num_tokens)
            for spec in of_rates(sweep)
            if spec.size == size and spec.lr == spec.checked_lr
        }
        batch, num_tokens = planned
        others = [spec for spec in of_batches(sweep) if spec.size == size]
        assert {spec.checked_batch for spec in others} == {batch}
        tried = {spec.batch / batch for spec in others}
        assert sorted(tried) == pytest.approx([0.5, 2], rel=0.05)
        for spec in others:
            assert spec.num_tokens == pytest.approx(num_tokens, rel=0.01)
            assert spec.lr / spec.checked_lr == pytest.approx((spec.batch / batch) ** 0.5)


def test_runs_in_twice_an_odd_number_of_batches_are_as_long():
    recipe = isoflop.Recipe(epochs=None, lr=0.01, batch_tokens=16)
    checks = isoflop.plan(mlp_task(recipe=recipe), budgets=BUDGETS).checks
    for size in {spec.size for spec in checks}:
        assert len({spec.num_tokens for spec in checks if spec.size == size}) == 1


def test_no_batch_is_tried_that_the_recipe_or_the_data_do_not_allow():
    smallest = isoflop.Recipe(epochs=None, lr=0.01, batch_tokens=16, min_batch=16)
    sweep = isoflop.plan(mlp_task(recipe=smallest), budgets=BUDGETS)
    assert {spec.batch for spec in of_batches(sweep)} == {32}
    task = mlp_task()
    loader = DataLoader(task.train_data, batch_size=None, sampler=batches_of(task.train_data))
    fixed = isoflop.plan(replace(task, train_data=loader), budgets=BUDGETS)
    assert of_rates(fixed)
    assert not of_batches(fixed)
    assert "which check the learning rates, but no batches, at" in note_on_checks(fixed)


def batches_of(data):
    return BatchSampler(SequentialSampler(data), batch_size=16, drop_last=True)


def note_on_checks(sweep):
    return next(note for note in sweep.notes if note.code == "rates-checked")


def test_a_sweep_that_pays_for_rates_alone_says_that_no_batch_is_checked():
    for sweep in (isoflop.plan(mlp_task(), budgets=[k * 1e6, 3e6 * k]) for k in range(60, 200, 20)):
        if sweep.checks and not of_batches(sweep):
            assert "but no batches" in note_on_checks(sweep)
            return
    raise AssertionError("all sweeps check batches, or nothing")


def test_runs_that_share_trunks_have_a_check_of_what_they_cost():
    recipe = isoflop.Recipe(epochs=None, lr=0.01, batch_tokens=16, schedule="wsd", branches=True)
    branched = isoflop.plan(mlp_task(recipe=recipe), budgets=[1e8, 2e8, 4e8, 8e8])
    cost = sum(spec.flops for spec in branched.checks)
    assert 0 < cost <= SHARE * branched.flops


def test_the_specs_of_the_law_are_those_of_a_plan_without_a_check(sweep):
    plain = isoflop.plan(mlp_task(), budgets=BUDGETS, check_rates=None)
    assert plain.specs == sweep.specs
    assert plain.checks == ()
    assert not {note.code for note in plain.notes} & {"rates-checked", "rates-unchecked"}


def test_a_sweep_too_small_for_a_check_says_so():
    small = isoflop.plan(mlp_task(), budgets=[1e6, 3e6])
    assert small.checks == ()
    assert "rates-unchecked" in {note.code for note in small.notes}


@pytest.mark.parametrize(("budgets", "seeds"), [((1.6e8, 4.8e8), 3), ((5.7e7, 1.7e8), 2)])
def test_a_sweep_that_pays_for_no_size_with_three_seeds_is_checked_with_two(budgets, seeds):
    checks = isoflop.plan(mlp_task(), budgets=[*budgets]).checks
    large = max(spec.num_params for spec in checks)
    assert len({spec.seed for spec in checks if spec.num_params == large}) == seeds


def test_a_spend_pays_for_its_check():
    first = isoflop.plan(mlp_task(), target=1e11, spend=1e10)
    cost = sum(spec.flops for spec in first.checks)
    assert 0 < cost <= SHARE * 1e10


def test_what_is_spent_after_a_stage_includes_its_check():
    first = isoflop.plan(mlp_task(), target=1e11, spend=1e10)
    spent = sum(spec.flops for spec in (*first.specs, *first.checks))
    assert f"after it, {format_flops(spent)} of 1e+10 FLOPs are spent" in first.notes[0]


def test_a_family_is_checked_only_where_that_is_asked_for():
    sizes = {f"s{k}": (1e6 * 2**k, 6e6 * 2**k) for k in range(10)}
    family = isoflop.Family(sizes, recipe=isoflop.Recipe(batch_tokens=2**12), tokens_per_example=64)
    budgets = [1e16, 1e17]
    assert isoflop.plan(family, budgets=budgets).checks == ()
    checks = isoflop.plan(family, budgets=budgets, check_rates=True).checks
    assert len({spec.size for spec in checks}) == 2


def test_a_value_of_another_kind_is_refused():
    with pytest.raises(isoflop.PlanError, match='check_rates must be "auto", True or None'):
        isoflop.plan(mlp_task(), budgets=BUDGETS, check_rates="always")


def test_ids_of_specs_without_a_check_do_not_depend_on_it(sweep):
    assert all(spec.checked_lr is None for spec in sweep.specs)
    assert len({spec.id for spec in (*sweep.specs, *sweep.checks)}) == len(sweep) + len(
        sweep.checks
    )
    assert math.isclose(sweep.flops, sum(spec.flops for spec in sweep.specs))

"""The learning-rate rule that is found is the one that is there, for no more than was allowed."""

import math
from dataclasses import replace

import pytest

import isoflop
from isoflop.fitting.noisy_rule import Tried
from isoflop.fitting.setting_rule import fit_rule, fit_vertex
from isoflop.training import tuning_search
from isoflop.training.executors.simulated import Simulated
from isoflop.training.tuning_table import cells_table, edge_notes
from tasks import mlp_task

LAW = isoflop.ChinchillaLaw(E=0.3, A=5.0, B=40.0, alpha=0.4, beta=0.4)


def best_lr(num_params, num_tokens):
    return 0.5 * num_params**-0.45 * num_tokens**0.1


def lr_cost(spec, curvature=0.03):
    away = math.log(spec.lr / best_lr(spec.num_params, spec.num_tokens))
    return (
        math.inf
        if away > math.log(12)
        else math.exp(0.5 * curvature * away**2 * (1.3 if away > 0 else 1))
    )


def simulated(noise=0.0, factor=lr_cost):
    return Simulated(LAW.loss, noise=noise, factor=factor)


@pytest.fixture(scope="module")
def planned():
    task = mlp_task()
    return task, isoflop.plan(task, budgets=[1e8, 3e8, 1e9])


def tuned(planned, **changes):
    task, sweep = planned
    given = {"store": isoflop.MemoryStore(), "executor": simulated(), "progress": False}
    return isoflop.tune(task, sweep, **{**given, **changes})


def test_a_known_rule_is_recovered_and_extrapolates(planned):
    tuning = tuned(planned)
    largest = max(planned[1].specs, key=lambda spec: spec.flops)
    for cell in tuning.cells:
        at = (cell.place.num_params, cell.place.num_tokens)
        assert tuning.recipe.peak_lr(*at) == pytest.approx(best_lr(*at), rel=0.12)
        assert cell.is_inside
    ratio = tuning.recipe.peak_lr(largest.num_params, largest.num_tokens) / best_lr(
        largest.num_params, largest.num_tokens
    )
    assert abs(math.log(ratio)) < 0.35
    assert tuning.recipe.lr.num_params == pytest.approx(-0.45, abs=0.06)
    assert tuning.cost_inside < 0.001


def test_it_spends_no_more_than_its_share_and_says_so(planned):
    for share in (0.03, 0.1, 0.3):
        store = isoflop.MemoryStore()
        tuning = tuned(planned, share=share, store=store)
        spent = sum(run.flops for run in store.read_runs())
        assert spent == pytest.approx(tuning.flops)
        assert tuning.flops <= tuning.allowance == pytest.approx(share * planned[1].flops)


def test_a_range_that_does_not_hold_the_optimum_is_extended(planned):
    task, sweep = planned
    far = replace(task, recipe=replace(task.recipe, lr=lambda N, D: 30 * best_lr(N, D)))
    tuning = tuned((far, sweep), share=0.3)
    assert all(cell.is_inside for cell in tuning.cells)
    at = (tuning.cells[0].place.num_params, tuning.cells[0].place.num_tokens)
    assert tuning.recipe.peak_lr(*at) == pytest.approx(best_lr(*at), rel=0.2)


class Failing(Simulated):
    """The same, where the runs near the best rate fail, or all of them."""

    near = math.log(1.6)

    def run(self, spec):
        run = super().run(spec)
        away = math.log(spec.lr / best_lr(spec.num_params, spec.num_tokens))
        failed = {"status": "failed", "loss": math.nan, "error": "the disk is slow"}
        return replace(run, **failed) if abs(away) < self.near else run


def test_cells_that_do_not_differ_give_no_digits_of_rounding():
    at = [(N, D) for N in (1e3, 4e3) for D in (2e4, 8e4)]
    edges = [fit_vertex([lr, 2 * lr], [1.0, 2.0]) for lr in (0.03 * N**-0.31 for N, _ in at)]
    assert fit_rule(at, edges, (-0.31, 0.0)).rule.num_tokens == 0


def test_a_run_that_failed_does_not_count_as_a_worse_rate(planned):
    task, sweep = planned
    own = replace(task, recipe=replace(task.recipe, lr=best_lr))
    executor = Failing(LAW.loss, factor=lr_cost)
    tuning = tuned((own, sweep), executor=executor)
    for cell in tuning.cells:
        at = (cell.place.num_params, cell.place.num_tokens)
        assert all(math.isfinite(one.loss) for one in cell.tried)
        assert tuning.recipe.peak_lr(*at) == pytest.approx(best_lr(*at), rel=0.4)


def test_runs_that_all_fail_tune_nothing(planned, monkeypatch):
    monkeypatch.setattr(Failing, "near", math.inf)
    with pytest.raises(isoflop.PlanError, match="all runs of it failed"):
        tuned(planned, executor=Failing(LAW.loss, factor=lr_cost))


def test_branches_get_a_rule_of_the_params_alone(planned):
    task, sweep = planned
    recipe = replace(task.recipe, schedule="wsd", branches=True, batch_tokens=64, lr=0.01)
    branched = replace(task, recipe=recipe)
    tuning = tuned((branched, sweep))
    assert tuning.recipe.lr.num_tokens == 0
    cell = tuning.cells[0].place
    at = (cell.num_params, cell.num_tokens)
    assert tuning.recipe.peak_lr(*at) == pytest.approx(best_lr(*at), rel=0.12)
    assert isoflop.plan(replace(branched, recipe=tuning.recipe), budgets=[1e8, 3e8]).specs


def test_the_lowest_loss_of_a_cell_is_that_of_the_mean_over_its_seeds(planned):
    losses = {0.01: (1.0, 0.8), 0.02: (0.9, 1.2), 0.04: (1.1, 1.1)}
    tried = tuple(
        Tried(value, loss, seed)
        for seed in (0, 1)
        for value, of_seeds in losses.items()
        for loss in of_seeds[seed : seed + 1]
    )
    cell = replace(tuned(planned).cells[0], tried=tried)
    assert cell.lowest == Tried(0.01, pytest.approx(0.9))
    assert not cell.is_inside


def test_an_optimum_at_the_edge_is_told(planned):
    falling = simulated(factor=lambda spec: spec.lr**-0.1)
    tuning = tuned(planned, executor=falling)
    assert not any(cell.is_inside for cell in tuning.cells)
    assert sum("lies at the edge of the values tried" in note for note in tuning.notes) == 4
    assert "(edge)" in str(tuning)


def test_a_best_rate_beyond_those_tried_is_told(planned):
    tuning = tuned(planned)
    cell, best = tuning.cells[0], tuning.best[0]
    assert not [*edge_notes([cell], [best], "learning rate")]
    beyond = best._replace(value=2 * cell.first[-1].value)
    (note,) = edge_notes([cell], [beyond], "learning rate")
    assert "lies beyond the values tried" in note
    assert "(beyond)" in cells_table([cell], [beyond], "lr")


def test_noise_gives_a_rule_that_costs_little(planned):
    tuning = tuned(planned, executor=simulated(noise=0.003))
    for cell in tuning.cells:
        at = (cell.place.num_params, cell.place.num_tokens)
        assert abs(math.log(tuning.recipe.peak_lr(*at) / best_lr(*at))) < 0.5
    assert 0 < tuning.cost_at_largest < 0.02


def test_unsure_cells_get_more_seeds_and_sure_ones_do_not(planned):
    quiet, noisy = (tuned(planned, executor=simulated(noise=noise)) for noise in (0.0, 0.02))
    assert all(one.seed == 0 for cell in quiet.cells for one in cell.tried)
    small, large = noisy.cells[0], noisy.cells[-1]
    assert {one.seed for one in small.tried} >= {0, 1}
    assert noisy.flops <= noisy.allowance
    # the allowance pays for more seeds where they are cheap
    assert len(small.tried) > len(large.tried)
    assert len({one.seed for one in small.tried}) * len(small.first) == len(small.tried)


def test_the_batch_can_be_tuned_too(planned):
    def both(spec):
        tokens = spec.batch * spec.tokens_per_example
        best = 2.0 * spec.num_tokens**0.4
        lr = best_lr(spec.num_params, spec.num_tokens) * math.sqrt(tokens / best)
        return math.exp(0.015 * math.log(spec.lr / lr) ** 2 + 0.02 * math.log(tokens / best) ** 2)

    tuning = tuned(planned, executor=simulated(factor=both), batch=True, share=0.4)
    for cell in tuning.batch_cells:
        at = (cell.place.num_params, cell.place.num_tokens)
        assert tuning.recipe.tokens_per_step(*at) == pytest.approx(2.0 * at[1] ** 0.4, rel=0.35)
    assert tuning.lr.rule == tuning.recipe.lr  # which goes with the tuned batch
    assert tuning.flops <= tuning.allowance
    assert "Tokens per step" in str(tuning)


def test_the_recipe_holds_plain_numbers_so_that_ids_are_stable(planned):
    task, _ = planned
    first, second = tuned(planned), tuned(planned)
    assert first.recipe == second.recipe
    again = isoflop.plan(replace(task, recipe=first.recipe), budgets=[1e8])
    assert [spec.id for spec in again.specs] == [
        spec.id for spec in isoflop.plan(replace(task, recipe=second.recipe), budgets=[1e8]).specs
    ]
    assert again.specs[0].fingerprint == planned[1].specs[0].fingerprint


def test_a_share_that_cannot_pay_is_refused_with_one_that_can(planned):
    with pytest.raises(isoflop.PlanError, match=r"does not pay for them; allow share=\S+ or more"):
        tuned(planned, share=1e-6)
    with pytest.raises(isoflop.PlanError, match="share must be above 0 and up to 1"):
        tuned(planned, share=0)


def test_a_real_task_is_tuned_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_search, "MOST_SEEDS", 2)
    task = mlp_task()
    sweep = isoflop.plan(task, budgets=[1e6, 3e6, 1e7])
    first = isoflop.tune(task, sweep, store=tmp_path, share=0.25, progress=False)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    second = isoflop.tune(task, sweep, store=tmp_path, share=0.25, progress=False)
    assert str(first) == str(second)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")} == times
    assert first.flops <= 0.25 * sweep.flops
    assert len(first.cells) == 4
    assert isoflop.plan(replace(task, recipe=first.recipe), budgets=[3e6]).specs


def test_its_runs_read_data_as_those_of_a_sweep_do(planned):
    with pytest.raises(isoflop.PlanError, match="data_workers must be"):
        tuned(planned, data_workers=-1)


def test_a_vertex_needs_worse_values_on_both_sides():
    inside = fit_vertex([1.0, 2.0, 4.0], [3.01, 3.0, 3.01])
    assert inside.inside
    assert inside.value == pytest.approx(2.0)
    assert not fit_vertex([1.0, 2.0, 4.0], [3.0, 3.1, 3.2]).inside
    wall = fit_vertex([1.0, 2.0, 4.0, 8.0], [3.2, 3.1, 3.0, math.inf])
    assert wall.inside
    assert wall.value == 4.0


def test_noisy_cells_fall_back_on_the_recipes_own_exponents():
    vertices = [
        replace(fit_vertex([1.0, 2.0, 4.0], [3.01, 3.0, 3.01]), spread=1e6) for _ in range(4)
    ]
    cells = [(1e3, 2e4), (1e3, 8e4), (4e3, 2e4), (4e3, 8e4)]
    fitted = fit_rule(cells, vertices, (-0.31, 0.05))
    assert fitted.rule.num_params == pytest.approx(-0.31, abs=0.05)
    assert fitted.rule.num_tokens == pytest.approx(0.05, abs=0.05)

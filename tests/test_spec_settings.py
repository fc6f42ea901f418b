from dataclasses import fields, replace

import pytest

import isoflop
from isoflop.errors import PlanError
from isoflop.settings import Settings

SPEC = isoflop.RunSpec(
    num_params=1e3, num_tokens=6400, flops=3.84e7, size=4, batch=8, tokens_per_example=16.0,
    **isoflop.Recipe(beta1=0.0, schedule="constant", clip=None).settings(1e3, 6400, 128.0),
)  # fmt: skip


def test_settings_are_those_of_the_spec():
    settings = SPEC.settings
    for name in (each.name for each in fields(Settings) if each.name != "cooldown"):
        assert getattr(settings, name) == getattr(SPEC, name)
    assert settings.beta1 == 0.0
    assert settings.clip is None
    assert SPEC.settings is settings


def test_a_schedule_without_a_cooldown_cools_for_no_share_of_the_run():
    assert (SPEC.cooldown, SPEC.settings.cooldown) == (None, 0.0)
    assert replace(SPEC, schedule="wsd", cooldown=0.3).settings.cooldown == 0.3


@pytest.mark.parametrize("name", ["size", "batch", "tokens_per_example", "lr", "precision"])
def test_a_setting_that_is_open_is_named(name):
    with pytest.raises(PlanError, match=f"must have its {name}, but"):
        _ = replace(SPEC, **{name: None}).settings


def test_a_wsd_schedule_needs_its_cooldown():
    with pytest.raises(PlanError, match="must have its cooldown, but"):
        _ = replace(SPEC, schedule="wsd").settings


def test_steps_need_the_batch_alone():
    spec = replace(SPEC, lr=None, schedule=None)
    assert (spec.step_tokens, spec.num_steps) == (128, 50)
    with pytest.raises(PlanError, match="must have its tokens_per_example, but that of size 4"):
        _ = replace(spec, tokens_per_example=None).num_steps


def test_settings_take_no_part_in_a_spec_and_its_id():
    fresh = replace(SPEC)
    assert SPEC.settings
    assert (fresh, fresh.id) == (SPEC, SPEC.id)


def test_a_trainer_of_ones_own_gets_specs_that_leave_settings_open():
    sizes = {width: (1e6 * width**2, 6e6 * width**2) for width in range(2, 14)}
    family = isoflop.Family(sizes, tokens_per_example=128)
    planned = isoflop.plan(family, budgets=[1e17, 1e18])
    specs = tuple(replace(spec, lr=None, schedule=None, clip=None) for spec in planned.specs)
    sweep = replace(planned, specs=specs)
    assert f" {round(specs[0].num_steps)} " in str(sweep)
    trained = []

    def trainer(spec, folder):
        trained.append((spec.num_steps, spec.lr))
        return 2.0

    store = isoflop.MemoryStore()
    runs = isoflop.train(family, sweep, trainer=trainer, store=store, progress=False)
    assert {run.status for run in runs} == {"completed"}
    assert sorted(trained) == sorted((spec.num_steps, None) for spec in specs)
    with pytest.raises(PlanError, match="must have its lr"):
        _ = specs[0].settings

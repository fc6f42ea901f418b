"""The learning rate that a plan starts with follows the kind of model, unless the user gives one."""

import copy
from dataclasses import replace

import pytest
from torch import nn

import isoflop
from isoflop.recipe import DEFAULT_LR
from isoflop.starts import STARTS
from tasks import MLP, mlp_task

SIZES = (4, 8, 16, 32)


class ConvNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, width, 3, padding=1), nn.Linear(width, 4)

    def forward(self, x):
        return self.out(self.conv(x[:, None]).relu().mean(dim=-1))


class Odd(MLP):
    """No layer of a known kind: an embedding that nothing looks up makes it undecided."""

    def __init__(self, width):
        super().__init__(width)
        self.table = nn.Embedding(2, width)


def task_of(model, **recipe):
    return mlp_task(model=model, sizes=SIZES, recipe=isoflop.Recipe(epochs=None, **recipe))


def rates(task):
    return [(spec.lr, spec.num_params, spec.num_tokens) for spec in planned(task).specs]


def planned(task):
    return isoflop.plan(task, budgets=[1e6, 3e6, 1e7])


def note_of(sweep):
    return next((note for note in sweep.notes if note.code == "starting-rate"), None)


KINDS = {"MLP": MLP, "convolutional net": ConvNet, "unknown": Odd}


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_rate_is_the_start_of_the_kind(kind):
    for lr, num_params, num_tokens in rates(task_of(KINDS[kind])):
        assert lr == STARTS[kind].rule(num_params, num_tokens)


def test_the_plan_says_the_rate_the_kind_and_what_tells_it():
    note = note_of(planned(task_of(ConvNet)))
    rule = STARTS["convolutional net"].rule
    assert note.startswith(f"Learning rate {rule}: the start for convolutional nets (")
    assert note.endswith(" % of the params are in Conv1d); tune it before a sweep that matters.")
    assert note in str(planned(task_of(ConvNet))).replace("\n    ", " ")


def test_a_model_of_an_unknown_kind_starts_as_a_transformer_and_the_plan_says_so():
    assert note_of(planned(task_of(Odd))) == (
        "Learning rate 0.3 N^-0.31: the start for transformers, since its modules do not tell what "
        "it is; tune it before a sweep that matters."
    )


@pytest.mark.parametrize("lr", [0.01, isoflop.PowerRule(0.2, num_params=-0.4), lambda n, d: 0.02])
def test_a_rate_of_ones_own_is_never_touched(lr):
    task = task_of(ConvNet, lr=lr)
    assert {rate for rate, *_ in rates(task)} == {
        task.recipe.peak_lr(*at) for _, *at in rates(task)
    }
    assert note_of(planned(task)) is None


def test_branches_of_one_trunk_start_at_one_rate():
    branches = {"branches": True, "schedule": "wsd", "batch_tokens": 50}
    specs = planned(task_of(MLP, **branches)).specs
    by_size = {spec.size: {one.lr for one in specs if one.size == spec.size} for spec in specs}
    assert all(len(rates) == 1 for rates in by_size.values())
    largest = max(specs, key=lambda spec: spec.num_params)
    middle = 150 * largest.num_params**0.45
    assert largest.lr == pytest.approx(STARTS["MLP"].rule(largest.num_params, middle), rel=1e-3)


def test_far_beyond_the_models_of_the_rule_the_plan_says_so():
    task = replace(task_of(MLP), num_params=lambda model: 10**6 * model.hidden.out_features)
    assert "; found on models of up to 100k params, so tune it" in note_of(planned(task))


def test_a_family_of_a_tasks_models_starts_as_they_do():
    family = isoflop.Family(task_of(ConvNet))
    assert rates(family) == rates(task_of(ConvNet))
    assert note_of(planned(family)) == note_of(planned(task_of(ConvNet)))


def test_a_family_without_a_model_starts_as_transformers_do():
    family = isoflop.Family({8: 1e4, 12: 3e4, 16: 1e5})
    sweep = isoflop.plan(family, budgets=[1e10, 3e10])
    assert all(spec.lr == DEFAULT_LR(spec.num_params, spec.num_tokens) for spec in sweep.specs)
    assert note_of(sweep) is None


def test_a_recipe_without_a_model_has_the_rate_of_transformers():
    assert isoflop.Recipe().peak_lr(1e8, 2e9) == pytest.approx(0.3 * 1e8**-0.31)
    assert isoflop.Recipe(lr="auto") == isoflop.Recipe() == copy.deepcopy(isoflop.Recipe())


def test_other_words_are_refused():
    with pytest.raises(
        isoflop.ContractError, match='above 0 and up to 1e6, "auto", or a rule, but'
    ):
        isoflop.Recipe(lr="best")

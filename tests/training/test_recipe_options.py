"""Every option of Recipe: it reaches the training loop at its boundary values, and a killed run resumes bit for bit."""

import dataclasses
import gc
import math

import numpy as np
import pytest
import torch
from torch import nn

import isoflop
from isoflop.counting.sizes_of import sizes_of
from isoflop.errors import ContractError, PlanError
from isoflop.planning.branches import branched
from isoflop.planning.specs import make_spec
from isoflop.recipe_checks import RANGES
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.records import dump_spec, load_spec
from isoflop.training.loop import train_model
from tasks import MLP, mlp_task


class Stop(Exception):
    pass


def momentum(groups, lr, betas):
    return torch.optim.SGD(groups, lr=lr, momentum=betas[0])


def two_groups(model, lr, weight_decay):
    return [
        {"params": list(model.hidden.parameters()), "lr": lr / 4, "weight_decay": 0.0},
        {"params": list(model.out.parameters()), "weight_decay": weight_decay},
    ]


OPTIONS = {
    "epochs": [{"epochs": 20.0}],
    "lr": [{"lr": 0.01}, {"lr": lambda params, tokens: 0.1 * params**-0.3}],
    "batch_tokens": [{"batch_tokens": 16}],
    "min_batch": [{"min_batch": 40, "batch_tokens": 1}],
    "beta1": [{"beta1": 0.0}],
    "beta2": [{"beta2": 0.0}, {"beta2": lambda tokens: 0.999}],
    "weight_decay": [{"weight_decay": 0.0}],
    "decay_timescale": [{"decay_timescale": 0.3}],
    "warmup": [{"warmup": 0.0}],
    "schedule": [{"schedule": name} for name in ("linear", "wsd", "constant")],
    "cooldown": [{"schedule": "wsd", "cooldown": 1.0}],
    "branches": [{"schedule": "wsd", "branches": True, "batch_tokens": 64}],
    "clip": [{"clip": None}, {"clip": 0.01}],
    "precision": [{"precision": "bf16"}, {"precision": "fp32"}],
    "ema": [{"ema": 0.05}, {"ema": 0.5}],
    "optimizer": [{"optimizer": momentum}],
    "groups": [{"groups": two_groups}],
    "mup_base": [{"mup_base": 4, "lr": 0.02}],
    "compile": [{"compile": True}],
    "eval_tokens": [{"eval_tokens": 1}, {"eval_tokens": 100}],
    "eval_passes": [{"eval_passes": 3}],
    "seeds": [{"seeds": (5, 6)}],
}
EACH = [
    pytest.param(changes, id=f"{name}-{k}", marks=pytest.mark.slow if name == "compile" else ())
    for name, all_changes in OPTIONS.items()
    for k, changes in enumerate(all_changes)
]


class Network(MLP):
    """Has all that a checkpoint must hold: running statistics, and random numbers drawn while it trains."""

    def __init__(self, width):
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.out(
            nn.functional.dropout(torch.relu(self.norm(self.hidden(x))), 0.1, self.training)
        )


def spec_and_task(changes, num_tokens=900, **fields):
    recipe = isoflop.Recipe(**{"epochs": None, **changes})
    task = mlp_task(model=Network, recipe=recipe, sizes=[8], **fields)  # no other has to be counted
    seed = task.recipe.seeds[-1]
    sizes = sizes_of(task)
    spec = make_spec(sizes, sizes.supply, sizes.fingerprint, sizes.count(8), num_tokens, seed=seed)
    return (branched(task.recipe, [spec])[0] if task.recipe.branches else spec), task


@pytest.fixture(scope="module", autouse=True)
def only_new_objects():
    """What was there before these tests is not looked through again and again for their tensors."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def num_live_tensors():
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def test_every_option_is_tried():
    assert OPTIONS.keys() == {field.name for field in dataclasses.fields(isoflop.Recipe)}


@pytest.mark.parametrize("changes", EACH)
def test_a_killed_run_resumes_bit_for_bit_and_keeps_no_more_in_memory(changes, tmp_path):
    spec, task = spec_and_task(changes)
    num_tensors = {}

    def count(progress):
        share = progress.num_tokens / spec.num_tokens
        for mark in (0.4, 0.9):
            if share >= mark and mark not in num_tensors:
                gc.collect()
                num_tensors[mark] = num_live_tensors()

    def stop_at_third(progress):
        if progress.num_tokens > spec.num_tokens / 3:
            raise Stop

    undisturbed = train_model(task, spec, isoflop.MemoryStore())
    assert undisturbed.status == "completed"
    with pytest.raises(Stop):
        train_model(
            task, spec, DirectoryStore(tmp_path), on_progress=stop_at_third, checkpoint_seconds=0.0
        )
    assert DirectoryStore(tmp_path).checkpoint(spec.id).exists()
    resumed = train_model(task, spec, DirectoryStore(tmp_path), on_progress=count)
    assert (resumed.loss, resumed.curve) == (undisturbed.loss, undisturbed.curve)
    assert num_tensors[0.9] == num_tensors[0.4] > 0


@pytest.mark.slow
@pytest.mark.parametrize("changes", EACH)
def test_ten_thousand_steps_keep_no_more_in_memory(changes):
    spec, task = spec_and_task({**changes, "batch_tokens": 4, "min_batch": 4}, num_tokens=40_000)
    assert spec.num_tokens / spec.batch == 10_000
    num_tensors = []

    def count(progress):
        gc.collect()
        num_tensors.append(num_live_tensors())

    assert train_model(task, spec, isoflop.MemoryStore(), on_progress=count).status == "completed"
    assert len(num_tensors) == 100
    assert max(num_tensors[2:]) == num_tensors[1]


# -- boundary values


def trained_with(changes):
    """What the optimiser is built with and sees at each step, over a whole run."""
    seen = {"lr": [], "norm": []}

    class Watched(torch.optim.AdamW):
        def step(self, closure=None):
            seen["lr"].append(self.param_groups[0]["lr"])
            each = [
                parameter.grad.norm()
                for group in self.param_groups
                for parameter in group["params"]
            ]
            seen["norm"].append(torch.stack(each).norm().item())
            return super().step(closure)

    def watched(groups, lr, betas):
        optimizer = Watched(groups, lr=lr, betas=betas)
        seen.update(
            peak=lr, betas=betas, decays=[group["weight_decay"] for group in optimizer.param_groups]
        )
        return optimizer

    spec, task = spec_and_task({"optimizer": watched, **changes})
    seen.update(spec=spec, run=train_model(task, spec, isoflop.MemoryStore()))
    return seen


TINY = 2.0**-40

BOUNDARIES = {
    "epochs": [({"epochs": 1.0}, lambda seen: seen["spec"].epochs <= 1)],
    "lr": [({"lr": TINY}, lambda seen: seen["peak"] == TINY)],
    "batch_tokens": [({"batch_tokens": TINY}, lambda seen: seen["spec"].batch == 2)],
    "min_batch": [({"min_batch": 2, "batch_tokens": 1}, lambda seen: seen["spec"].batch == 2)],
    "beta1": [({"beta1": 0}, lambda seen: seen["betas"][0] == 0)],
    "beta2": [
        ({"beta2": 0.0}, lambda seen: seen["betas"][1] == 0),
        ({"beta2": lambda tokens: 0}, lambda seen: seen["betas"][1] == 0),
    ],
    "weight_decay": [
        ({"weight_decay": 0}, lambda seen: seen["decays"] == [0, 0]),
        ({"weight_decay": lambda params, tokens: 0}, lambda seen: seen["decays"] == [0, 0]),
    ],
    "decay_timescale": [
        ({"decay_timescale": TINY, "lr": 1e-3}, lambda seen: seen["decays"][0] > 1e9),
        (
            {"decay_timescale": isoflop.PowerRule(2.0, num_params=0.5, num_tokens=-0.5)},
            lambda seen: (
                seen["decays"][0]
                == pytest.approx(
                    1
                    / seen["peak"]
                    / seen["spec"].num_steps
                    / (2 * (seen["spec"].num_params / seen["spec"].num_tokens) ** 0.5)
                )
            ),
        ),
    ],
    "warmup": [
        ({"warmup": 0}, lambda seen: seen["lr"][0] == seen["peak"]),
        ({"warmup": lambda params, tokens: 0}, lambda seen: seen["lr"][0] == seen["peak"]),
        ({"warmup": 1 - TINY}, lambda seen: seen["lr"] == sorted(seen["lr"])),
    ],
    "schedule": [
        ({"schedule": "constant", "warmup": 0}, lambda seen: set(seen["lr"]) == {seen["peak"]})
    ],
    "cooldown": [
        (
            {"schedule": "wsd", "cooldown": 1, "warmup": 0},
            lambda seen: seen["lr"][1] < seen["lr"][0],
        ),
        (
            {"schedule": "wsd", "cooldown": TINY, "warmup": 0},
            lambda seen: set(seen["lr"]) == {seen["peak"]},
        ),
    ],
    "clip": [
        ({"clip": TINY}, lambda seen: max(seen["norm"]) <= 1.01 * TINY),
        ({"clip": None}, lambda seen: seen["spec"].clip is None),
    ],
    "ema": [
        ({"ema": TINY}, lambda seen: seen["run"].loss == trained_with({})["run"].loss),
        ({"ema": 0.5}, lambda seen: seen["run"].loss != trained_with({})["run"].loss),
    ],
    "eval_tokens": [({"eval_tokens": 1}, lambda seen: seen["run"].loss_stderr is None)],
    "eval_passes": [
        ({"eval_passes": 1}, lambda seen: seen["run"].loss == trained_with({})["run"].loss)
    ],
    "seeds": [({"seeds": (0,)}, lambda seen: seen["spec"].seed == 0)],
    "branches": [({"branches": False}, lambda seen: seen["spec"].trunk is None)],
    "precision": [({"precision": "fp32"}, lambda seen: seen["spec"].precision == "fp32")],
    "mup_base": [({"mup_base": 4, "lr": 0.1}, lambda seen: len(set(seen["decays"])) == 3)],
}
UNBOUNDED = {"optimizer", "groups", "compile"}


def test_every_field_is_tried_at_its_boundary():
    assert BOUNDARIES.keys() | UNBOUNDED == {
        field.name for field in dataclasses.fields(isoflop.Recipe)
    }


@pytest.mark.parametrize(
    ("changes", "arrived"),
    [
        pytest.param(*case, id=f"{name}-{k}")
        for name, cases in BOUNDARIES.items()
        for k, case in enumerate(cases)
    ],
)
def test_a_boundary_value_reaches_the_training(changes, arrived):
    assert arrived(trained_with(changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 0}, "epochs must be above 0 or None, but got 0"),
        ({"epochs": math.inf}, "epochs must be above 0 or None, but got inf"),
        ({"lr": 0.0}, 'lr must be a number above 0 and up to 1e6, "auto", or a rule, but got 0.0'),
        (
            {"lr": math.nan},
            'lr must be a number above 0 and up to 1e6, "auto", or a rule, but got nan',
        ),
        ({"batch_tokens": 0}, "batch_tokens must be a number above 0, or a rule, but got 0"),
        ({"min_batch": 0}, "min_batch must be a whole number from 1 to 1e9, but got 0"),
        ({"min_batch": 2.5}, "min_batch must be a whole number from 1 to 1e9, but got 2.5"),
        ({"beta1": 1.0}, "beta1 must be from 0 to below 1, but got 1.0"),
        ({"beta2": 1}, "beta2 must be from 0 to below 1, or a rule, but got 1"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, or a rule, but got -0.1"),
        ({"decay_timescale": 0}, "decay_timescale must be above 0 or None, or a rule, but got 0"),
        ({"warmup": 1}, "warmup must be a share from 0 to below 1, or a rule, but got 1"),
        ({"warmup": "10%"}, "warmup must be a share from 0 to below 1, or a rule, but got '10%'"),
        ({"cooldown": 0}, "cooldown must be a share above 0 and up to 1, but got 0"),
        ({"clip": 0.0}, "clip must be above 0 or None, but got 0.0"),
        ({"precision": "fp16"}, "precision must be 'auto' or 'fp32' or 'bf16'"),
        (
            {"ema": 0.999},
            r"ema must be a share of the run .* \(it is no decay per step\), but got 0.999",
        ),
        ({"ema": 0.05, "schedule": "wsd", "branches": True}, "branches share a trunk"),
        ({"eval_tokens": 0}, "eval_tokens must be a whole number from 1 to 1e15, but got 0"),
        ({"eval_passes": 0}, "eval_passes must be a whole number from 1 to 1e6, but got 0"),
        ({"seeds": ()}, "seeds must name at least one seed"),
        ({"seeds": 3}, "seeds must be a tuple of whole numbers, but got 3"),
        ({"seeds": (0.5,)}, "seeds must be whole numbers"),
    ],
)
def test_a_value_beyond_its_boundary_is_refused(changes, reason):
    with pytest.raises(ContractError, match=reason):
        isoflop.Recipe(**changes)


def test_parameters_that_no_group_trains_do_not_count_when_gradients_are_clipped():
    """Nor do their gradients add up from step to step."""

    def groups_without_bias(model, lr, weight_decay):
        return [
            {
                "params": [p for p in model.parameters() if p is not model.out.bias],
                "weight_decay": weight_decay,
            }
        ]

    class Fixed(Network):
        def __init__(self, width):
            super().__init__(width)
            self.out.bias.requires_grad_(False)

    recipe = {"groups": groups_without_bias, "clip": 0.1}
    spec, task = spec_and_task(recipe)
    fixed = dataclasses.replace(task, model=Fixed)
    losses = [train_model(each, spec, isoflop.MemoryStore()).loss for each in (task, fixed)]
    assert losses[0] == losses[1]


def test_equal_settings_give_equal_ids():
    whole = isoflop.Recipe(beta1=0, clip=1, weight_decay=0, warmup=0, ema=0.25)
    decimal = isoflop.Recipe(beta1=0.0, clip=1.0, weight_decay=0.0, warmup=0.0, ema=0.25)
    assert repr(whole.settings(1e3, 1e4, 64)) == repr(decimal.settings(1e3, 1e4, 64))


def test_a_spec_that_leaves_a_setting_open_is_not_trained():
    spec, task = spec_and_task({})
    sweep = isoflop.Sweep(specs=(dataclasses.replace(spec, lr=None),))
    with pytest.raises(
        PlanError,
        match="must have its lr, but that of size .* leaves it open; create runs with plan",
    ):
        isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)


# -- averaged weights


def test_the_average_follows_weights_alike_in_short_and_long_runs():
    """A model that moves in a line lags by the same share of the run, however many steps it has."""
    from isoflop.training.averaging import Average

    lags = []
    for num_steps in (50, 5000):
        model = nn.Linear(1, 1)
        average = Average.of(model)
        for step in range(num_steps):
            with torch.no_grad():
                model.weight.fill_((step + 1) / num_steps)
            average.update(step, num_steps, 0.1)
        lags.append(1 - average.means[0].item())
    assert lags == pytest.approx([0.1, 0.1], rel=0.25)
    assert not any(mean.requires_grad for mean in average.means)


def test_the_average_of_few_steps_holds_nothing_of_the_initial_weights():
    from isoflop.training.averaging import Average

    model = nn.Linear(1, 1)
    average = Average.of(model)
    for step, weight in enumerate([1.0, 2.0, 3.0]):
        with torch.no_grad():
            model.weight.fill_(weight)
        average.update(step, 30, 0.5)
    assert average.means[0].item() == pytest.approx(2.0)


def test_running_statistics_are_averaged_with_the_weights():
    from isoflop.training.averaging import Average, averaged_model

    model = Network(4).train()
    average = Average.of(model)
    for step in range(3):
        model(torch.randn(16, 8) + 10 * step)
        average.update(step, 3, 0.5)
    found = averaged_model(model, average)
    assert not torch.allclose(found.norm.running_mean, model.norm.running_mean)
    assert found.norm.num_batches_tracked == 3


NUMBERS = sorted(RANGES)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, math.nan, True, 10**400, -1, 1e300, "one", 1j, [1], np.nan]
)
def test_no_number_is_absurd(name, value):
    if value == 1e300 and name in ("weight_decay", "decay_timescale", "clip"):
        return  # of any size
    with pytest.raises(ContractError, match=f"^Recipe: {name} must be .*, but got ") as caught:
        isoflop.Recipe(**{name: value})
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": (-1,)}, "seeds must be whole numbers from 0"),
        ({"seeds": (2**63,)}, "seeds must be whole numbers from 0"),
        ({"seeds": (True,)}, "seeds must be whole numbers from 0"),
        ({"seeds": (0, np.int64(0))}, "seeds must differ"),
        ({"seeds": ("0",)}, "seeds must be whole numbers from 0"),
        ({"optimizer": "adam"}, "optimizer must be a function or None, but got 'adam'"),
        ({"groups": [1]}, r"groups must be a function or None, but got \[1\]"),
        ({"branches": "yes", "schedule": "wsd"}, "branches must be True or False"),
        ({"compile": 1}, "compile must be True or False"),
        ({"compile": "fast"}, "or a mode of torch.compile, 'reduce-overhead' or 'max-autotune'"),
        ({"compile": ["max-autotune"]}, r"compile must be .*, but got \['max-autotune'\]"),
    ],
)
def test_what_is_no_seed_function_or_switch_is_refused(changes, reason):
    with pytest.raises(ContractError, match=reason):
        isoflop.Recipe(**changes)


def test_numbers_of_numpy_give_the_same_ids():
    plain = {
        "lr": 0.25,
        "min_batch": 4,
        "beta1": 0.5,
        "ema": 0.25,
        "eval_tokens": 64,
        "seeds": (3, 5),
        "clip": 2.0,
    }
    numpy = {
        "lr": np.float32(0.25),
        "min_batch": np.int64(4),
        "beta1": np.float16(0.5),
        "ema": np.array(0.25),
        "eval_tokens": np.int32(64),
        "seeds": [np.int64(3), np.uint8(5)],
        "clip": np.float64(2),
    }
    specs, tasks = zip(*(spec_and_task(changes) for changes in (plain, numpy)), strict=True)
    assert specs[0].id == specs[1].id
    assert tasks[0].recipe == tasks[1].recipe
    assert load_spec(dump_spec(specs[1]).encode(), specs[1].id).id == specs[1].id


@pytest.mark.parametrize("name", ["lr", "beta1", "weight_decay", "clip", "ema", "num_tokens"])
def test_a_spec_with_a_number_that_json_cannot_hold_is_not_trained(name):
    spec, task = spec_and_task({})
    sweep = isoflop.Sweep(specs=(dataclasses.replace(spec, **{name: math.inf}),))
    with pytest.raises(PlanError, match=f"numbers must be finite, but the {name} of one is inf"):
        isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)

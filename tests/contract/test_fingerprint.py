import io
import logging
import runpy
import sys
import textwrap
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

import isoflop
from isoflop import libraries
from isoflop.user_code.fingerprint import fingerprint
from tasks import MLP, examples, mlp_task


def make_loss(scale):
    def loss(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets) * scale

    return loss


def test_the_same_task_has_the_same_fingerprint():
    assert fingerprint(mlp_task()) == fingerprint(mlp_task())


def test_values_that_change_the_result_change_it():
    marks = [
        fingerprint(mlp_task(**changes))
        for changes in (
            {},
            {"loss": make_loss(1.0)},
            {"loss": make_loss(2.0)},
            {"model_kwargs": {"num_classes": 5}},
            {"size_param": lambda size: {"width": size}},
            {"size_param": lambda size: {"width": 2 * size}},
            {"train_data": examples(4000, seed=2)},
            {"train_data": examples(3999)},
            {"val_data": examples(400, seed=1)},
            {"recipe": isoflop.Recipe(epochs=None, eval_tokens=77)},
            {"recipe": isoflop.Recipe(epochs=None, optimizer=torch.optim.SGD)},
        )
    ]
    assert len(set(marks)) == len(marks)


def test_more_seeds_or_a_rule_that_a_spec_spells_out_do_not_change_it():
    one = fingerprint(mlp_task(recipe=isoflop.Recipe(epochs=None)))
    assert fingerprint(mlp_task(recipe=isoflop.Recipe(epochs=2, seeds=(0, 1), lr=1e-3))) == one


def test_the_users_own_word_replaces_it():
    assert fingerprint(mlp_task(fingerprint="mine")) == "mine"


PROGRAM = """
import torch
from torch import nn
import isoflop
from isoflop.user_code.fingerprint import fingerprint

{helper}
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = Layer(width)
    def forward(self, x):
        return self.layer(x)

data = [(torch.ones(2), 0)]
loss = nn.CrossEntropyLoss()
print(fingerprint(isoflop.Task(model=Net, size_param="width", train_data=data, val_data=data, loss=loss)))
"""

HELPER = """
GAIN = {gain}
class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(2, width), nn.Linear(width, 2)
    def forward(self, x):
        return self.b(self.a(x)) * GAIN
"""


def marks_of(tmp_path, program, name="program.py"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(program))
    with redirect_stdout(io.StringIO()) as output, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        patch.setattr(
            sys, "dont_write_bytecode", True
        )  # a module that is written twice in a second
        runpy.run_path(str(path), run_name="__main__")
    sys.modules.pop("layers", None)
    return output.getvalue().strip()


def test_neither_path_nor_line_numbers_enter(tmp_path):
    program = PROGRAM.format(helper=HELPER.format(gain=1.0))
    first = marks_of(tmp_path, program)
    assert marks_of(tmp_path, "\n\n# moved down\n" + program, name="other folder/moved.py") == first


def test_a_helper_class_or_a_constant_that_the_model_uses_enters(tmp_path):
    first = marks_of(tmp_path, PROGRAM.format(helper=HELPER.format(gain=1.0)))
    assert marks_of(tmp_path, PROGRAM.format(helper=HELPER.format(gain=2.0))) != first
    changed = HELPER.format(gain=1.0).replace("self.b(self.a(x))", "self.b(self.a(x).relu())")
    assert marks_of(tmp_path, PROGRAM.format(helper=changed)) != first


def test_a_helper_in_the_users_own_module_enters(tmp_path):
    program = PROGRAM.format(helper="from layers import Layer")
    module = "from torch import nn\n" + HELPER
    (tmp_path / "layers.py").write_text(module.format(gain=1.0))
    first = marks_of(tmp_path, program)
    (tmp_path / "layers.py").write_text(module.format(gain=3.0))
    assert marks_of(tmp_path, program) != first


def test_code_without_source_counts_by_its_bytecode():
    def net(expression):
        space = {"MLP": MLP}
        exec(f"def build(width): return MLP({expression})", space)
        return space["build"]

    assert fingerprint(mlp_task(model=net("width"))) == fingerprint(mlp_task(model=net("width")))
    assert fingerprint(mlp_task(model=net("width"))) != fingerprint(
        mlp_task(model=net("2 * width"))
    )


def test_data_that_draw_random_numbers_have_a_stable_fingerprint():
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, index):
            return torch.randn(8), index % 4

    task = mlp_task(train_data=Noisy())
    assert fingerprint(task) == fingerprint(mlp_task(train_data=Noisy()))


GLOBALS = """
{setting}
class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.time, self.out = nn.Linear(2, width), nn.Linear(width, 2)
    def forward(self, x):
        return self.out(self.time(x).relu())
"""


def test_a_global_that_has_the_name_of_an_attribute_does_not_enter(tmp_path):
    marks = {
        marks_of(tmp_path, PROGRAM.format(helper=GLOBALS.format(setting=f"time = {k}; out = {k}")))
        for k in (1.0, 2.0)
    }
    assert len(marks) == 1


class Counting(MLP):
    count = 0

    def forward(self, x):
        Counting.count += 1
        return super().forward(x)


def test_a_counter_that_the_model_itself_keeps_does_not_enter():
    before = fingerprint(mlp_task(model=Counting))
    Counting.count += 1
    assert fingerprint(mlp_task(model=Counting)) == before


def test_a_variable_that_a_factory_itself_writes_does_not_enter():
    calls = 0

    def build(width):
        nonlocal calls
        calls += 1
        return MLP(width)

    before = fingerprint(mlp_task(model=build))
    build(3)
    assert fingerprint(mlp_task(model=build)) == before


LOG = logging.getLogger("a test")


def test_a_logger_does_not_enter_with_all_others_of_the_process():
    def logged(outputs, targets):
        LOG.debug("a loss")
        return torch.nn.functional.cross_entropy(outputs, targets)

    before = fingerprint(mlp_task(loss=logged))
    logging.getLogger("another test")
    assert LOG.isEnabledFor(10) in (True, False)  # loggers remember what they were asked
    assert fingerprint(mlp_task(loss=logged)) == before


CACHE = {}


def cached_loss(outputs, targets):
    CACHE.setdefault(len(outputs), 1.0)
    return torch.nn.functional.cross_entropy(outputs, targets)


def test_a_global_that_changes_while_the_model_runs_is_refused_by_name():
    CACHE.clear()
    with pytest.raises(
        isoflop.ContractError,
        match="must stay the same while its model runs.* but CACHE has changed",
    ):
        isoflop.plan(mlp_task(loss=cached_loss), budgets=[1e6])


class OwnGenerator(torch.utils.data.Dataset):
    def __init__(self):
        self.random = np.random.default_rng(0)

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return torch.from_numpy(self.random.random(8)).float(), index % 4


class Once:
    def __init__(self):
        self.items = iter(examples(1000))

    def __iter__(self):
        return self.items


@pytest.mark.parametrize("name", ["train_data", "val_data"])
@pytest.mark.parametrize("kind", [OwnGenerator, Once])
def test_data_that_differ_each_time_they_are_read_are_refused_with_what_a_name_would_lose(
    name, kind
):
    with pytest.raises(isoflop.ContractError) as caught:
        fingerprint(mlp_task(**{name: kind()}))
    assert f"{name} must give the same values each time that it is read" in str(caught.value)
    assert "no run can be repeated" in str(caught.value)
    assert fingerprint(mlp_task(**{name: kind()}, fingerprint="mine")) == "mine"


def test_a_collate_function_enters():
    def loader(share):
        def masked(items):
            inputs, targets = torch.utils.data.default_collate(items)
            return inputs * (torch.rand(inputs.shape) > share), targets

        return torch.utils.data.DataLoader(examples(100), collate_fn=masked)

    one = fingerprint(mlp_task(train_data=loader(0.1)))
    assert fingerprint(mlp_task(train_data=loader(0.1))) == one
    assert fingerprint(mlp_task(train_data=loader(0.3))) != one


def test_a_library_is_known_as_one_in_an_environment_reached_by_a_link(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "package.py").write_text("")
    monkeypatch.setattr(libraries, "_INSTALLED", {(tmp_path / "link").resolve()})
    assert libraries.lies_among_libraries(str(tmp_path / "link" / "package.py"))
    assert libraries.is_library("torch.nn.functional")
    assert not libraries.is_library("tasks")


def test_an_optimiser_that_was_used_is_the_same_optimiser():
    class Inherits(torch.optim.SGD):
        pass

    class Steps(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    for cls in (Inherits, Steps):
        recipe = isoflop.Recipe(epochs=None, optimizer=lambda g, lr, betas, cls=cls: cls(g, lr=lr))
        before = fingerprint(mlp_task(recipe=recipe))
        cls([torch.nn.Parameter(torch.zeros(1))], lr=0.1)  # torch wraps the step of its class
        assert fingerprint(mlp_task(recipe=recipe)) == before

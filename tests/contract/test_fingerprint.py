import subprocess
import sys
import textwrap

import torch

import isoflop
from isoflop.contract.fingerprint import fingerprint
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
from isoflop.contract.fingerprint import fingerprint

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
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout.strip()


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
    assert fingerprint(mlp_task(model=net("width"))) != fingerprint(mlp_task(model=net("2 * width")))


def test_data_that_draw_random_numbers_have_a_stable_fingerprint():
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, index):
            return torch.randn(8), index % 4

    task = mlp_task(train_data=Noisy())
    assert fingerprint(task) == fingerprint(mlp_task(train_data=Noisy()))

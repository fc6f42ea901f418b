import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoflop
from isoflop.counting.counting import count_size
from isoflop.counting.lattice import sizes_between, smallest_size
from isoflop.counting.sizes_of import sizes_of
from isoflop.counting.trials import num_params_at
from tasks import MLP, examples, mlp_task


class Attention(nn.Module):
    """One layer of self-attention over a vocabulary of 16, with heads that divide its width."""

    def __init__(self, width, num_heads=1, num_layers=1):
        super().__init__()
        self.num_heads = num_heads
        self.embed, self.head = nn.Embedding(16, width), nn.Linear(width, 16, bias=False)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(num_layers))

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.qkv:
            batch, length, width = x.shape
            q, k, v = (
                layer(x)
                .view(batch, length, 3, self.num_heads, width // self.num_heads)
                .permute(2, 0, 3, 1, 4)
            )
            x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(
                x.shape
            )
        return self.head(x)


def text_task(length=12, **changes):
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(0, 16, (500, length + 1), generator=generator)
    data = [(window[:-1], window[1:]) for window in windows]
    fields = {
        "model": Attention,
        "size_param": "width",
        "train_data": data,
        "val_data": data,
        "loss": lambda outputs, targets: F.cross_entropy(outputs.flatten(0, 1), targets.flatten()),
    }
    return isoflop.Task(**{**fields, **changes})


def test_flops_of_a_perceptron_equal_the_closed_form():
    width = 50
    count = count_size(mlp_task(), width)
    # forward 2 per weight; backward 2 for the weights' gradient everywhere, and 2 for the inputs' but in the first layer
    assert count.flops_per_token == 4 * (8 * width) + 6 * (width * 4)
    assert count.num_params == 8 * width + width + width * 4 + 4


def test_flops_of_attention_equal_the_closed_form_with_the_full_square():
    width, length = 24, 12
    count = count_size(text_task(length), width)
    qkv, head, attention = 3 * width * width, 16 * width, 2 * length * width
    assert count.flops_per_token == 6 * (qkv + head + attention)


def test_a_model_that_the_meta_device_cannot_run_is_counted_on_the_cpu_to_the_same():
    class Peeking(Attention):
        def forward(self, tokens):
            assert tokens.sum().item() >= 0
            return super().forward(tokens)

    assert (
        count_size(text_task(model=Peeking), 8).flops_per_token
        == count_size(text_task(), 8).flops_per_token
    )


def test_a_model_whose_operations_report_no_flops_falls_back_to_six_n_with_a_note():
    class Elementwise(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.gains = nn.Parameter(torch.randn(width, 8, 4))

        def forward(self, x):
            return (x[:, None, :, None] * self.gains).sum(dim=(1, 2))

    count = count_size(mlp_task(model=Elementwise), 10)
    assert count.flops_per_token == 6 * count.num_params
    assert "taken as 6 N D" in count.notes[0]


def test_the_users_own_flops_replace_the_count():
    assert count_size(mlp_task(flops_per_token=lambda model: 123.0), 9).flops_per_token == 123.0


def test_sizes_that_heads_do_not_divide_are_not_found():
    task = text_task(model_kwargs={"num_heads": 6})
    assert smallest_size(task) == 6
    assert all(count.size % 6 == 0 for count in sizes_of(task).several_near([1e3, 1e4, 1e6]))


def test_a_size_near_an_n_may_be_kept_to_a_limit():
    task = mlp_task()
    free = sizes_of(task).near(1000)
    limited = sizes_of(task).near(1000, most=free.num_params - 1)
    assert limited.size == free.size - 1
    assert (
        sizes_of(task).near(1000, most=300).num_params
        <= 300
        < num_params_at(task, sizes_of(task).near(300).size + 1)
    )


def test_a_limit_below_every_size_is_refused():
    with pytest.raises(isoflop.PlanError, match="No size of 'width' has at most 10 params"):
        sizes_of(mlp_task()).near(1000, most=10)


def test_the_size_near_an_n_is_the_nearest_of_all_real_sizes():
    task = mlp_task()
    for wanted in (30, 1e3, 12345, 1e6):
        best = min(
            range(1, 100_000),
            key=lambda size: abs(math.log((13 * size + 4) / wanted)),
        )
        assert abs(sizes_of(task).near(wanted).size - best) <= 1


def raising(refused):
    def factory(width):
        if refused(width):
            raise ValueError(f"no table of positions for width {width}")
        return MLP(width)

    return mlp_task(model=factory)


def test_a_model_that_cannot_be_larger_ends_there():
    task = raising(lambda width: width > 300)

    assert sizes_of(task).near(1e9).size == 300
    assert sizes_of(task).near(num_params_at(task, 299)).size == 299
    assert [count.size for count in sizes_of(task).several_near([1e9, 1e9])] == [300, 299]
    assert max(sizes_between(task, 100, 1e9, 20)) == 300


def test_a_size_that_does_not_build_is_passed_over():
    task = raising(lambda width: width in (64, 128, 1024))

    assert sizes_of(task).near(num_params_at(task, 3000)).size == 3000
    assert sizes_of(task).near(num_params_at(task, 129)).size == 129
    assert {
        count.size for count in sizes_of(task).several_near([num_params_at(task, 127)] * 3)
    } == {
        126,
        127,
        129,
    }


def test_a_model_that_grows_no_further_has_no_larger_sizes():
    task = mlp_task(model=lambda width: MLP(min(width, 100)))

    assert sizes_of(task).near(1e9).size == 100
    assert [count.size for count in sizes_of(task).several_near([1e9, 1e9, 1e9])] == [100, 99, 98]
    assert max(sizes_between(task, 100, 1e9, 20)) == 100


class ReadsValues(MLP):
    """Its constructor reads a value, which the meta device does not have, and ties a weight."""

    def __init__(self, width):
        super().__init__(width)
        self.rate = torch.linspace(0, 0.5, 3)[-1].item()
        self.square = nn.Linear(width, width)
        self.tied = nn.Linear(width, width)
        self.tied.weight = self.square.weight

    def forward(self, x):
        return self.out(self.tied(torch.relu(self.hidden(x))) * self.rate)


def test_a_constructor_that_reads_values_is_counted_at_every_size():
    task = mlp_task(model=ReadsValues)
    small, large = count_size(task, 16), count_size(task, 2**13)

    assert small.num_params == sum(p.numel() for p in ReadsValues(16).parameters())
    assert (
        large.num_params == 2**26 + 15 * 2**13 + 4
    )  # more than are built on the CPU to be counted
    assert not small.notes
    assert not large.notes
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_a_named_size_that_does_not_build_is_left_out_and_named():
    task = mlp_task(
        model=lambda name: MLP({"S": 4, "M": 40}[name]), size_param="name", sizes=["XL", "S", "M"]
    )

    assert smallest_size(task) == "S"
    found = sizes_of(task).several_near([50, 500, 5e3])
    assert [count.size for count in found] == ["S", "M"]
    assert "Size XL is left out: it raised KeyError: 'XL'." in found[0].notes


def test_named_sizes_none_of_which_builds_are_refused():
    with pytest.raises(
        isoflop.PlanError, match=r"None of the sizes .* builds: 'XL' raises KeyError"
    ):
        smallest_size(mlp_task(model=lambda name: MLP({}[name]), size_param="name", sizes=["XL"]))


def test_named_sizes_are_the_only_ones():
    task = mlp_task(sizes=[3, 30, 300])
    assert {count.size for count in sizes_of(task).several_near([50, 500, 5e3, 5e4])} == {
        3,
        30,
        300,
    }


def test_sizes_that_are_names_are_taken():
    def factory(name):
        return MLP({"small": 4, "base": 40, "large": 400}[name])

    task = mlp_task(model=factory, size_param="name", sizes=["small", "base", "large"])
    assert sizes_of(task).near(500).size == "base"


def test_each_size_is_used_once():
    counts = sizes_of(mlp_task()).several_near([30, 31, 32, 33, 34])
    assert len({count.size for count in counts}) == 5


def test_a_size_param_that_does_not_change_the_size_is_refused():
    def constant(width):
        return MLP(5)

    with pytest.raises(
        isoflop.ContractError,
        match="must make the model larger, but sizes 1, 2 and 3 have 69, 69 and 69",
    ):
        smallest_size(mlp_task(model=constant))


def test_a_hundred_billion_params_are_sized_without_memory():
    assert num_params_at(mlp_task(), 8 * 10**9) > 1e11


def test_convolutions_count_and_a_token_is_an_image():
    class Net(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, channels, 3, padding=1), nn.Linear(channels, 4)

        def forward(self, images):
            return self.out(self.conv(images).relu().mean(dim=(2, 3)))

    data = [(torch.randn(1, 6, 6), k % 4) for k in range(100)]
    count = count_size(
        mlp_task(model=Net, size_param="channels", train_data=data, val_data=data), 10
    )
    assert count.flops_per_token == 4 * (36 * 9 * 10) + 6 * 40


def test_the_count_does_not_depend_on_how_many_examples_there_are():
    assert count_size(mlp_task(train_data=examples(10)), 5) == count_size(mlp_task(), 5)

"""Operations that a count leaves out are named where they may be products of tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoflop
from isoflop.counting.counting import count_size
from isoflop.counting.flops import count_step
from tasks import MLP, mlp_task


@torch.library.custom_op("isoflop_tests::product", mutates_args=())
def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight.T


@product.register_fake
def _(x, weight):
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("isoflop_tests::gain", mutates_args=())
def gain(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * weight


@gain.register_fake
def _(x, weight):
    return torch.empty_like(x)


product.register_autograd(
    lambda ctx, grad: (
        product(grad, ctx.saved_tensors[1].T),
        product(grad.T, ctx.saved_tensors[0].T),
    ),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
gain.register_autograd(
    lambda ctx, grad: (grad * ctx.saved_tensors[1], (grad * ctx.saved_tensors[0]).sum(0)),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


class Custom(MLP):
    def forward(self, x):
        return self.out(torch.relu(product(x, self.hidden.weight)))


class Gained(MLP):
    def __init__(self, width):
        super().__init__(width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.out(gain(torch.relu(self.hidden(x)), self.gain))


def test_a_product_of_an_operator_without_a_formula_is_named_in_the_plan():
    counted = count_size(mlp_task(model=Custom), 16)
    assert counted.notes == (
        "FLOPs of isoflop_tests.product are not counted, for lack of a formula; give Task(flops_per_token=), or a "
        "formula to torch.utils.flop_counter.register_flop_formula.",
    )
    assert counted.notes[0] in isoflop.plan(mlp_task(model=Custom), budgets=[1e6]).notes


def test_an_operator_that_scales_by_a_vector_is_no_product():
    assert not count_size(mlp_task(model=Gained), 16).notes


def test_the_users_own_flops_need_no_note():
    assert not count_size(mlp_task(model=Custom, flops_per_token=lambda model: 100.0), 16).notes


class Pair(nn.Module):
    """Two tables of parameters, joined by a function of both."""

    def __init__(self, join):
        super().__init__()
        self.join, self.first, self.last = (
            join,
            nn.Parameter(torch.ones(24, 8)),
            nn.Parameter(torch.ones(24, 8)),
        )

    def forward(self):
        return self.join(self.first, self.last)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("join", "names"),
    [
        (lambda a, b: (a[:, None, :] * b).sum(-1), ("products by broadcasting",)),
        (torch.cdist, ("aten._cdist_forward",)),
        (lambda a, b: torch.linalg.solve(a[:8].triu(), b[:8]), ("aten._linalg_solve_ex",)),
        (lambda a, b: a * b + a / b, ()),
        (lambda a, b: F.layer_norm(a, (24, 8), b, b), ()),
        (lambda a, b: torch.cat([a, b]).softmax(0), ()),
        (lambda a, b: F.mse_loss(a, b) + F.binary_cross_entropy_with_logits(a, b), ()),
        (lambda a, b: a @ b.T, ()),
        (
            lambda a, b: F.scaled_dot_product_attention(
                a[None, None], b[None, None], b[None, None]
            ),
            (),
        ),
    ],
    ids=[
        "broadcast",
        "distances",
        "solve",
        "pointwise",
        "norm",
        "softmax",
        "losses",
        "matmul",
        "attention",
    ],
)
def test_what_torch_itself_leaves_out_is_named_only_where_it_is_a_product(join, names, device):
    model = Pair(join).to(device)
    assert count_step(model, lambda: model().sum()).uncounted == names


def test_a_bilinear_layer_costs_one_multiply_add_for_each_weight_and_pair():
    layer = nn.Bilinear(5, 6, 7, bias=False).to("meta")
    pair = [torch.ones(3, size, device="meta", requires_grad=True) for size in (5, 6)]
    assert count_step(layer, lambda: layer(*pair).sum()).flops % (2 * 3 * 5 * 6 * 7) == 0
    assert count_step(layer, lambda: layer(*pair).sum()).flops >= 3 * 2 * 3 * 5 * 6 * 7


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
        lambda: nn.Sequential(
            nn.Conv1d(12, 12, 3, padding=1, groups=4), nn.BatchNorm1d(12), nn.GELU()
        ),
        lambda: nn.Sequential(
            nn.Conv1d(12, 6, 3), nn.GroupNorm(2, 6), nn.PReLU(6), nn.Upsample(scale_factor=2)
        ),
        lambda: nn.Sequential(
            nn.RMSNorm(16), nn.Linear(16, 16), nn.Dropout(0.5), nn.LayerNorm([12, 16])
        ),
        lambda: nn.MultiheadAttention(16, 2, batch_first=True),
        lambda: nn.LSTM(16, 4, batch_first=True),
        lambda: nn.GRU(16, 4, batch_first=True),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_of_torch_leave_nothing_out(layer, device):
    model = layer().to(device)
    inputs = (torch.ones(2, 12, 16, device=device, requires_grad=True),)

    def run():
        out = model(*inputs * 3) if isinstance(model, nn.MultiheadAttention) else model(*inputs)
        return (out[0] if isinstance(out, tuple) else out).sum()

    assert count_step(model, run).uncounted == ()

"""FLOPs and params of real model families against closed forms derived by hand.

The rules that the forms are written in, per token of a window of T tokens:

- a weight of a linear layer: 2 forward, 4 backward (the gradient of the weight and of the layer's input), so 6;
- a weight of a first layer whose input needs no gradient: 2 forward, 2 backward, so 4;
- attention of width d: scores and mixing, 2 T d each forward, three times that in all, so 12 T d, causal or not.

An image is one token, so its patches and pixels are summed.
"""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoflop
from isoflop.counting import trials
from isoflop.counting.counting import count_size
from isoflop.counting.flops import count_step
from isoflop.counting.sizes_of import sizes_of
from isoflop.user_code.model import param_counts

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from models.cnn import CNN
from models.gpt import GPT, depth_dial, hidden_width
from models.moe import MoE
from models.vit import ViT

T, VOCABULARY, CLASSES, IMAGE = 24, 256, 10, 16
EXACT = 1e-3


def token_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def text_task(model, **fields):
    tokens = torch.randint(0, VOCABULARY, (8, T + 1), generator=torch.Generator().manual_seed(0))
    data = [(window[:-1], window[1:]) for window in tokens]
    fields = {"size_param": "width", "loss": token_loss, **fields}
    return isoflop.Task(model=model, train_data=data, val_data=data, **fields)


def image_task(model, **fields):
    data = [(torch.zeros(3, IMAGE, IMAGE), k % CLASSES) for k in range(8)]
    fields = {"size_param": "width", "loss": F.cross_entropy, **fields}
    return isoflop.Task(model=model, train_data=data, val_data=data, **fields)


def gpt_weights(width, num_layers=2, queries_per_kv=1, tied=True):
    """(in linear layers, in all): query and output d^2 each, key and value d^2 / g each, three of SwiGLU, the head."""
    layer = 2 * width**2 + 2 * width**2 // queries_per_kv + 3 * width * hidden_width(width)
    table, gains = VOCABULARY * width, (2 * num_layers + 1) * width
    linear = num_layers * layer + table
    return linear, linear + gains + (0 if tied else table)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("queries_per_kv", [1, 2, 4])
def test_flops_and_params_of_a_gpt_with_swiglu_and_grouped_queries(queries_per_kv, tied):
    width, num_layers = 40, 3
    kwargs = {
        "num_layers": num_layers,
        "num_heads": 4,
        "queries_per_kv": queries_per_kv,
        "tied": tied,
    }
    count = count_size(text_task(GPT, model_kwargs=kwargs, sizes=[width]), width)
    linear, total = gpt_weights(width, num_layers, queries_per_kv, tied)
    assert count.flops_per_token == pytest.approx(
        6 * linear + num_layers * 12 * T * width, rel=EXACT
    )
    assert count.num_params == total
    assert dict(count.params) == {
        "total": total,
        "non_embedding": total - VOCABULARY * width,
        "matmul": linear,
    }


def test_flops_and_params_on_one_dial_for_width_heads_and_layers():
    task = text_task(GPT, size_param=depth_dial)
    for depth in (1, 2, 5):
        count = count_size(task, depth)
        linear, total = gpt_weights(16 * depth, num_layers=depth)
        assert count.flops_per_token == pytest.approx(
            6 * linear + depth * 12 * T * 16 * depth, rel=EXACT
        )
        assert count.num_params == total


def vit_flops(width, num_layers=2, patch=4):
    patches = (IMAGE // patch) ** 2
    embedding = 4 * patches * 3 * patch**2 * width  # pixels need no gradient
    layers = num_layers * patches * (6 * 12 * width**2 + 12 * patches * width)
    return embedding + layers + 6 * width * CLASSES


def vit_params(width, num_layers=2, patch=4):
    embedding = 3 * patch**2 * width + width + (IMAGE // patch) ** 2 * width
    layer = 12 * width**2 + (3 + 1 + 4 + 1) * width + 4 * width  # weights, biases, two layer norms
    return embedding + num_layers * layer + 2 * width + width * CLASSES + CLASSES


def test_flops_and_params_of_a_vision_transformer():
    count = count_size(image_task(ViT, sizes=[24]), 24)
    assert count.flops_per_token == pytest.approx(vit_flops(24), rel=EXACT)
    assert count.num_params == vit_params(24)


def test_flops_and_params_of_a_residual_convolutional_network():
    width = 6
    flops = 4 * IMAGE**2 * 9 * 3 * width  # the stem sees pixels
    params = 9 * 3 * width
    inputs = width
    for stage in range(3):
        outputs, side = width * 2**stage, IMAGE // 2**stage
        weights = (
            9 * inputs * outputs + 9 * outputs**2 + (inputs * outputs if inputs != outputs else 0)
        )
        flops += 6 * side**2 * weights
        params += weights + 2 * inputs + 2 * outputs
        inputs = outputs
    flops += 6 * inputs * CLASSES
    params += 2 * inputs + inputs * CLASSES + CLASSES
    count = count_size(image_task(CNN, sizes=[width]), width)
    assert count.flops_per_token == pytest.approx(flops, rel=EXACT)
    assert count.num_params == params


@pytest.mark.parametrize("dispatch", ["dense", "routed"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_flops_and_active_params_of_a_mixture_of_experts(dispatch, top_k):
    width, num_layers, num_experts = 16, 2, 6
    kwargs = {"num_experts": num_experts, "top_k": top_k, "dispatch": dispatch}
    count = count_size(text_task(MoE, model_kwargs=kwargs, sizes=[width]), width)
    expert = 3 * width * hidden_width(width)
    shared = num_layers * (4 * width**2 + width * num_experts) + VOCABULARY * width
    ran = num_experts if dispatch == "dense" else top_k
    attention = num_layers * 12 * T * width
    assert count.flops_per_token == pytest.approx(
        6 * (shared + num_layers * ran * expert) + attention, rel=EXACT
    )
    gains = (2 * num_layers + 1) * width
    assert count.params["active"] == shared + num_layers * top_k * expert + gains
    assert count.params["total"] == shared + num_layers * num_experts * expert + gains
    assert not count.notes


@pytest.mark.parametrize(
    ("task", "size"),
    [
        (text_task(GPT, model_kwargs={"num_heads": 4, "queries_per_kv": 2}), 32),
        (text_task(MoE, model_kwargs={"dispatch": "dense"}), 16),
        (image_task(ViT), 16),
        (image_task(CNN), 6),
    ],
    ids=["gpt", "moe", "vit", "cnn"],
)
def test_counts_on_the_meta_device_and_on_the_cpu_agree(task, size):
    batches = trials.counting_batches(task).batches
    on_meta, on_cpu = (
        trials.count_on(task, size, device, batches[:1]) for device in ("meta", "cpu")
    )
    assert on_meta[0].flops == on_cpu[0].flops > 0


# -- operations on their own -----------------------------------------------------------------------------------------

D, B = 8, 2


def flops_of(model, call, device):
    model = model.to(device)
    return count_step(model, lambda: call(model).sum()).flops


def linear(rows, weights, first=False):
    return (4 if first else 6) * rows * weights


def self_attention(model):
    x = torch.ones(B, T, D, device=model.in_proj_weight.device)
    return model(x, x, x, need_weights=False)[0]


def on_text(model):
    out = model(torch.ones(B, T, D, device=next(model.parameters()).device))
    return out[0] if isinstance(out, tuple) else out


def on_maps(model):
    return model(torch.ones(B, D, T, T, device=next(model.parameters()).device))


def einsum(model):
    x = torch.ones(B, T, D, device=model.weight.device)
    return torch.einsum("btd,edf->betf", x, model.weight.view(4, D, D))


def matrix_vector(model):
    return torch.ones(B * T, D, device=model.weight.device) @ model.weight[0]


def checkpointed(model):
    x = torch.ones(B, T, D, device=model[0].weight.device)
    return torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False)


def recurrent(gates, hidden=6):
    """Input weights have no gradient to pass on; the first state is zeros and has none either."""
    return B * T * gates * hidden * (4 * D + 6 * hidden) - B * gates * hidden * 2 * hidden


OPERATIONS = {
    "multi-head attention": (
        lambda: nn.MultiheadAttention(D, 2, batch_first=True),
        self_attention,
        linear(B * T, 3 * D * D, first=True) + linear(B * T, D * D) + B * T * 12 * T * D,
    ),
    "transformer layer": (
        lambda: nn.TransformerEncoderLayer(D, 2, 16, batch_first=True),
        on_text,
        linear(B * T, 3 * D * D, first=True)
        + linear(B * T, D * D + 2 * 16 * D)
        + B * T * 12 * T * D,
    ),
    "linear layer": (lambda: nn.Linear(D, 5), on_text, linear(B * T, 5 * D, first=True)),
    "einsum": (
        lambda: nn.Linear(D, 4 * D, bias=False),
        einsum,
        linear(B * T, 4 * D * D, first=True),
    ),
    "matrix times vector": (
        lambda: nn.Linear(D, 1, bias=False),
        matrix_vector,
        linear(B * T, D, first=True),
    ),
    "depthwise convolution": (
        lambda: nn.Conv2d(D, D, 3, padding=1, groups=D),
        on_maps,
        linear(B * T * T, 9 * D, first=True),
    ),
    "grouped convolution": (
        lambda: nn.Conv2d(D, 12, 3, padding=1, groups=4),
        on_maps,
        linear(B * T * T, 9 * 12 * D // 4, first=True),
    ),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(D, D, 2, stride=2, groups=2),
        on_maps,
        linear(B * T * T, 4 * D * D // 2, first=True),
    ),
    "LSTM": (lambda: nn.LSTM(D, 6, batch_first=True), on_text, recurrent(gates=4)),
    "GRU": (lambda: nn.GRU(D, 6, batch_first=True), on_text, recurrent(gates=3)),
    "checkpointing": (
        lambda: nn.Sequential(nn.Linear(D, D), nn.Linear(D, D)),
        checkpointed,
        linear(B * T, D * D, first=True) + linear(B * T, D * D),
    ),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_costs_its_closed_form(name, device):
    make, call, expected = OPERATIONS[name]
    assert flops_of(make(), call, device) == expected


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "added"])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_attention_counts_in_full_whatever_its_mask_and_its_grouping(key_heads, mask, device):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Parameter(torch.ones(B, 4, T, D))
            self.key_value = nn.Parameter(torch.ones(2, B, key_heads, T, D))

    def call(model):
        seen = {
            "boolean": torch.ones(T, T, dtype=torch.bool),
            "added": torch.zeros(B, 1, T, T),
        }.get(mask)
        return F.scaled_dot_product_attention(
            model.query,
            *model.key_value,
            attn_mask=None if seen is None else seen.to(device),
            is_causal=mask == "causal",
            enable_gqa=True,
        )

    assert flops_of(Attention(), call, device) == B * T * 12 * T * 4 * D


def test_grouped_products_count_the_rows_of_each_group_once():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.weights = (
                nn.Parameter(torch.ones(16, D)),
                nn.Parameter(torch.ones(3, D, 8)),
            )

        def forward(self):
            ends = torch.tensor([4, 12, 16], dtype=torch.int32, device=self.rows.device)
            return F.grouped_mm(self.rows, self.weights, offs=ends) * self.rows

    model = Grouped()
    assert count_step(model, lambda: model().sum()).flops == 6 * 16 * D * 8
    model = model.to("meta")
    assert count_step(model, lambda: model().sum(), assume_values=True).flops == 6 * 16 * D * 8


# -- models that the meta device cannot run ---------------------------------------------------------------------------


class Peeking(GPT):
    """Looks at its input, as models of transformers do where they ask whether a mask masks anything."""

    def forward(self, tokens):
        if (tokens >= 0).all():
            return super().forward(tokens)
        raise AssertionError


class Unlike(GPT):
    """Leaves blocks out by a value of its input, which assumed values cannot tell."""

    def forward(self, tokens):
        ran = self.blocks if tokens.max().item() > 9 else self.blocks[:1]
        return self.head(self.norm(ran(self.embed(tokens))))


def test_a_large_model_that_reads_values_is_counted_with_values_assumed(monkeypatch):
    monkeypatch.setattr(trials, "MAX_CPU_PARAMS", 1e5)
    width, sizes = 400, [32, 400]
    task, plain = text_task(Peeking, sizes=sizes), text_task(GPT, sizes=sizes)
    assert count_size(task, width).flops_per_token == count_size(plain, width).flops_per_token
    assert not count_size(task, width).notes


def test_where_assumed_values_change_the_count_six_n_is_taken_with_a_note(monkeypatch):
    monkeypatch.setattr(trials, "MAX_CPU_PARAMS", 1e5)
    task, plain = text_task(Unlike, sizes=[32, 400]), text_task(GPT, sizes=[32])
    small, large = count_size(task, 32), count_size(task, 400)
    assert small.flops_per_token == count_size(plain, 32).flops_per_token
    assert large.flops_per_token == 6 * large.num_params
    assert "taken as 6 N D" in large.notes[0]


def test_experts_too_large_for_the_cpu_are_counted_by_their_active_params(monkeypatch):
    monkeypatch.setattr(trials, "MAX_CPU_PARAMS", 1e4)
    count = count_size(text_task(MoE), 64)
    assert count.flops_per_token == 6 * count.params["active"] < 6 * count.num_params
    assert "6 x active params x D" in count.notes[0]


def test_idle_experts_that_the_model_does_not_tell_of_are_noted():
    class Silent(MoE):
        num_active_params = None

    count = count_size(text_task(Silent, sizes=[32]), 32)
    assert "num_active_params()" in count.notes[0]
    assert "active" not in count.params


@pytest.mark.parametrize("wrong", [0, -3, 10**9, 2.5, True])
def test_a_count_of_active_params_that_cannot_be_is_refused(wrong):
    model = nn.Linear(3, 4)
    model.num_active_params = lambda: wrong
    with pytest.raises(
        isoflop.ContractError, match="num_active_params must give a whole number from 1 to all 16"
    ):
        param_counts(model)


# -- models of transformers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_flops_and_params_of_a_hugging_face_llama(attention):
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    width, hidden, num_layers, num_heads, num_kv_heads = 32, 64, 2, 4, 2

    def llama(width, use_cache):
        return transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=width,
                intermediate_size=hidden,
                num_hidden_layers=num_layers,
                num_attention_heads=num_heads,
                num_key_value_heads=num_kv_heads,
                attn_implementation=attention,
                use_cache=use_cache,
            )
        )

    ids = torch.arange(T)
    data = [{"input_ids": ids, "labels": ids}] * 4
    layer = 2 * width**2 + 2 * width**2 * num_kv_heads // num_heads + 3 * width * hidden
    weights = num_layers * layer + width * VOCABULARY
    for use_cache in (True, False):
        task = isoflop.Task(
            model=llama,
            size_param="width",
            model_kwargs={"use_cache": use_cache},
            sizes=[width],
            train_data=data,
            val_data=data,
            loss=None,
        )
        count = count_size(task, width)
        closed = 6 * weights + num_layers * 12 * T * width
        assert count.flops_per_token == pytest.approx(closed, rel=EXACT)
        assert count.num_params == weights + width * VOCABULARY + (2 * num_layers + 1) * width


def test_flops_of_a_hugging_face_mixture_of_experts_are_those_of_the_chosen_experts():
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    width, hidden, num_layers, num_experts, top_k = 32, 64, 2, 4, 2

    def mixtral(width):
        return transformers.MixtralForCausalLM(
            transformers.MixtralConfig(
                vocab_size=VOCABULARY,
                hidden_size=width,
                intermediate_size=hidden,
                num_hidden_layers=num_layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                num_local_experts=num_experts,
                num_experts_per_tok=top_k,
            )
        )

    ids = torch.arange(T)
    data = [{"input_ids": ids, "labels": ids}] * 4
    task = isoflop.Task(
        model=mixtral, size_param="width", train_data=data, val_data=data, loss=None
    )
    layer = 4 * width**2 + width * num_experts + top_k * 3 * width * hidden
    closed = 6 * (num_layers * layer + width * VOCABULARY) + num_layers * 12 * T * width
    tokens = trials.NUM_EXAMPLES[0] * T
    first = trials.counting_batches(task).batches[:1]
    (on_cpu,) = trials.count_on(task, width, "cpu", first)
    assert on_cpu.flops / tokens == pytest.approx(closed, rel=EXACT)
    (assumed,) = trials.count_on(task, width, "meta", first, assume_values=True)
    assert assumed.flops / tokens == pytest.approx(closed, rel=EXACT)


# -- how much counting costs -------------------------------------------------------------------------------------------


def test_few_models_are_built_to_find_sizes(monkeypatch):
    built = []
    build = trials.build
    monkeypatch.setattr(
        trials, "build", lambda task, size, device: built.append(size) or build(task, size, device)
    )
    sizes_of(text_task(GPT)).several_near([1e5, 1e6, 1e7, 1e8, 1e9])
    assert len(built) < 80

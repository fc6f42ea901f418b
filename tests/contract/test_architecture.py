"""A model's kind is told from its modules, whoever wrote them and whatever they are called."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoflop.user_code.architecture import architecture_of
from tasks import MLP

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from models.cnn import CNN
from models.gpt import GPT
from models.moe import MoE
from models.vit import ViT


class Layers(nn.Module):
    """Some named layers and nothing that runs."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class Block(nn.Module):
    """Attention as in many tutorials, with nothing in its names."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.first(x).chunk(3, dim=-1)
        return self.second(F.softmax(q @ k.transpose(1, 2), dim=-1) @ v)


class Classifier(nn.Module):
    """Its softmax is over classes."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x):
        return F.softmax(self.out(F.relu(self.hidden(x))), dim=-1)


class Diagonal(nn.Module):
    """A state space, told by its params alone."""

    def __init__(self, width):
        super().__init__()
        self.log_A_real, self.mix = nn.Parameter(torch.zeros(width, 8)), nn.Linear(width, width)


class MyLSTM(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gates = nn.Linear(2 * width, 4 * width)


class Mixed(nn.Module):
    """Experts in two tensors, without a module for each."""

    def __init__(self, width):
        super().__init__()
        self.router = nn.Linear(width, 4)
        self.experts_in = nn.Parameter(torch.zeros(4, width, 2 * width))
        self.experts_out = nn.Parameter(torch.zeros(4, 2 * width, width))


class SpatialAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scores = nn.Conv2d(2, 1, 7, padding=3)


class PatchEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.project = nn.Linear(48, width)


def encoder(width):
    layer = nn.TransformerEncoderLayer(width, 2, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def lenet():
    return Layers(conv1=nn.Conv2d(3, 4, 5), conv2=nn.Conv2d(4, 8, 5), hidden=nn.Linear(512, 64))


def bottleneck():
    convolutions = (nn.Conv2d(64, 16, 1), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 64, 1))
    return nn.Sequential(*convolutions, nn.Linear(64, 10))


def u_net_with_attention():
    down, up = nn.Conv2d(3, 32, 3), nn.ConvTranspose2d(32, 32, 3)
    return Layers(down=down, up=up, attn=nn.MultiheadAttention(32, 2))


def text(*layers, width=8, vocabulary=256):
    head = nn.Linear(width, vocabulary)
    return nn.Sequential(nn.Embedding(vocabulary, width), *layers, head)


MODELS = {
    "a GPT of the examples": (lambda: GPT(8), "transformer"),
    "torch's encoder over an embedding": (lambda: text(encoder(8)), "transformer"),
    "torch's whole transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        "transformer",
    ),
    "attention by hand": (lambda: text(Block(8), Block(8)), "transformer"),
    "attention on sound": (
        lambda: Layers(stem=nn.Conv1d(16, 8, 3), encoder=encoder(8)),
        "transformer",
    ),
    "attention on images and text": (
        lambda: Layers(
            patches=nn.Conv2d(3, 8, 4, 4), words=nn.Embedding(1000, 8), encoder=encoder(8)
        ),
        "transformer",
    ),
    "a ViT of the examples": (lambda: ViT(8), "vision transformer"),
    "a ViT with more places than weights per patch": (
        lambda: ViT(8, image=32, patch=4),
        "vision transformer",
    ),
    "a ViT with linear patches": (
        lambda: Layers(embed=PatchEmbedding(8), encoder=encoder(8)),
        "vision transformer",
    ),
    "a CNN of the examples": (lambda: CNN(4), "convolutional net"),
    "a LeNet, most of it linear": (lenet, "convolutional net"),
    "a bottleneck, most of it pointwise": (bottleneck, "convolutional net"),
    "causal convolutions over bytes": (lambda: text(nn.Conv1d(8, 8, 4)), "convolutional net"),
    "convolutions with a little attention": (u_net_with_attention, "convolutional net"),
    "convolutions with spatial attention": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), SpatialAttention(16)),
        "convolutional net",
    ),
    "torch's GRU": (lambda: text(nn.GRU(8, 8)), "recurrent net"),
    "torch's LSTM cell": (lambda: text(nn.LSTMCell(8, 8)), "recurrent net"),
    "an LSTM by hand": (lambda: text(MyLSTM(8)), "recurrent net"),
    "a state space by hand": (lambda: text(Diagonal(8)), "state-space model"),
    "experts of the examples": (lambda: MoE(8), "mixture of experts"),
    "experts by hand": (lambda: text(Block(8), Mixed(8)), "mixture of experts"),
    "an MLP": (lambda: MLP(16), "MLP"),
    "an MLP with a softmax at its end": (Classifier, "MLP"),
    "an MLP with a pointwise convolution in space": (
        lambda: Layers(first=nn.Conv3d(3, 8, 1), second=nn.Linear(8, 32)),
        "MLP",
    ),
    "attention whose tokens are dispatched": (
        lambda: Layers(words=nn.Embedding(8, 8), encoder=encoder(8), dispatcher=nn.Linear(8, 8)),
        "transformer",
    ),
    "an embedding and linear layers": (lambda: text(nn.Linear(8, 8)), "unknown"),
    "a tensor": (lambda: nn.ParameterList([torch.zeros(3, 3)]), "unknown"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_kind_of(name):
    make, kind = MODELS[name]
    with torch.device("meta"):
        assert architecture_of(make()).kind == kind


WORDS = {
    "a CNN of the examples": "94 % of the params are in Conv2d",
    "torch's GRU": "9.0 % of the params are in GRU",
    "attention by hand": "12 % of the params are in Block, by its attention",
    "experts by hand": "19 % of the params are in Mixed, by its experts",
    "an embedding and linear layers": "its modules do not tell what it is",
}


@pytest.mark.parametrize("name", WORDS)
def test_what_tells_the_kind_is_said(name):
    assert architecture_of(MODELS[name][0]()).because == WORDS[name]


HUGGING_FACE = {
    "Llama": ("LlamaForCausalLM", {"num_attention_heads": 2}, "transformer"),
    "Mixtral": (
        "MixtralForCausalLM",
        {"num_attention_heads": 2, "num_key_value_heads": 2},
        "mixture of experts",
    ),
    "Mamba": ("MambaForCausalLM", {}, "state-space model"),
    "ViT": ("ViTForImageClassification", {"num_attention_heads": 2}, "vision transformer"),
    "ConvNext": (
        "ConvNextForImageClassification",
        {"hidden_sizes": [8, 8, 16, 16]},
        "convolutional net",
    ),
}


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_the_kind_of_a_model_of_hugging_face(name):
    transformers = pytest.importorskip("transformers")
    model, changes, kind = HUGGING_FACE[name]
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 64}
    config = getattr(transformers, f"{name}Config")(**{**small, **changes})
    with torch.device("meta"):
        assert architecture_of(getattr(transformers, model)(config)).kind == kind

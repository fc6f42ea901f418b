"""The architectures of starts.py that examples/ does not have: small, and as people write them."""

import math

import torch
import torch.nn.functional as F
from torch import nn

BYTES = 256


# -- convolutional nets ---------------------------------------------------------------------------


class PlainConvNet(nn.Module):
    """Three convolutions, a mean over the image and a linear layer; batch normalisation or none."""

    def __init__(self, width: int, num_classes: int, normalised: bool = True) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for k in range(3):
            stride = 1 if k == 0 else 2
            conv = nn.Conv2d(widths[k], widths[k + 1], 3, stride, padding=1, bias=not normalised)
            norm = [nn.BatchNorm2d(widths[k + 1])] if normalised else []
            layers += [conv, *norm, nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(images).mean(dim=(2, 3)))


def plain_without_norm(width: int, num_classes: int) -> nn.Module:
    return PlainConvNet(width, num_classes, normalised=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.down = nn.Identity()
        if inputs != outputs:
            down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.down = nn.Sequential(down, nn.BatchNorm2d(outputs))

    def forward(self, x):
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.down(x) + inner)


class ResNet(nn.Module):
    """The residual network of He et al. 2015 with one block in each of three stages."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        stages = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.blocks = nn.Sequential(*(BasicBlock(*stage) for stage in stages))
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(images)).mean(dim=(2, 3)))


class LeNet(nn.Module):
    """Two convolutions with pooling and two linear layers, without normalisation."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, 2 * width, 5, padding=2)
        self.hidden, self.out = nn.Linear(32 * width, 8 * width), nn.Linear(8 * width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.out(F.relu(self.hidden(x.flatten(1))))


class ByteConvNet(nn.Module):
    """Residual causal convolutions over bytes, without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(BYTES, width), nn.Linear(width, BYTES)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 4) for _ in range(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens).mT
        for layer in self.layers:
            x = x + F.gelu(layer(F.pad(x, (3, 0))))
        return self.head(x.mT)


# -- vision transformers --------------------------------------------------------------------------


class TorchViT(nn.Module):
    """torch's own pre-norm encoder on patches, and a class token; torch's own initial weights."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 17, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.encoder(x)[:, 0]))


class ViTBlock(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class NarrowInitViT(nn.Module):
    """As in timm: weights of standard deviation 0.02, four layers, a mean over the patches."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.position = nn.Parameter(torch.zeros(1, 16, width))
        self.blocks = nn.Sequential(*(ViTBlock(width, 2) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


# -- recurrent nets -------------------------------------------------------------------------------


class RecurrentLM(nn.Module):
    """torch's own GRU or LSTM between an embedding and a linear layer."""

    def __init__(self, width: int, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, width)
        self.rnn = cell(width, width, batch_first=True)
        self.head = nn.Linear(width, BYTES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(tokens))[0])


def gru(width: int) -> nn.Module:
    return RecurrentLM(width, nn.GRU)


def lstm(width: int) -> nn.Module:
    return RecurrentLM(width, nn.LSTM)


# -- state-space models ---------------------------------------------------------------------------


class S4D(nn.Module):
    """A diagonal state-space layer as one long convolution (Gu et al. 2022, 2206.11893)."""

    def __init__(self, width: int, num_states: int = 8) -> None:
        super().__init__()
        low, high = math.log(0.001), math.log(0.1)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(width))
        self.log_A_real = nn.Parameter(torch.full((width, num_states), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(num_states).repeat(width, 1))
        self.C = nn.Parameter(torch.randn(width, num_states, 2) * 0.5**0.5)
        self.D = nn.Parameter(torch.randn(width))
        self.mix = nn.Linear(width, 2 * width)

    def forward(self, x):
        length = x.shape[1]
        A = torch.complex(-self.log_A_real.exp(), self.A_imag)
        step = A * self.log_dt.exp()[:, None]
        C = torch.view_as_complex(self.C) * (step.exp() - 1) / A
        times = torch.arange(length, device=x.device)
        kernel = 2 * torch.einsum("wn,wnt->wt", C, (step[..., None] * times).exp()).real
        spectrum = torch.fft.rfft(kernel, n=2 * length) * torch.fft.rfft(x.mT, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length].mT + self.D * x
        return F.glu(self.mix(F.gelu(y)))


class GatedRecurrence(nn.Module):
    """A gated linear recurrence, all times at once (minGRU: Feng et al. 2024, 2410.01201)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        gate, candidate = self.gate(x), self.candidate(x)
        log_keep = -F.softplus(gate).cumsum(dim=1)
        positive = torch.where(
            candidate >= 0, (candidate.relu() + 0.5).log(), F.logsigmoid(candidate)
        )
        log_new = -F.softplus(-gate) + positive
        state = (log_keep + torch.logcumsumexp(log_new - log_keep, dim=1)).exp()
        return self.out(state)


class StateSpaceBlock(nn.Module):
    def __init__(self, width: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mixer = nn.LayerNorm(width), nn.LayerNorm(width), mixer
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.mixer(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class StateSpaceLM(nn.Module):
    def __init__(self, width: int, mixer: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, width)
        self.blocks = nn.Sequential(*(StateSpaceBlock(width, mixer(width)) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens))))


def s4d(width: int) -> nn.Module:
    return StateSpaceLM(width, S4D)


def gated_recurrence(width: int) -> nn.Module:
    return StateSpaceLM(width, GatedRecurrence)


# -- MLPs -----------------------------------------------------------------------------------------


class MLP(nn.Module):
    """Two hidden layers on the pixels."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(768, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class ResidualMLP(nn.Module):
    """Four residual layers with layer normalisation on the pixels."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(768, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.ups = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(4))
        self.downs = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(4))
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.embed(images.flatten(1))
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            x = x + down(F.gelu(up(norm(x))))
        return self.head(x)

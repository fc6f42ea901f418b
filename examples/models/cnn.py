"""A small residual convolutional network of three stages.

Each stage has half the resolution and twice the width of the one before.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, inputs), nn.GroupNorm(1, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )

    def forward(self, x):
        inner = self.conv1(F.relu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(inner)))


class CNN(nn.Module):
    """Class logits of images of (channels, height, width)."""

    def __init__(
        self, width: int, blocks_per_stage: int = 1, channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks, inputs = [], width
        for stage in range(3):
            for k in range(blocks_per_stage):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, stride=2 if stage > 0 and k == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.GroupNorm(1, inputs), nn.Linear(inputs, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.blocks(self.stem(images))))
        return self.head(x.mean(dim=(2, 3)))

"""A real task of images on every machine: the digits of Matplotlib's own fonts.

Each image of 3 x 16 x 16 has one digit of one font, turned, scaled and moved, bright in a random
tint on a dark one, with some noise. Its label is the digit.
"""

import math
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from torch.utils.data import TensorDataset

DIGITS = "0123456789"
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "cmr10", "cmtt10"),
)
SIDE, SIZE, NOISE = 32, 16, 0.3


def glyphs(num_images: int, seed: int = 0) -> TensorDataset:
    """Pairs (image, index of its digit), the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.stack([_bitmap(font, one) for font in FONTS for one in DIGITS])
    chosen = torch.randint(len(shapes), (num_images,), generator=generator)
    ink = F.grid_sample(
        shapes[chosen][:, None],
        F.affine_grid(_placed(num_images, generator), [num_images, 1, SIZE, SIZE], False),
        align_corners=False,
    )
    tints = 2 * torch.rand(2, num_images, 3, 1, 1, generator=generator) - 1
    front, back = 1 + 0.5 * tints[0], -1 + 0.5 * tints[1]
    noise = NOISE * torch.randn(num_images, 3, SIZE, SIZE, generator=generator)
    return TensorDataset(back + (front - back) * ink + noise, chosen % len(DIGITS))


def _bitmap(font_name: str, character: str) -> torch.Tensor:
    """One digit in the middle of a square, ink 1 on 0."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = FT2Font(str(folder / f"{font_name}.ttf"))
    font.set_size(22, 72)
    font.set_text(character)
    font.draw_glyphs_to_bitmap()
    ink = np.asarray(font.get_image(), dtype=np.float32)[:SIDE, :SIDE] / 255
    square = np.zeros((SIDE, SIDE), dtype=np.float32)
    top, left = ((SIDE - length) // 2 for length in ink.shape)
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return torch.from_numpy(square)


def _placed(number: int, generator: torch.Generator) -> torch.Tensor:
    """Rotations up to 20 degrees, scales of 0.8 to 1.25, shifts up to a fifth of the side."""
    draws = 2 * torch.rand(4, number, generator=generator) - 1
    angle, scale = draws[0] * math.radians(20), 1.25 ** draws[1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = (torch.stack([cos, -sin, 0.2 * draws[2]]), torch.stack([sin, cos, 0.2 * draws[3]]))
    return torch.stack(rows).permute(2, 0, 1)

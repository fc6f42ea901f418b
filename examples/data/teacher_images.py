"""Images without a download and with a known best loss: a fixed random network draws their labels.

An image is a few soft blobs of colour with noise. The teacher, a small convolutional network that
is never trained, turns it into class probabilities, and the label is drawn from those. No model can
do better on average than the teacher's own probabilities, so the irreducible loss is their mean
entropy, `TeacherImages.entropy`.
"""

import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

NUM_CLASSES = 10
SHARPNESS = 2.0
"""Standard deviation of each of the teacher's logits over images; higher: less random labels."""

NUM_BLOBS, NOISE = 4, 0.3
TEACHER_SEED = 7
CHUNK = 4096
"""Images generated at a time."""


class TeacherImages(TensorDataset):
    """`num_images` pairs (image of 3 x size x size, label), the same ones for the same seed.

    entropy: mean entropy of the label given the image, in nats: the loss of a perfect model.
    """

    def __init__(self, num_images: int, size: int = 16, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        teacher = Teacher(size)
        images, labels, entropy = [], [], 0.0
        for first in range(0, num_images, CHUNK):
            chunk = blobs(min(CHUNK, num_images - first), size, generator)
            log_p = teacher.log_probabilities(chunk)
            entropy -= (log_p.exp() * log_p).sum().item() / num_images
            images.append(chunk)
            labels.append(torch.multinomial(log_p.exp(), 1, generator=generator).squeeze(1))
        super().__init__(torch.cat(images), torch.cat(labels))
        self.entropy = entropy


def blobs(num_images: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Noisy images of Gaussian blobs with random places, widths and colours."""
    shape = (num_images, NUM_BLOBS, 1, 1)
    grid = torch.linspace(-1, 1, size)
    x, y = (2 * torch.rand(shape, generator=generator) - 1 for _ in range(2))
    width = 0.15 + 0.35 * torch.rand(shape, generator=generator)
    heights = torch.exp(-((grid - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * width**2))
    colours = torch.randn(num_images, NUM_BLOBS, 3, generator=generator)
    noise = torch.randn(num_images, 3, size, size, generator=generator)
    return torch.einsum("nbhw,nbc->nchw", heights, colours) + NOISE * noise


class Teacher:
    """Two convolutions, a mean over the image and a linear layer, all random.

    Logits are scaled on images of its own.
    """

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(TEACHER_SEED)
        shapes = [torch.Size(shape) for shape in ((32, 3, 3, 3), (32, 32, 3, 3), (NUM_CLASSES, 32))]
        self.weights = [
            torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
            for shape in shapes
        ]
        logits = self._raw_logits(blobs(CHUNK, size, generator))
        self.mean, self.scale = logits.mean(dim=0), logits.std(dim=0) / SHARPNESS

    def log_probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Of each class (images, classes); an image's do not depend on the others."""
        return F.log_softmax((self._raw_logits(images) - self.mean) / self.scale, dim=1)

    def _raw_logits(self, images: torch.Tensor) -> torch.Tensor:
        first, second, out = self.weights
        return (
            F.relu(F.conv2d(F.relu(F.conv2d(images, first)), second, stride=2)).mean(dim=(2, 3))
            @ out.T
        )

"""A text that follows a Markov chain, a tiny model of it, and the task that isoflop trains itself."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

import isoflop

CONTEXT, LETTERS = 32, 16
BUDGET = 1e8
RECIPE = isoflop.Recipe(batch_tokens=16 * CONTEXT, eval_tokens=2**13)


class Text(Dataset):
    """Windows of a text as the dictionaries that `transformers.Trainer` takes."""

    def __init__(self, num_windows, seed):
        chain = np.random.default_rng(0).dirichlet(np.full(LETTERS, 0.3), size=LETTERS).cumsum(1)
        draws = np.random.default_rng(seed).random(num_windows * CONTEXT + 1)
        letters = np.zeros(len(draws), np.int64)
        for k in range(1, len(draws)):
            letters[k] = min(LETTERS - 1, np.searchsorted(chain[letters[k - 1]], draws[k]))
        text = torch.from_numpy(letters)
        self.inputs = text[:-1].view(num_windows, CONTEXT)
        self.labels = text[1:].view(num_windows, CONTEXT)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return {"input_ids": self.inputs[index], "labels": self.labels[index]}


class Net(nn.Module):
    """Logits of the next letter; with labels, also their loss."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(LETTERS, width)
        self.hidden = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, LETTERS)

    def forward(self, input_ids, labels=None):
        logits = self.out(F.gelu(self.hidden(self.embed(input_ids))))
        if labels is None:
            return logits
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


TRAIN, VAL = Text(3500, 1), Text(256, 2)


def task(recipe=RECIPE):
    return isoflop.Task(
        model=Net,
        size_param="width",
        train_data=TRAIN,
        val_data=VAL,
        loss=None,
        sizes=[4, 8, 12, 16, 24],
        recipe=recipe,
    )

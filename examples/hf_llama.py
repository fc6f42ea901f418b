"""A Hugging Face Llama for a compute budget: `LlamaForCausalLM`, with the loss that it returns.

Run it as `python examples/hf_llama.py` after `pip install "isoflop[hf]"`. Its batches are
dictionaries, and `loss=None` says that the model returns its loss. The model shifts the labels:
position t predicts label t + 1, so the first label of a window is no target and is set to -100,
which the model's loss and isoflop's count of tokens both leave out.
"""

from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

import isoflop
from data.python_source import ByteWindows, python_source

STORE = Path("runs/hf_llama")
BUDGETS = [2e10, 6e10, 2e11]
CONTEXT = 64
IGNORED = -100


def llama(
    width: int, num_layers: int = 2, num_heads: int = 2, num_kv_heads: int = 1
) -> LlamaForCausalLM:
    """A Llama over bytes; what does not scale with the width is fixed here."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=8 * width // 3,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_kv_heads,
            max_position_embeddings=CONTEXT,
            use_cache=False,  # for generation only
        )
    )


class CausalWindows(Dataset):
    """Windows of bytes as the dictionaries that a causal language model of transformers takes."""

    def __init__(self, windows: ByteWindows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens, _ = self.windows[index]
        labels = tokens.clone()
        labels[0] = IGNORED
        return {"input_ids": tokens, "labels": labels}


def task() -> isoflop.Task:
    train_data, val_data = python_source(CONTEXT)
    return isoflop.Task(
        model=llama,
        size_param="width",
        train_data=CausalWindows(train_data),
        val_data=CausalWindows(val_data),
        loss=None,
        unit="byte",
    )


def main() -> None:
    llamas = task()
    sweep = isoflop.plan(llamas, budgets=BUDGETS)
    print(sweep, end="\n\n")
    runs = isoflop.train(llamas, sweep, store=STORE, executor=isoflop.Processes(2))
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=30 * BUDGETS[-1], task=llamas)
    print(answer)
    print(f"\nReport: {isoflop.report(fit, answer, path=STORE / 'report.html', task=llamas)}")


if __name__ == "__main__":
    main()

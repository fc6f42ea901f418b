"""The command line of LitGPT trains the runs: `litgpt pretrain`, which knows nothing of isoflop.

Run it as `python examples/litgpt_command.py` after `pip install litgpt litdata isoflop`. The text
and a tokenizer for it are made here; `isoflop.Command` fills each run's numbers into the command
and reads the held-out loss and the tokens from the CSV log that LitGPT writes. A killed run
continues from LitGPT's own checkpoint.
"""

import argparse
import csv
import json
import shlex
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from litgpt import GPT, Config
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import isoflop

CONTEXT, VOCABULARY = 64, 512
BUDGETS = [3e9, 1.2e10]
SIZES = [8, 12, 16, 24, 32]
SHAPE = {
    "name": "small",
    "n_layer": 2,
    "n_head": 2,
    "rotary_percentage": 1.0,
    "block_size": CONTEXT,
    "vocab_size": VOCABULARY,
    "padded_vocab_size": VOCABULARY,
}
COMMAND = " ".join(
    [
        "{python} -m litgpt pretrain pythia-14m --model_config.n_embd {size}",
        *(f"--model_config.{name} {value}" for name, value in SHAPE.items()),
        "--train.max_tokens {num_tokens} --train.max_seq_length {tokens_per_example}",
        "--train.global_batch_size {batch} --train.micro_batch_size {batch}",
        "--train.lr_warmup_steps {warmup_steps} --train.min_lr 0 --train.max_norm {clip}",
        """--optimizer '{{"class_path": "torch.optim.AdamW", "init_args": {{"lr": {lr},""",
        """"betas": [{beta1}, {beta2}], "weight_decay": {weight_decay}}}}}'""",
        "--seed {seed} --out_dir {folder} --train.save_interval 100 --resume auto",
        "--eval.interval 1000000 --eval.max_iters 32 --logger_name csv --precision 32-true",
        "--devices 1 --data TextFiles --data.num_workers 0",
    ]
)


def prepare(folder: Path) -> str:
    """Write text for training and validation and train a tokenizer; returns options for them."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_text(errors="replace") for path in files]
    split = {"train": [t for k, t in enumerate(texts) if k % 10], "val": texts[::10]}
    for name, parts in split.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "0.txt").write_text("\n".join(parts))
    if not (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        learning = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<s>"], initial_alphabet=letters
        )
        tokenizer.train_from_iterator(split["train"], learning)
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    text = [f"--data.{name}_data_path={folder / name}" for name in split]
    return shlex.join([*text, f"--tokenizer_dir={folder}"])


def family() -> isoflop.Family:
    """Sizes counted on LitGPT's own model."""
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    return isoflop.Family.of_model(
        lambda size: GPT(Config(n_embd=size, **SHAPE)),
        "size",
        (tokens, tokens),
        loss=lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        sizes=SIZES,
        name="litgpt on tokens",
        recipe=isoflop.Recipe(batch_tokens=512),
    )


def logged(folder: Path) -> dict[str, float]:
    """The last held-out loss and count of tokens in the log of a run's last start."""
    logs = folder.glob("logs/csv/version_*/metrics.csv")
    with open(max(logs, key=lambda path: path.stat().st_mtime), newline="") as file:
        rows = [*csv.DictReader(file)]
    names = {"loss": "val_loss", "num_tokens": "total_tokens"}
    return {name: float([row[key] for row in rows if row[key]][-1]) for name, key in names.items()}


def trainer(folder: Path) -> isoflop.Command:
    # compiling models of this size takes longer than training them
    return isoflop.Command(
        f"{COMMAND} {prepare(folder)}", result=logged, env={"TORCHDYNAMO_DISABLE": "1"}
    )


def main(arguments: Sequence[str] | None = None) -> list[isoflop.Run]:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="FLOPs")
    options.add_argument("--store", type=Path, default=Path("runs/litgpt_command"))
    given = options.parse_args(arguments)
    gpts = family()
    sweep = isoflop.plan(gpts, budgets=given.budgets)
    print(sweep)
    command = trainer(given.store.resolve() / "text")
    runs = isoflop.train(gpts, sweep, trainer=command, store=given.store)
    fit = isoflop.fit(runs)
    print(fit)
    print(isoflop.predict(fit, flops=10 * max(given.budgets), task=gpts))
    return runs


if __name__ == "__main__":
    main()

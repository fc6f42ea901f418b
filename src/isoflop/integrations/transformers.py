"""TransformersTrainer: trains specs with the Trainer of Hugging Face's transformers."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.errors import ContractError
from isoflop.extras import load_extra
from isoflop.integrations.settings import (
    check_batch,
    check_names,
    check_passes,
    check_specs,
    largest_divisor,
    lr_factor_of,
    num_targets_in,
    steps_of,
)
from isoflop.runs import RunSpec
from isoflop.storage.atomic import write_text

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["TransformersTrainer"]

CURVE_POINTS, CHECKPOINTS = 100, 10
COUNTS = "isoflop.json"
"""File of a checkpoint that is written last: what was counted until then."""

_DECIDED = (
    "output_dir",
    "max_steps",
    "num_train_epochs",
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "warmup_ratio",
    "adam_beta1",
    "adam_beta2",
    "weight_decay",
    "max_grad_norm",
    "gradient_accumulation_steps",
    "auto_find_batch_size",
    "seed",
    "bf16",
    "fp16",
    "resume_from_checkpoint",
)
_OWN = ("args", "model", "model_init", "train_dataset", "eval_dataset", "optimizers")
_NO_METRICS = ("loss", "runtime", "samples_per_second", "steps_per_second")


@dataclass(frozen=True, kw_only=True)
class TransformersTrainer:
    """A trainer for `isoflop.train` that runs `transformers.Trainer` for each spec.

    The spec decides steps, batch, learning rate and its schedule, AdamW's settings, clipping,
    precision and seed; the schedule is exactly that of isoflop's own training, sized to the run. A
    run that is killed continues from its last checkpoint, which the run's folder keeps until its
    end.

    model: function spec -> model that returns its loss, such as
        `lambda spec: LlamaForCausalLM(LlamaConfig(hidden_size=spec.size, ...))`.
    train_dataset, eval_dataset: as `Trainer` takes them. With a length, runs of several passes
        leave out what does not fill a batch.
    arguments: fields of `TrainingArguments` that no spec decides, such as `{"tf32": True,
        "dataloader_num_workers": 4}`. `per_device_train_batch_size` is the most examples at once;
        the batch is accumulated over as many steps as that takes.
    options: other arguments of `Trainer`: data_collator, compute_metrics, callbacks, ...
    trainer_class: a subclass of `Trainer`; None for `Trainer`.

    The result of a run is `eval_loss`, with the other values of `evaluate()` as metrics, the
    logged training losses, and the targets trained as they are counted in the batches: labels
    other than -100, or examples times the planned tokens of each.

    Raises InstallError without transformers, ContractError for arguments that a spec decides.
    """

    model: "Callable[[RunSpec], nn.Module]"
    train_dataset: Any = field(repr=False)
    eval_dataset: Any = field(repr=False)
    arguments: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    trainer_class: "type[Any] | None" = None

    def __post_init__(self) -> None:
        load_extra("transformers", "hf")
        if not callable(self.model):
            raise ContractError(
                "TransformersTrainer: model must be a function spec -> model, but got "
                f"{type(self.model).__name__}."
            )
        check_names(self.arguments, _DECIDED, "TransformersTrainer: arguments")
        check_names(self.options, _OWN, "TransformersTrainer: options")

    def check(self, specs: Sequence[RunSpec], *, is_here: bool = True) -> None:
        """Raise ContractError where a spec cannot be trained."""
        check_specs(specs, "TransformersTrainer")
        for spec in specs:
            check_passes(spec, _length(self.train_dataset))

    def __call__(self, spec: RunSpec, folder: Path) -> dict[str, object]:
        """Train a spec, from its last checkpoint if there is one, and evaluate it."""
        transformers = load_extra("transformers", "hf")
        args = transformers.TrainingArguments(**self._arguments(spec, folder))
        transformers.set_seed(spec.seed)
        model = self.model(spec)
        counted = _Counted(spec, args.train_batch_size)
        kind = self.trainer_class or transformers.Trainer
        trainer = _obeying(kind, counted)(
            model=model,
            args=args,
            train_dataset=_part(self.train_dataset, spec),
            eval_dataset=self.eval_dataset,
            **self.options,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(_saves_counts(transformers.TrainerCallback, counted))
        last = _last_checkpoint(folder)
        if last is not None:
            counted.read(last / COUNTS)
        with _without_bars(transformers.utils.logging):
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
            measured = trainer.evaluate()
        if "eval_loss" not in measured:
            raise ContractError(
                "TransformersTrainer: evaluate() must give eval_loss, but gave "
                f"{', '.join(measured)}; give one eval_dataset with labels."
            )
        for checkpoint in _checkpoints(folder):
            shutil.rmtree(checkpoint, ignore_errors=True)
        return {
            "loss": measured["eval_loss"],
            "num_tokens": counted.num_tokens,
            "metrics": _metrics(measured),
            "curve": _curve(trainer.state.log_history, counted.num_tokens / steps_of(spec)),
            "device": str(args.device),
        }

    def _arguments(self, spec: RunSpec, folder: Path) -> dict[str, object]:
        """Fields of TrainingArguments: those of the spec, and defaults that the user may change."""
        steps, batch = steps_of(spec), spec.settings.batch
        most = self.arguments.get("per_device_train_batch_size")
        devices = max(1, _num_gpus(self.arguments))
        if batch % devices:
            raise ContractError(
                f"TransformersTrainer: a batch must divide among the devices, but {batch} examples "
                f"do not among {devices}; give each run one with executor='processes'."
            )
        at_once = largest_divisor(batch // devices, None if most is None else int(str(most)))
        defaults = {
            "logging_steps": max(1, steps // CURVE_POINTS),
            "save_steps": max(1, math.ceil(steps / CHECKPOINTS)),
            "save_total_limit": 2,
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": _num_gpus(self.arguments) > 0,
            "per_device_eval_batch_size": at_once,
        }
        decided = {
            "output_dir": str(folder),
            "max_steps": steps,
            "learning_rate": spec.settings.lr,
            "adam_beta1": spec.settings.beta1,
            "adam_beta2": spec.settings.beta2,
            "weight_decay": spec.settings.weight_decay,
            "max_grad_norm": 0.0 if spec.clip is None else spec.clip,
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": batch // devices // at_once,
            "seed": spec.seed,
            "bf16": _in_bf16(spec),
        }
        return {**defaults, **self.arguments, **decided}


class _Counted:
    """Examples and targets of the batches that a run has trained."""

    def __init__(self, spec: RunSpec, at_once: int) -> None:
        self.spec, self.at_once = spec, at_once
        self.num_examples, self.num_targets = 0, 0.0

    def add(self, batch: Mapping[str, Any]) -> None:
        from isoflop.user_code.data import num_examples_in

        if self.num_examples == 0:
            check_batch(self.spec, batch, self.at_once)
        examples, targets = num_examples_in(batch), num_targets_in(batch)
        self.num_examples += examples
        each = self.spec.settings.tokens_per_example
        self.num_targets += examples * each if targets is None else targets

    @property
    def num_tokens(self) -> float:
        """Targets trained; a label that the model's shift leaves out may be counted or not."""
        planned = self.num_examples * self.spec.settings.tokens_per_example
        one_each = abs(self.num_targets - planned) <= self.num_examples
        return planned if one_each else self.num_targets

    def write(self, path: Path) -> None:
        counts = {"num_examples": self.num_examples, "num_targets": self.num_targets}
        write_text(path, json.dumps(counts))

    def read(self, path: Path) -> None:
        counts = json.loads(path.read_text())
        self.num_examples, self.num_targets = counts["num_examples"], counts["num_targets"]


def _obeying(kind: "type[Any]", counted: _Counted) -> "type[Any]":
    """The trainer's class with the spec's schedule, counting what it trains."""

    def create_scheduler(
        self: Any, num_training_steps: int, optimizer: "torch.optim.Optimizer | None" = None
    ) -> object:
        from torch.optim.lr_scheduler import LambdaLR

        if self.lr_scheduler is None:
            factor = partial(lr_factor_of, counted.spec)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self: Any, model: object, inputs: Any, *rest: Any, **named: Any) -> object:
        counted.add(inputs)
        return kind.training_step(self, model, inputs, *rest, **named)

    methods = {"create_scheduler": create_scheduler, "training_step": training_step}
    return type(kind.__name__, (kind,), methods)


def _saves_counts(base: "type[Any]", counted: _Counted) -> object:
    """A callback that completes each checkpoint by what was counted until then."""

    def on_save(self: object, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        counted.write(Path(args.output_dir) / f"checkpoint-{state.global_step}" / COUNTS)

    return type("SavesCounts", (base,), {"on_save": on_save})()


@contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    """A block without a progress bar for each checkpoint, among those of the sweep."""
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, half written ones too, the oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end."""
    complete = [path for path in _checkpoints(folder) if (path / COUNTS).exists()]
    return complete[-1] if complete else None


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # a stream
        return None


def _part(dataset: Any, spec: RunSpec) -> Any:
    """The data of a run: the part that a spec passes over, in whole batches if more than once."""
    available = num_examples = _length(dataset)
    if spec.unique_tokens is not None:
        if num_examples is None:
            raise ContractError(
                f"TransformersTrainer: run {spec.id} passes over a part of the data, which a "
                "stream does not have; give a train_dataset with a length."
            )
        num_examples = min(
            num_examples, round(spec.unique_tokens / spec.settings.tokens_per_example)
        )
    if num_examples is None or available is None:
        return dataset
    batch = spec.settings.batch
    if num_examples * spec.settings.tokens_per_example < spec.num_tokens:
        num_examples -= num_examples % batch
    if num_examples == 0:
        raise ContractError(
            f"TransformersTrainer: run {spec.id} must have data for a batch of {batch} examples, "
            f"but has {available}; bring more data, or plan smaller batches."
        )
    if num_examples == available:
        return dataset
    # a smaller part lies inside a larger one
    chosen = np.random.default_rng(spec.seed).permutation(available)[:num_examples].tolist()
    if hasattr(dataset, "select"):
        return dataset.select(chosen)
    from torch.utils.data import Subset

    return Subset(dataset, chosen)


def _metrics(measured: Mapping[str, object]) -> dict[str, float]:
    """The values of `evaluate()` that measure the model."""
    named = {name.removeprefix("eval_"): value for name, value in measured.items()}
    return {
        name: float(value)
        for name, value in named.items()
        if isinstance(value, int | float) and name not in (*_NO_METRICS, "epoch")
    }


def _curve(
    history: Sequence[Mapping[str, float]], tokens_per_step: float
) -> list[tuple[float, float]]:
    """Pairs of tokens and training loss from the trainer's log."""
    losses = {int(entry["step"]): entry["loss"] for entry in history if "loss" in entry}
    return [(step * tokens_per_step, losses[step]) for step in sorted(losses)]


def _in_bf16(spec: RunSpec) -> bool:
    import torch

    from isoflop.counting.peak import is_bf16

    return is_bf16(spec.settings.precision, "cuda" if torch.cuda.is_available() else "cpu")


def _num_gpus(given: Mapping[str, object]) -> int:
    """GPUs that `Trainer` spreads a batch over in one process."""
    import torch

    return 0 if given.get("use_cpu") else torch.cuda.device_count()

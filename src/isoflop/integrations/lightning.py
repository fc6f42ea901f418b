"""LightningTrainer: trains specs with the Trainer of Lightning."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.errors import ContractError
from isoflop.extras import load_extra
from isoflop.integrations.settings import (
    check_batch,
    check_names,
    check_passes,
    check_specs,
    largest_divisor,
    lr_factor_of,
    steps_of,
)
from isoflop.runs import RunSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LightningTrainer", "adamw"]

CURVE_POINTS, CHECKPOINTS = 100, 10
ORDER = 6
"""First part of the random key of the order of examples; isoflop's own training has other keys."""

_DECIDED = (
    "max_steps",
    "min_steps",
    "max_epochs",
    "min_epochs",
    "max_time",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "default_root_dir",
    "limit_train_batches",
    "overfit_batches",
    "fast_dev_run",
    "num_nodes",
)


@dataclass(frozen=True, kw_only=True)
class LightningTrainer:
    """A trainer for `isoflop.train` that runs `lightning.Trainer` for each spec.

    The spec decides steps, batch, clipping, precision and seed. A module without
    `configure_optimizers` gets `adamw(module, spec)`: AdamW with the spec's settings and exactly
    the schedule of isoflop's own training, sized to the run. A module's own optimiser is used as it
    is. A run that is killed continues from its last checkpoint, at the same example, which the
    run's folder keeps until its end.

    module: function spec -> LightningModule.
    data: function (spec, batch_size) -> LightningDataModule, whose loader for training gives
        `batch_size` examples at once. Its order is drawn from the run's seed.
    batch_at_once: most examples at once; the batch is accumulated over as many steps as that takes.
    arguments: other arguments of `lightning.Trainer`, such as `{"accelerator": "gpu"}`; `logger`
        and progress bars are off unless they are given, and `devices` is 1.
    monitor: held-out loss that the module logs in `validation_step`.
    train_monitor: training loss that it logs in `training_step`, for the curve; None for what the
        step returns.

    The result of a run is the monitored loss, with the other logged values of the validation as
    metrics, and the examples trained, as they are counted in the batches, times the planned tokens
    of each.

    Raises InstallError without lightning, ContractError for arguments that a spec decides.
    """

    module: "Callable[[RunSpec], nn.Module]"
    data: Callable[[RunSpec, int], Any]
    batch_at_once: int | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    monitor: str = "val_loss"
    train_monitor: str | None = None

    def __post_init__(self) -> None:
        load_extra("lightning", "pl")
        for name in ("module", "data"):
            if not callable(getattr(self, name)):
                raise ContractError(
                    f"LightningTrainer: {name} must be a function of a spec, but got "
                    f"{type(getattr(self, name)).__name__}."
                )
        check_names(self.arguments, _DECIDED, "LightningTrainer: arguments")

    def check(self, specs: Sequence[RunSpec], *, is_here: bool = True) -> None:
        """Raise ContractError where a spec cannot be trained."""
        check_specs(specs, "LightningTrainer")
        for spec in specs:
            if spec.unique_tokens is not None:
                raise ContractError(
                    f"LightningTrainer cannot pass over a part of the data, but run {spec.id} "
                    "does; plan without epochs=."
                )

    def __call__(self, spec: RunSpec, folder: Path) -> dict[str, object]:
        """Train a spec, from its last checkpoint if there is one, and validate it."""
        pl = load_extra("lightning.pytorch", "pl")
        pl.seed_everything(spec.seed, workers=True, verbose=False)
        batch = spec.settings.batch
        at_once = largest_divisor(batch, self.batch_at_once)
        module = _with_optimizer(self.module(spec), spec, pl.LightningModule)
        data, counted = (
            self.data(spec, at_once),
            _counting(pl.Callback, spec, self.train_monitor, at_once),
        )
        whole = data.train_dataloader
        data.train_dataloader = lambda: _resumable(whole(), spec.seed, counted)
        last = _last_checkpoint(folder)
        with _quiet_and_interruptible():
            trainer = self._trainer(pl, spec, folder, batch // at_once, counted)
            trainer.fit(module, datamodule=data, ckpt_path=None if last is None else str(last))
            measured = dict(trainer.validate(module, datamodule=data, verbose=False)[0])
        if self.monitor not in measured:
            names = ", ".join(measured) or "nothing"
            raise ContractError(
                f"LightningTrainer: validation_step must log {self.monitor!r}, but logs {names}; "
                "log it, or give monitor=."
            )
        for checkpoint in _checkpoints(folder):
            checkpoint.unlink(missing_ok=True)
        return {
            "loss": measured.pop(self.monitor),
            "num_tokens": counted.num_tokens,
            "metrics": measured,
            "curve": counted.curve,
            "device": str(module.device),
        }

    def _trainer(self, pl: Any, spec: RunSpec, folder: Path, accumulated: int, counted: Any) -> Any:
        steps = steps_of(spec)
        saving = pl.callbacks.ModelCheckpoint(
            dirpath=folder,
            filename="{step}",
            every_n_train_steps=max(1, math.ceil(steps / CHECKPOINTS)),
            save_top_k=2,
            monitor="step",
            mode="max",
        )
        defaults = {
            "devices": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "check_val_every_n_epoch": None,
            "val_check_interval": steps * accumulated + 1,  # after the end
        }
        decided = {
            "max_steps": steps,
            "max_epochs": -1,
            "accumulate_grad_batches": accumulated,
            "gradient_clip_val": spec.clip,
            "precision": _precision(spec, self.arguments),
            "default_root_dir": str(folder),
            "callbacks": [*_several(self.arguments.get("callbacks")), counted, saving],
        }
        return pl.Trainer(**{**defaults, **self.arguments, **decided})


def adamw(module: "nn.Module", spec: RunSpec) -> dict[str, object]:
    """What `configure_optimizers` returns for a spec: AdamW and the spec's schedule.

    Matrices have weight decay, biases and gains have none.
    """
    import torch

    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decay = spec.settings.weight_decay
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=spec.settings.lr,
        betas=(spec.settings.beta1, spec.settings.beta2),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(lr_factor_of, spec))
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": "step"},
    }


def _with_optimizer(module: Any, spec: RunSpec, base: "type[Any]") -> Any:
    """The module, with the spec's optimiser where it has none of its own."""
    if not isinstance(module, base):
        raise ContractError(
            "LightningTrainer: module must give a LightningModule of lightning.pytorch, but gave "
            f"{type(module).__name__}."
        )
    if type(module).configure_optimizers is base.configure_optimizers:
        module.configure_optimizers = lambda: adamw(module, spec)
    return module


def _counting(base: "type[Any]", spec: RunSpec, train_monitor: str | None, at_once: int) -> Any:
    """A callback that counts the examples trained and keeps the training curve."""
    every = max(1, steps_of(spec) // CURVE_POINTS)

    class Counting(base):  # type: ignore[misc]  # known once lightning is imported
        def __init__(self) -> None:
            self.num_examples, self.curve = 0, list[tuple[float, float]]()
            self.recent, self.next_point = list[float](), every
            self.passes, self.batches = 0, 0  # those completed, and batches of the next

        @property
        def num_tokens(self) -> float:
            return self.num_examples * spec.settings.tokens_per_example

        def state_dict(self) -> dict[str, Any]:
            names = ("num_examples", "curve", "recent", "next_point", "passes", "batches")
            return {name: getattr(self, name) for name in names}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            for name, value in state.items():
                setattr(self, name, value)

        def on_train_start(self, trainer: Any, module: Any) -> None:
            batches = trainer.num_training_batches
            check_passes(spec, None if math.isinf(batches) else int(batches) * at_once)

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if self.num_examples == 0:
                check_batch(spec, batch, at_once)

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.passes, self.batches = self.passes + 1, 0

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
        ) -> None:
            from isoflop.user_code.data import num_examples_in

            self.num_examples += num_examples_in(batch)
            self.batches = index + 1
            metrics = trainer.callback_metrics
            loss = metrics.get(train_monitor) if train_monitor else (outputs or {}).get("loss")
            if loss is not None:
                self.recent.append(float(loss))
            if self.recent and trainer.global_step >= self.next_point:
                self.curve.append((self.num_tokens, sum(self.recent) / len(self.recent)))
                self.recent.clear()
                self.next_point = trainer.global_step + every

    return Counting()


@contextmanager
def _quiet_and_interruptible() -> Iterator[None]:
    """A block without a banner for each run, in which Ctrl-C is KeyboardInterrupt.

    Lightning turns it into an exit.
    """
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise
    finally:
        logger.setLevel(before)


def _resumable(loader: Any, seed: int, counted: Any) -> Any:
    """The loader, or one that continues where a checkpoint was saved if this one cannot."""
    return loader if hasattr(loader, "state_dict") else _Resumable(loader, seed, counted)


class _Resumable:
    """A loader whose order is drawn from a seed and the pass, and which skips what was trained.

    counted: what knows the passes and batches trained; a loader may be batches ahead.
    """

    def __init__(self, loader: Any, seed: int, counted: Any) -> None:
        self.loader, self.seed, self.counted = loader, seed, counted

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[object]:
        import torch

        from isoflop.user_code.randomness import mix

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(ORDER, self.seed, self.counted.passes))
            batches = iter(self.loader)
            first = list(islice(batches, 1))  # a sampler draws its order when it is first read
        return islice(chain(first, batches), self.counted.batches, None)

    def state_dict(self) -> dict[str, int]:
        """Nothing: the count of batches is saved. Lightning takes it that this loader resumes."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        return None


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, the oldest first."""
    found = [path for path in folder.glob("step=*.ckpt") if path.stem[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.stem[5:]))


def _last_checkpoint(folder: Path) -> Path | None:
    checkpoints = _checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


def _precision(spec: RunSpec, given: Mapping[str, object]) -> str:
    import torch

    from isoflop.counting.peak import is_bf16

    on_gpu = torch.cuda.is_available() and given.get("accelerator") != "cpu"
    return (
        "bf16-mixed" if is_bf16(spec.settings.precision, "cuda" if on_gpu else "cpu") else "32-true"
    )


def _several(callbacks: object) -> list[object]:
    if callbacks is None:
        return []
    return [*callbacks] if isinstance(callbacks, list | tuple) else [callbacks]

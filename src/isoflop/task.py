"""Task: the model to scale, its size parameter, data and loss, as one value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import ContractError
from isoflop.recipe import Recipe, Size
from isoflop.sources import remember

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Task", "plain_size", "require_task"]

LONGEST_NAME, LARGEST = 200, 1e60


# Compared by identity: data sets have no cheap equality, and counts are cached per task.
@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """The model to scale and its data; creating a task trains and reads nothing.

    model: class or factory of a `torch.nn.Module`, called as
        `model(**{size_param: size}, **model_kwargs)`.
    size_param: name of the argument that sets the size, or a function size -> keyword arguments for
        joint scaling.
    train_data, val_data: map-style or iterable `Dataset`, `DataLoader`, or a callable seed ->
        iterable of batches. Batches are `(inputs, targets)`; a mapping as inputs is passed as
        keyword arguments.
    loss: `loss(outputs, targets)` -> scalar tensor, the mean over targets; None for a model that
        returns its own loss.
    step: `step(model, batch)` -> scalar loss, for any other kind of training; `loss` is then not
        used. In evaluation `model.training` is False: leave out terms that are no part of the
        measure, such as an auxiliary loss.
    val_loss: `val_loss(outputs, targets)` -> scalar tensor, the loss on held-out data, to which
        laws are fitted, where the training loss is smoothed or has an auxiliary term. Not with
        `step`.
    metrics: other held-out measures by name, each `f(outputs, targets)` -> tensor, a scalar or one
        value per target. Their means over the evaluation set become `Run.metrics`. Not with `step`,
        which has no outputs.
    recipe: settings of training.
    unit: word for one target in tables ("token", "image", "byte").
    loss_unit: unit of the loss ("nats/token", "bits/byte"), shown beside it; None shows no unit.
    bytes_per_token: mean bytes of text per target; losses in nats are then shown in bits per byte
        too.
    sizes: the sizes that may be planned, as numbers, names or tuples of them; None searches for
        values that build.
    fingerprint: identifies model, loss and data in run ids; None computes it.
    num_params, flops_per_token: functions of a built model that replace isoflop's own counts.
    count_tokens: function of a batch that replaces the count of loss targets.

    Raises ContractError where an argument has the wrong kind or is out of range.
    """

    model: "Callable[..., nn.Module]"
    size_param: str | Callable[[Any], Mapping[str, object]]
    train_data: object
    val_data: object
    loss: "Callable[..., Tensor] | None" = None
    model_kwargs: Mapping[str, object] = field(default_factory=dict)
    step: "Callable[..., Tensor] | None" = None
    val_loss: "Callable[..., Tensor] | None" = None
    metrics: "Mapping[str, Callable[..., Tensor]]" = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    unit: str = "token"
    loss_unit: str | None = None
    bytes_per_token: float | None = None
    sizes: Sequence[Size] | None = None
    fingerprint: str | None = None
    num_params: Callable[[Any], int] | None = None
    flops_per_token: Callable[[Any], float] | None = None
    count_tokens: Callable[[Any], int] | None = None

    def __post_init__(self) -> None:
        self._check_model()
        self._check_kinds()
        if isinstance(self.size_param, str) and self.size_param in self.model_kwargs:
            raise ContractError(
                f"Task: size_param {self.size_param!r} must not be in model_kwargs too; take it "
                "out of model_kwargs."
            )
        if not isinstance(self.recipe, Recipe):
            raise ContractError(
                f"Task: recipe must be an isoflop.Recipe, but got {type(self.recipe).__name__}."
            )
        if self.sizes is not None:
            object.__setattr__(self, "sizes", _plain_sizes(self.sizes))
        self._check_measures()
        self._check_units()
        remember()  # reads the source of the loaded code before it is edited

    def _check_model(self) -> None:
        if not callable(self.model):
            raise ContractError(
                "Task: model must be a class or factory that builds a model of a given size, but "
                f"got {type(self.model).__name__}; pass the class itself, not an instance of it."
            )
        if _is_module(self.model):
            raise ContractError(
                "Task: model must be a class or factory, but got an instance of "
                f"{type(self.model).__name__}; pass the class itself, so that isoflop can build "
                "it at other sizes."
            )
        if not (isinstance(self.size_param, str) or callable(self.size_param)):
            raise ContractError(
                "Task: size_param must be the name of one of the model's arguments, or a function "
                f"size -> keyword arguments, but got {quoted(self.size_param)}."
            )

    def _check_measures(self) -> None:
        if self.metrics and self.step is not None:
            raise ContractError(
                "Task: metrics are functions of outputs and targets, which step(model, batch) does "
                "not show; give loss= instead of step=, or leave metrics out."
            )
        if self.val_loss is None:
            return
        if self.step is not None:
            raise ContractError(
                "Task: val_loss must be a function of outputs and targets, which step(model, "
                "batch) does not show; let step look at model.training instead."
            )
        if not callable(self.val_loss):
            raise ContractError(
                "Task: val_loss must be a function of outputs and targets, but got "
                f"{quoted(self.val_loss)}."
            )

    def _check_kinds(self) -> None:
        arguments.mapping(
            self.model_kwargs, "Task: model_kwargs", "a dict, name -> value", error=ContractError
        )
        arguments.mapping(
            self.metrics, "Task: metrics", "a dict, name -> function", error=ContractError
        )
        of_model = ("loss", "step", "num_params", "flops_per_token", "count_tokens")
        functions = {name: getattr(self, name) for name in of_model}
        functions |= {
            f"metrics[{quoted(name, 40)}]": function for name, function in self.metrics.items()
        }
        for name, function in functions.items():
            if not (function is None and name in of_model) and not callable(function):
                raise arguments.refused(
                    function, f"Task: {name}", "a function", error=ContractError
                )
        arguments.word(self.unit, "Task: unit", "a word such as 'token'", error=ContractError)
        for name in ("loss_unit", "fingerprint"):
            if getattr(self, name) is not None:
                arguments.word(getattr(self, name), f"Task: {name}", error=ContractError)

    def _check_units(self) -> None:
        if self.bytes_per_token is None:
            return
        remedy = "it is the bytes of the held-out text divided by its tokens"
        read = arguments.positive(
            self.bytes_per_token,
            "Task: bytes_per_token",
            must="above 0",
            error=ContractError,
            remedy=remedy,
        )
        object.__setattr__(self, "bytes_per_token", float(read))
        if self.loss_unit is not None and not self.loss_unit.startswith("nats"):
            raise ContractError(
                "Task: bytes_per_token turns a loss in nats into bits per byte, but loss_unit is "
                f"{self.loss_unit!r}; leave one of them out."
            )

    def kwargs_for(self, size: object) -> dict[str, object]:
        """Keyword arguments that build the model at a size."""
        if isinstance(self.size_param, str):
            return {**self.model_kwargs, self.size_param: size}
        return {**self.model_kwargs, **dict(self.size_param(size))}


def require_task(value: object, name: str) -> None:
    """Raise ContractError for a value that is no task, such as the class `Task` or a model."""
    if isinstance(value, type) or not all(
        hasattr(value, field) for field in ("unit", "bytes_per_token")
    ):
        raise arguments.refused(value, name, "an isoflop.Task", error=ContractError)


def _plain_sizes(sizes: object) -> tuple[Size, ...]:
    """Sizes that a store can write: lists become tuples, numbers of NumPy those of Python."""
    given = sizes if arguments.several(sizes) else ()
    plain = tuple(plain_size(size) for size in given)
    if not plain:
        raise ContractError(
            f"Task: sizes must name at least one size, but got {quoted(sizes)}; leave it out to "
            "let isoflop search for sizes."
        )
    return plain


def plain_size(size: object, name: str = "Task") -> Size:
    """A size that a store can write. Raises ContractError for any other value."""
    if isinstance(size, list | tuple):
        return tuple(_plain_part(part, name) for part in size)
    return _plain_part(size, name)


def _plain_part(size: object, name: str) -> int | float | str:
    value = arguments.plain(size)
    if not isinstance(value, int | float | str) or isinstance(value, bool) or not _is_short(value):
        raise ContractError(
            f"{name}: each of sizes must be a number, a name, or a tuple of them, but got "
            f"{quoted(size)}; name the sizes, and let size_param be a function name -> keyword "
            "arguments."
        )
    return value


def _is_short(value: float | str) -> bool:
    """Whether a size is a finite number of usual magnitude, or a name that fits a table."""
    return len(value) <= LONGEST_NAME if isinstance(value, str) else -LARGEST < value < LARGEST


def _is_module(value: object) -> bool:
    """True for a built torch module, without importing torch."""
    return any(
        cls.__module__.startswith("torch.nn") and cls.__name__ == "Module"
        for cls in type(value).__mro__
    )

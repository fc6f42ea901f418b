"""doctor_report(): versions, devices and extras on this machine."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from isoflop.display.format import align_columns, format_count
from isoflop.extras import TRAIN

__all__ = ["Device", "DoctorReport", "doctor_report"]

PACKAGES = ("isoflop", "numpy", "scipy", "matplotlib", "pandas", *TRAIN)
EXTRAS = {
    "train": TRAIN,
    "ray": ("ray",),
    "slurm": ("submitit",),
    "hydra": ("hydra",),
    "hf": ("transformers", "datasets"),
    "pl": ("lightning",),
    "tables": ("pandas", "pyarrow"),
    "datasets": ("pandas", "pooch"),
    "trackers": ("tensorboard", "wandb"),
    "wandb": ("wandb", "yaml"),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "tensorboard": ("tensorboard", "yaml"),
    "lightning": ("yaml",),
    "excel": ("openpyxl",),
    "test": ("pytest", "xdist", "hypothesis"),
    "docs": ("sphinx", "pydata_sphinx_theme", "myst_nb", "sphinx_copybutton", "ipykernel"),
    "dev": ("playwright", "nbclient", "ruff", "mypy", "importlinter"),
}
"""Extra -> the modules that it brings."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device for training, and its speed of a matrix product."""

    name: str
    memory_bytes: float | None
    flops_per_second: float
    precision: str


@dataclass(frozen=True, kw_only=True)
class DoctorReport:
    """Versions by package, devices, and extras, with True for those installed."""

    python: str
    platform: str
    versions: dict[str, str]
    devices: tuple[Device, ...]
    extras: dict[str, bool]

    def __str__(self) -> str:
        versions = [("Python", self.python), ("platform", self.platform), *self.versions.items()]
        devices = [("device", _described(device)) for device in self.devices] or [
            ("device", "not measured without torch")
        ]
        extras = [
            (f"[{name}]", "there" if there else _remedy(name))
            for name, there in self.extras.items()
        ]
        return align_columns([*versions, *devices, *extras])


def doctor_report() -> DoctorReport:
    """Versions, devices with their FLOPs per second, and extras; takes a second or two."""
    return DoctorReport(
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: _version(name) for name in PACKAGES},
        devices=tuple(_devices()),
        extras={
            name: all(find_spec(module) for module in modules) for name, modules in EXTRAS.items()
        },
    )


def _version(name: str) -> str:
    """Installed version, or the command that installs it."""
    try:
        return version(name)
    except PackageNotFoundError:
        extra = next((extra for extra, modules in EXTRAS.items() if name in modules), None)
        if extra is not None:
            return _remedy(extra)
        wanted = next((line for line in requires("isoflop") or () if line.startswith(name)), name)
        return f"missing; pip install '{wanted}'"


def _devices() -> list[Device]:
    if find_spec("torch") is None:
        return []
    import torch

    devices = [_measured("cpu", f"CPU, {torch.get_num_threads()} threads", None, is_bf16=False)]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            devices.append(_measured("cuda", facts.name, float(facts.total_memory), is_bf16=True))
    if torch.backends.mps.is_available():
        devices.append(_measured("mps", "Apple GPU", None, is_bf16=False))
    return devices


def _measured(device: str, name: str, memory_bytes: float | None, *, is_bf16: bool) -> Device:
    from isoflop.counting.peak import peak_flops  # needs torch

    speed = peak_flops(device, is_bf16)
    return Device(
        name=name,
        memory_bytes=memory_bytes,
        flops_per_second=speed,
        precision="bf16" if is_bf16 else "fp32",
    )


def _described(device: Device) -> str:
    memory = f", {device.memory_bytes / 1e9:.0f} GB" if device.memory_bytes else ""
    speed = format_count(device.flops_per_second)
    return f"{device.name}{memory}: {speed} FLOPs per second in a {device.precision} matrix product"


def _remedy(name: str) -> str:
    return f"not installed; pip install 'isoflop[{name}]'"

"""Accelerators by name: dense peak FLOP/s by precision and memory, from vendors' data sheets."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from isoflop.display.format import join_words, quoted
from isoflop.errors import PlanError

__all__ = [
    "ACCELERATORS",
    "PRECISIONS",
    "Accelerator",
    "find_accelerator",
    "is_accelerator",
    "resembles",
]

PRECISIONS = ("bf16", "fp16", "tf32", "fp32", "fp8")
"""Number formats for which data sheets give a peak."""


@dataclass(frozen=True)
class Accelerator:
    """One device as its vendor describes it.

    memory_bytes: the data sheet's GB times 1e9; programs see up to 7 % more where it means GiB.
    teraflops: dense peak (no sparsity, sums in fp32) in 1e12 FLOP/s, by precision (PRECISIONS).
    source: the data sheet.
    num_dies: devices that programs see, each with its share of the memory.
    """

    name: str
    memory_bytes: float
    teraflops: Mapping[str, float] = field(hash=False)
    source: str
    num_dies: int = 1

    @property
    def die_bytes(self) -> float:
        """Memory available to a run on one device."""
        return self.memory_bytes / self.num_dies

    @property
    def usual_precision(self) -> str:
        """Format of mixed-precision training: bf16, or fp16 on devices that lack it."""
        return "bf16" if "bf16" in self.teraflops else "fp16"

    def peak(self, precision: str | None = None) -> float:
        """Dense peak FLOP/s in a precision; None means the 16-bit format.

        Raises PlanError if the device lacks the format.
        """
        precision = precision or self.usual_precision
        if precision not in self.teraflops:
            known = join_words(list(self.teraflops))
            raise PlanError(
                f"{self.name} has no peak in {precision}; its data sheet gives {known}."
            )
        return self.teraflops[precision] * 1e12


def find_accelerator(name: str) -> Accelerator:
    """The accelerator of a name in any usual form: H100, a100-80gb, NVIDIA L40S, 4090s.

    Raises PlanError if there is none; the message lists similar names.
    """
    accelerator = _named(name)
    if accelerator is not None:
        return accelerator
    near = _near(_bare(name))
    hint = (
        f"is it {' or '.join(near)}?"
        if near
        else f"known are {join_words([a.name for a in ACCELERATORS], 40)}."
    )
    raise PlanError(f"There is no accelerator {quoted(name)} in the table: {hint}")


def is_accelerator(name: str) -> bool:
    """True if the name is in the table."""
    return _named(name) is not None


def resembles(name: str) -> bool:
    """True if the name is in the table or similar to one in it."""
    return bool(_near(_bare(name)))


def _named(name: str) -> Accelerator | None:
    """The accelerator of a name in singular or plural; the name itself first, as in L40S."""
    bare = _bare(name)
    for wanted in (bare, bare.removesuffix("s")):
        for accelerator in ACCELERATORS:
            if wanted == _bare(accelerator.name) or wanted in _SHORT.get(accelerator.name, ()):
                return accelerator
    return None


def _near(wanted: str) -> list[str]:
    """Names in the table with the same or a similar spelling."""
    bare = {_bare(accelerator.name): accelerator.name for accelerator in ACCELERATORS}
    bare |= {short: full for full, shorts in _SHORT.items() for short in shorts}
    close = difflib.get_close_matches(wanted, bare, n=3, cutoff=0.6)
    return list(dict.fromkeys(bare[one] for one in close))


def _bare(name: str) -> str:
    """The letters and digits that identify an accelerator.

    Vendor, socket generation and kind of memory are removed.
    """
    plain = re.sub(
        r"\b(nvidia|geforce|tesla|amd|instinct|google|cloud|aws|oam|gpus?)\b|hbm\d?e?\b",
        "",
        name.lower(),
    )
    return re.sub(r"[^a-z0-9]", "", re.sub(r"sxm\d", "sxm", plain))


def _nvidia(fp32: float, tf32: float, bf16: float, fp8: float | None = None) -> dict[str, float]:
    peaks = {"bf16": bf16, "fp16": bf16, "tf32": tf32, "fp32": fp32}
    return peaks if fp8 is None else {**peaks, "fp8": fp8}


# NVIDIA prints most tensor-core peaks with sparsity: twice the dense ones listed here.
_HOPPER = "NVIDIA H100 Tensor Core GPU Architecture white paper, table of peak rates"
_AMPERE = "NVIDIA A100 Tensor Core GPU data sheet"
_BLACKWELL = "NVIDIA Blackwell data sheet, GB200 NVL72 and HGX B200, per GPU"
_ADA_L = "NVIDIA {} data sheet"
_INSTINCT = "AMD Instinct {} data sheet"
_TPU = "Google Cloud TPU documentation, system architecture of {}, per chip"

ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator("H100 SXM", 80e9, _nvidia(66.9, 494.7, 989.4, 1978.9), _HOPPER),
    Accelerator("H100 PCIe", 80e9, _nvidia(51.2, 378, 756, 1513), _HOPPER),
    Accelerator(
        "H200", 141e9, _nvidia(66.9, 494.7, 989.4, 1978.9), "NVIDIA H200 Tensor Core GPU data sheet"
    ),
    Accelerator("A100 80GB", 80e9, _nvidia(19.5, 156, 312), _AMPERE),
    Accelerator("A100 40GB", 40e9, _nvidia(19.5, 156, 312), _AMPERE),
    Accelerator("B200", 180e9, _nvidia(75, 1100, 2250, 4500), _BLACKWELL),
    Accelerator("GB200", 186e9, _nvidia(80, 1250, 2500, 5000), _BLACKWELL),
    Accelerator("L40S", 48e9, _nvidia(91.6, 183, 362, 733), _ADA_L.format("L40S")),
    Accelerator("L4", 24e9, _nvidia(30.3, 60, 121, 242), _ADA_L.format("L4")),
    Accelerator("V100 32GB", 32e9, {"fp16": 125, "fp32": 15.7}, "NVIDIA V100 data sheet, SXM2"),
    Accelerator("V100 16GB", 16e9, {"fp16": 125, "fp32": 15.7}, "NVIDIA V100 data sheet, SXM2"),
    Accelerator("T4", 16e9, {"fp16": 65, "fp32": 8.1}, "NVIDIA T4 data sheet"),
    Accelerator(
        "RTX 3090", 24e9, _nvidia(35.6, 35.6, 71), "NVIDIA Ampere GA102 white paper, appendix A"
    ),
    Accelerator(
        "RTX 4090", 24e9, _nvidia(82.6, 82.6, 165.2, 330.3), "NVIDIA Ada white paper, appendix A"
    ),
    Accelerator(
        "RTX 5090",
        32e9,
        _nvidia(104.8, 104.8, 209.5, 419),
        "NVIDIA RTX Blackwell white paper, appendix A",
    ),
    Accelerator(
        "MI250X",
        128e9,
        {"bf16": 383, "fp16": 383, "fp32": 95.7},
        _INSTINCT.format("MI250X") + ", both dies",
        2,
    ),
    Accelerator("MI300X", 192e9, _nvidia(163.4, 653.7, 1307.4, 2614.9), _INSTINCT.format("MI300X")),
    Accelerator("MI325X", 256e9, _nvidia(163.4, 653.7, 1307.4, 2614.9), _INSTINCT.format("MI325X")),
    Accelerator("TPU v4", 32e9, {"bf16": 275}, _TPU.format("TPU v4")),
    Accelerator("TPU v5e", 16e9, {"bf16": 197}, _TPU.format("TPU v5e")),
    Accelerator("TPU v5p", 95e9, {"bf16": 459}, _TPU.format("TPU v5p")),
    Accelerator("TPU v6e", 32e9, {"bf16": 918}, _TPU.format("TPU v6e")),
    Accelerator(
        "Trainium2",
        96e9,
        _nvidia(181, 667, 667, 1299),
        "AWS Neuron documentation, Trainium2 architecture",
    ),
)

_SHORT = {
    "H100 SXM": ("h100", "h10080gb", "h100sxm80gb"),
    "H100 PCIe": ("h100pcie80gb",),
    "H200": ("h200sxm", "h200141gb"),
    "A100 80GB": ("a100", "a100sxm", "a100pcie", "a100sxm80gb", "a100pcie80gb", "a10080gbpcie"),
    "A100 40GB": ("a100sxm40gb", "a100pcie40gb"),
    "B200": ("b200sxm", "b200180gb"),
    "GB200": ("gb200nvl72",),
    "V100 32GB": ("v100sxm32gb", "v100pcie32gb"),
    "V100 16GB": ("v100", "v100sxm", "v100pcie", "v100sxm16gb", "v100pcie16gb"),
    "RTX 3090": ("3090",),
    "RTX 4090": ("4090",),
    "RTX 5090": ("5090",),
    "TPU v4": ("v4", "tpu4"),
    "TPU v5e": ("v5e", "tpuv5lite", "v5litepod"),
    "TPU v5p": ("v5p",),
    "TPU v6e": ("v6e", "trillium"),
    "Trainium2": ("trn2", "trainium2chip"),
}
"""Short names for accelerators of the table; a shared one means the most commonly rented board."""

"""Public measurements at hand: fetch() brings a file from its original address into a cache; nothing is bundled."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.errors import DataError, StoreError
from isoflop.runs import Run

__all__ = ["DATASETS", "Dataset", "fetch", "load"]

_CHINCHILLA = "epoch-research/analyzing-chinchilla/92258837425e1b5f2851d624287f0120583a3d0e/data"
_MARIN = (
    "Open-Athena/scaling-law-analysis/3e0656ee3dce1a2c89aa67691920f5eb9d30f0fc/data/isoflops/extract/marin_202603/raw"
)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A table that others published, at one commit of its repository."""

    about: str
    path: str
    """Owner, repository, commit and file on GitHub."""
    sha256: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """For `read_runs`: what the table calls its columns."""

    @property
    def url(self) -> str:
        return f"https://raw.githubusercontent.com/{self.path}"

    @property
    def file_name(self) -> str:
        """In the cache: the first digits of the checksum keep versions apart."""
        return f"{self.sha256[:8]}-{self.path.rpartition('/')[2]}"


DATASETS: Mapping[str, Dataset] = {
    "chinchilla": Dataset(
        about="Runs of Hoffmann et al. 2022, recovered from their figure 4 by Besiroglu et al. 2024; no budgets.",
        path=f"{_CHINCHILLA}/svg_extracted_data.csv",
        sha256="193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
        columns={"params": "Model Size", "flops": "Training FLOP", "loss": "loss"},
    ),
    "marin_comma": Dataset(
        about="IsoFLOP ladder on Common Pile (Marin 2026) with its own compute-optimal runs; losses of Paloma.",
        path=f"{_MARIN}/isoflop-comma.csv",
        sha256="0b352c08b3c96d97ef3d7534becbc0a2918493e6e37961943b022056277e4406",
        columns={"params": "parameter_count", "tokens": "throughput/total_tokens", "loss": "eval/paloma/macro_loss"},
    ),
    "marin_dclm": Dataset(
        about="IsoFLOP ladder on DCLM (Marin 2026); losses of Paloma.",
        path=f"{_MARIN}/isoflop-dclm.csv",
        sha256="8a75a0fbc7b34250501de17ab336fdf99d6bee67e44f62b8bed4b81fb9f033af",
        columns={"params": "parameter_count", "tokens": "throughput/total_tokens", "loss": "eval/paloma/macro_loss"},
    ),
}
"""By name; what others made of them stands with their authors, not here."""


def fetch(name: str, *, folder: str | os.PathLike[str] | None = None) -> Path:
    """The file of a public data set, from the cache or from its original address; its checksum is verified.

    folder: the cache; the system's place for caches by default, or $ISOFLOP_CACHE.

    Raises DataError for an unknown name or without pooch, StoreError where the file can neither be found nor fetched.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}; there are {', '.join(DATASETS)}.")
    try:
        import pooch  # an extra
    except ImportError as error:
        raise DataError("isoflop.datasets needs pooch; install it with `pip install 'isoflop[datasets]'`.") from error
    wanted = DATASETS[name]
    place = Path(folder or os.environ.get("ISOFLOP_CACHE") or pooch.os_cache("isoflop"))
    try:
        found = pooch.retrieve(wanted.url, f"sha256:{wanted.sha256}", fname=wanted.file_name, path=place)
    except (OSError, ValueError) as error:  # no network, or another file than the one that was published
        raise StoreError(
            f"Cannot fetch {name} ({type(error).__name__}); get {wanted.url} where there is a network and place it as "
            f"{place / wanted.file_name} (sha256 {wanted.sha256})."
        ) from error
    return Path(found)


def load(name: str, *, folder: str | os.PathLike[str] | None = None) -> list[Run]:
    """The runs of a public data set, as `read_runs` reads its file; raises what `fetch` raises."""
    from isoflop.storage.tables import read_runs

    return read_runs(fetch(name, folder=folder), columns=DATASETS[name].columns)

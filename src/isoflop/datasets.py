"""Public measurements: load() downloads a table from its original address into a cache.

No data are bundled. Sets that are published as pickles alone (Porian et al. 2024, Beck et al. 2025)
are left out, because reading a pickle runs code.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.errors import DataError, StoreError
from isoflop.extras import load_extra
from isoflop.runs import Run

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = load_extra("pandas", "datasets")

__all__ = ["DATASETS", "Dataset", "fetch", "load"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Published measurements, at one commit of their repository."""

    about: str
    folder: str
    """Owner, repository, commit and folder on GitHub."""
    files: Mapping[str, str]
    """Name in the folder -> sha256."""
    table: Callable[[Sequence[Path]], pd.DataFrame]
    """Files -> one row per run, with the column names of `read_runs`."""

    def url(self, name: str) -> str:
        return f"https://raw.githubusercontent.com/{self.folder}/{name}"

    def cached(self, name: str) -> str:
        """Name of a file in the cache; digits of its checksum distinguish versions."""
        return f"{self.files[name][:8]}-{name}"


# -- readers -------------------------------------------------------------------------------------


def _chinchilla(paths: Sequence[Path]) -> pd.DataFrame:
    return pd.read_csv(paths[0]).rename(columns={"Model Size": "params", "Training FLOP": "flops"})


_MARIN_COLUMNS = {
    "parameter_count": "params",
    "throughput/total_tokens": "tokens",
    "eval/paloma/macro_loss": "loss",
    "Name": "run",
}
_MARIN_LADDER = "isoflop-"


def _marin_ladder(paths: Sequence[Path]) -> pd.DataFrame:
    """The IsoFLOP runs. FLOPs in their names are of the forward pass: a third of the budget."""
    table = _marin(paths)
    table = table[table.run.str.startswith(_MARIN_LADDER)]
    return table.assign(
        compute_budget=3
        * table.run.str.extract(r"isoflop-([\de+.]+)-d", expand=False).astype(float)
    )


def _marin_optimal(paths: Sequence[Path]) -> pd.DataFrame:
    """The runs at the sizes that the ladder's authors determined to be compute-optimal."""
    table = _marin(paths)
    return table[~table.run.str.startswith(_MARIN_LADDER)]


def _marin(paths: Sequence[Path]) -> pd.DataFrame:
    return pd.read_csv(paths[0]).rename(columns=_MARIN_COLUMNS)[list(_MARIN_COLUMNS.values())]


def _gadre(paths: Sequence[Path]) -> pd.DataFrame:
    """One file per run; the loss is that of the C4 validation set."""
    rows = []
    for path in paths:
        record = json.loads(path.read_text())
        results = record["results"]
        losses = [result["loss"] for result in results if "c4_val" in result["val_data"][0]]
        settings = record["hyperparameters"]
        rows.append(
            {
                "run": record["name"],
                "params": settings["params"],
                "tokens": settings["tokens"],
                "loss": losses[0],
            }
        )
    return pd.DataFrame(rows)


def _cs336(paths: Sequence[Path]) -> pd.DataFrame:
    table = pd.DataFrame(json.loads(paths[0].read_text()))
    table = table.rename(columns={"parameters": "params", "final_loss": "loss"})
    return table.assign(
        flops=table.compute_budget, tokens=table.compute_budget / (6 * table.params)
    )


_GEMSTONES_COLUMNS = {
    "params_active_precise": "params",
    "tokens": "tokens",
    "final_loss": "loss",
    "run_name": "run",
}


def _gemstones(paths: Sequence[Path]) -> pd.DataFrame:
    """Checkpoints, several of each run."""
    table = pd.read_json(paths[0], orient="records", lines=True)
    return table.rename(columns=_GEMSTONES_COLUMNS)[list(_GEMSTONES_COLUMNS.values())]


# -- sets ----------------------------------------------------------------------------------------

_MARIN = (
    "Open-Athena/scaling-law-analysis/3e0656ee3dce1a2c89aa67691920f5eb9d30f0fc/data/isoflops/"
    "extract/marin_202603/raw"
)
_GEMSTONES = "mcleish7/gemstone-scaling-laws/5f420478f6057b0cbb4d13405fb10ca64675bccb/wandb_dfs"
_COMMA = {"isoflop-comma.csv": "0b352c08b3c96d97ef3d7534becbc0a2918493e6e37961943b022056277e4406"}


def _one_file(name: str, checksum: str) -> dict[str, str]:
    return {name: checksum}


def _listed(name: str) -> dict[str, str]:
    """File -> sha256, from a list of checksums in this package."""
    lines = files("isoflop").joinpath(name).read_text().splitlines()
    return {file: checksum for file, checksum in (line.rsplit(" ", 1) for line in lines)}


DATASETS: Mapping[str, Dataset] = {
    "chinchilla": Dataset(
        about=(
            "Runs of Hoffmann et al. 2022, recovered from their figure 4 by Besiroglu et al. 2024; "
            "no budgets."
        ),
        folder="epoch-research/analyzing-chinchilla/92258837425e1b5f2851d624287f0120583a3d0e/data",
        files=_one_file(
            "svg_extracted_data.csv",
            "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
        ),
        table=_chinchilla,
    ),
    "marin_comma": Dataset(
        about="IsoFLOP ladder on Common Pile (Marin 2026); losses of Paloma.",
        folder=_MARIN,
        files=_COMMA,
        table=_marin_ladder,
    ),
    "marin_comma_optimal": Dataset(
        about=(
            "The ladder's own compute-optimal runs on Common Pile (Marin 2026), for checking a fit "
            "of marin_comma."
        ),
        folder=_MARIN,
        files=_COMMA,
        table=_marin_optimal,
    ),
    "marin_dclm": Dataset(
        about="IsoFLOP ladder on DCLM (Marin 2026); losses of Paloma.",
        folder=_MARIN,
        files=_one_file(
            "isoflop-dclm.csv", "8a75a0fbc7b34250501de17ab336fdf99d6bee67e44f62b8bed4b81fb9f033af"
        ),
        table=_marin_ladder,
    ),
    "gadre": Dataset(
        about=(
            "Runs on RedPajama of 5 to 640 tokens per param (Gadre et al. 2024); losses of C4; no "
            "budgets."
        ),
        folder="mlfoundations/scaling/a003c4913793ac2ae7ef87b28ecb562955d026d5/exp_data/models",
        files=_listed("datasets_gadre.txt"),
        table=_gadre,
    ),
    "gemstones": Dataset(
        about=(
            "Ten checkpoints of each of 22 runs at a constant learning rate (McLeish et al. 2025); "
            "no budgets."
        ),
        folder=_GEMSTONES,
        files=_one_file(
            "wandb_df_for_fitting_hot.jsonl",
            "655467b59c99383403d6f73f5b7f23c02aea3f12935dc110382d8a8b43a0ff5d",
        ),
        table=_gemstones,
    ),
    "gemstones_curves": Dataset(
        about=(
            "The runs of gemstones with fifty checkpoints each (McLeish et al. 2025), for "
            "`Envelope()`."
        ),
        folder=_GEMSTONES,
        files=_one_file(
            "wandb_df_for_fitting_hot_477.jsonl",
            "bebd60d6c3f28094451b629aa717ec36baeab81097d4be39e7dd9241ee982aad",
        ),
        table=_gemstones,
    ),
    "cs336": Dataset(
        about=(
            "IsoFLOP curves of a known law without noise, from Stanford's CS336 (2024), "
            "assignment 3."
        ),
        folder=(
            "stanford-cs336/spring2024-assignment3-scaling/"
            "3f16a055d73e8626f1491c0548d7fb339703df15/data"
        ),
        files=_one_file(
            "isoflops_curves.json",
            "da6a464c3f5e5039d3f20e137dfcab3031a3d8e7ef0ac2f376f96e295d4afd27",
        ),
        table=_cs336,
    ),
}
"""Data sets by name."""


def fetch(name: str, *, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Paths of a public data set's files, downloaded into a cache; checksums are verified.

    folder: the cache; by default $ISOFLOP_CACHE, or the system's folder for caches.

    Raises DataError for an unknown name, InstallError without pooch, StoreError where a file is not
    in the cache and cannot be downloaded.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}; there are {', '.join(DATASETS)}.")
    pooch = load_extra("pooch", "datasets")
    dataset = DATASETS[name]
    cache = Path(folder or os.environ.get("ISOFLOP_CACHE") or pooch.os_cache("isoflop"))
    paths = []
    for file, checksum in dataset.files.items():
        url, cached = dataset.url(file), dataset.cached(file)
        try:
            path = pooch.retrieve(url, f"sha256:{checksum}", fname=cached, path=cache)
        except (OSError, ValueError) as error:  # no network, or a file with another checksum
            # short, because the address and the path must fit in one message
            raise StoreError(f"Cannot fetch {name}; save {url} as {cache / cached}.") from error
        paths.append(Path(path))
    return paths


def load(name: str, *, folder: str | os.PathLike[str] | None = None) -> list[Run]:
    """The runs of a public data set; raises what `fetch` raises."""
    from isoflop.storage.tables import read_runs

    paths = fetch(name, folder=folder)
    return read_runs(DATASETS[name].table(paths))

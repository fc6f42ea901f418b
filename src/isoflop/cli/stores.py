"""isoflop status and rerun: the runs of a store, and another try for those that failed."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once.

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from isoflop.cli.options import Json, StoreArgument
from isoflop.errors import StoreError

if TYPE_CHECKING:
    from isoflop.storage.directory import DirectoryStore

__all__ = ["open_store", "rerun", "status"]


def status(store: StoreArgument, as_json: Json = False) -> None:
    """Show the runs of a store that completed, failed, train or wait, by stage."""
    from isoflop.reporting.json_output import status_values, to_json
    from isoflop.reporting.status import status_text
    from isoflop.storage.status import stage_statuses

    stages = stage_statuses(open_store(store))
    typer.echo(
        to_json([status_values(stage) for stage in stages]) if as_json else status_text(stages)
    )


def rerun(store: StoreArgument, as_json: Json = False) -> None:
    """Forget the failed runs of a store, so that the next train tries them again.

    Files that cannot be read are set aside under a new name.
    """
    from isoflop.display.format import LONG, format_items, one_line
    from isoflop.reporting.json_output import run_values, to_json
    from isoflop.storage.status import clear_failed

    failed = clear_failed(open_store(store))
    if as_json:
        typer.echo(to_json([run_values(run) for run in failed]))
        return
    for run in failed:
        typer.echo(one_line(f"{run.id} size {run.size}: {run.error}", LONG))
    again = "; the next train tries again" if failed else ", since none is there"
    typer.echo(f"{format_items(len(failed), 'failed run')} forgotten{again}.")


def open_store(path: Path) -> "DirectoryStore":
    from isoflop.display.format import one_line
    from isoflop.storage.directory import DirectoryStore

    if not os.path.isdir(path):
        raise StoreError(
            f"There is no store {one_line(path)}; name the folder that `isoflop train --store` was "
            f"given."
        )
    return DirectoryStore(path)

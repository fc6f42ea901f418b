"""isoflop plan | train | fit | predict | report, and the commands beside these five verbs.

Exit codes: 0 done; 1 a fault of isoflop, with its traceback; 2 a question without an answer, a task
that cannot be loaded or a wrong option, in one sentence on stderr; 3 trained, but some runs failed;
75 stopped by SIGTERM with everything saved; 130 stopped with Ctrl-C.
"""

# The imports of a command are inside it: `isoflop --help` must answer at once, `isoflop fit` needs
# no torch, and only what draws a page needs matplotlib.

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from isoflop.cli.answers import fit, predict, report
from isoflop.cli.budget import budget
from isoflop.cli.compare import compare, holdout
from isoflop.cli.options import Json
from isoflop.cli.stores import rerun, status
from isoflop.cli.sweeps import next_stage, plan, train
from isoflop.cli.tell import tell
from isoflop.cli.tune import tune
from isoflop.cli.watch import watch
from isoflop.cli.words import with_options
from isoflop.errors import IsoflopError

__all__ = ["app", "main"]

app = typer.Typer(
    help="How big a model and how much data for a compute budget: plan, train, fit, predict, "
    "report.",
    epilog="Exit codes: 0 done, 1 a fault, 2 a question that cannot be answered or a wrong option, "
    "3 trained but some runs failed, 75 stopped by SIGTERM with everything saved, 130 stopped by "
    "Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(installed_version("isoflop"))
        raise typer.Exit


def doctor(as_json: Json = False) -> None:
    """Check the installation: versions, devices and how fast they multiply, extras."""
    from isoflop.cli.doctor import doctor_report
    from isoflop.reporting.json_output import to_json

    result = doctor_report()
    typer.echo(to_json(result) if as_json else result)


for _command in (
    budget,
    plan,
    tell,
    train,
    fit,
    predict,
    report,
    watch,
    compare,
    holdout,
    tune,
    status,
    rerun,
    doctor,
):
    app.command()(_command)
app.command("next")(next_stage)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an IsoflopError becomes one sentence on stderr and exit code 2."""
    # Fits multiply many small matrices, where threads only wait for each other: on a busy machine
    # of two cores a fit takes 1.3 s with one thread and 14 to 34 s with two. NumPy reads this
    # once, when a command first imports it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=None if arguments is None else list(arguments))
    except IsoflopError as error:
        typer.echo(f"isoflop: {with_options(str(error))}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

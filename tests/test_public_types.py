"""Type checkers see public names as their classes: `make check` holds this module to mypy --strict.

A name that mypy took for Any would fail `assert_type`.
"""

from typing import assert_type

import isoflop
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.slurm import Slurm


def test_executors_are_seen_as_their_classes_whether_or_not_their_library_is_installed() -> None:
    assert type(assert_type(isoflop.InProcess(), InProcess)) is InProcess
    assert type(assert_type(isoflop.Processes(2), Processes)) is Processes
    assert type(assert_type(isoflop.Ray(), Ray)) is Ray
    assert type(assert_type(isoflop.Slurm(), Slurm)) is Slurm

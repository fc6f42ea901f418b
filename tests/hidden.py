"""A Python in which packages are not installed, whether they are or not."""

import subprocess
import sys

HIDE = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {hidden!r}


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_hidden = name.partition(".")[0] in HIDDEN
        return None if is_hidden else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        return () if context.name in HIDDEN else PathFinder.find_distributions(context)


sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run_without(packages, program, *arguments):
    """What a program prints where these packages are missing."""
    code = HIDE.format(hidden=packages) + program
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

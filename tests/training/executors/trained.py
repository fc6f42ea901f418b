"""Trainers for the contract of executors: they load no torch, note their calls, fail or die."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ladder import loss_of


@dataclass(frozen=True)
class Trying:
    """Raises at one id, and has its worker killed once at another; the others end well."""

    fails: str
    dies: str

    def __call__(self, spec, folder):
        note(folder)
        if spec.id == self.fails:
            raise ValueError("not this one")
        if spec.id == self.dies and len((folder / "calls").read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss_of(spec)


@dataclass(frozen=True)
class Waiting:
    """Waits at one id until it is stopped, and then at its second call goes on from its file."""

    waits: str

    def __call__(self, spec, folder):
        note(folder)
        if spec.id == self.waits and not (folder / "saved").exists():
            try:
                time.sleep(300)
            except BaseException:
                (folder / "saved").write_text("state")
                raise
        return loss_of(spec)


def note(folder):
    with open(folder / "calls", "a") as file:
        file.write("x")


PROGRAM = """
import os, sys, time, signal
from pathlib import Path
folder, run, role = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with open(folder / "calls", "a") as file:
    file.write("x")
first = len((folder / "calls").read_text()) == 1
if role == "fails":
    sys.exit("not this one")
if role == "dies" and first:
    os.kill(os.getpid(), signal.SIGKILL)
if role == "waits" and first:
    signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").write_text("state"), sys.exit(75)))
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(300)
print("loss", sys.argv[4])
"""


def command_for(roles, folder):
    """A command whose runs of some sizes fail, die or wait: size -> role."""
    import isoflop

    path = Path(folder) / "program.py"
    path.write_text(PROGRAM)
    cases = " ".join(f"{size}) role={role};;" for size, role in roles.items())
    return isoflop.Command(
        f"case {{size}} in {cases} *) role=fine;; esac; "
        f"exec {sys.executable} {path} {{folder}} {{id}} $role 2.{{size}}",
        result=r"^loss ([0-9.]+)$",
    )

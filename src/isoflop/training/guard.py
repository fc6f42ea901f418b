"""A process between a worker and its command, so that no command outlives whoever wants its result.

Run by its path with the command as arguments. Standard input is a pipe from the worker: when it
closes, by intent or because the worker was killed, the command and all that it started are ended.
This file imports nothing of isoflop, so that it starts in a few hundredths of a second.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_SECONDS = 10.0
"""Time that a command has to save its state after SIGTERM."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl()."""


def main() -> int:
    """Exit code of the command; 128 + n after signal n, as in a shell."""
    # the command is of this process's own group, which a signal to the group must not end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=_begin)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(ended,), daemon=True).start()
    code = command.wait()
    ended.set()
    return code if code >= 0 else 128 - code


def _begin() -> None:
    """In the command: let signals end it, and the system kill it if this process is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _watch(ended: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    if ended.is_set():
        return
    os.killpg(0, signal.SIGTERM)
    ended.wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)  # this process, too


if __name__ == "__main__":
    sys.exit(main())

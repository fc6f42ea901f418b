"""Leases: of all processes that share a store, on any machines, one at a time trains a run.

A lease is a file `<run>/lease-<n>` that names its holder; the highest n counts. The file is created
only where no file has its name, so that of two processes that take a free lease, or replace a stale
one by creating n + 1, one succeeds. It is created as a hard link, which is complete at once; on
disks without links, as a new file that is filled afterwards. The holder touches its file regularly:
this is the heartbeat. A lease that names no holder is judged by its heartbeat alone.
"""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from uuid import uuid4

from isoflop.display.format import one_line
from isoflop.storage.atomic import writing
from isoflop.storage.files import Damaged, read_file

__all__ = ["HEARTBEAT_SECONDS", "STALE_SECONDS", "holder_of", "leased"]

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A lease of another machine is free once its heartbeat has stopped for this long."""


@dataclass(frozen=True)
class Holder:
    """Holder of a lease: a process, and the session (one call of `train`) for which it works."""

    host: str
    machine: str
    """Shared by processes that can see each other: host, last boot, and container namespace."""
    pid: int
    started: str | None
    """Start of the process, to recognise a reused process number; None where it is unknown."""
    session: str
    since: float = field(default=0.0, compare=False)
    """Time at which it took the lease, in seconds of its machine's clock; 0 where unknown."""

    def __str__(self) -> str:
        since = (
            f" since {datetime.fromtimestamp(self.since):%Y-%m-%d %H:%M:%S}" if self.since else ""
        )
        return (
            f"process {self.pid} on {one_line(self.host)}{since}"
            if self.pid
            else "a process that its lease does not name"
        )


_NOBODY = Holder("", "", 0, None, "nobody")
_NAME = re.compile("lease-([0-9]+)")


@contextmanager
def leased(folder: Path, session: str) -> Iterator[str | None]:
    """Hold a folder's lease while the block runs; give None, or the other session's holder.

    A lease is free when no file exists, when its holder is a dead process of this machine, when its
    heartbeat stopped STALE_SECONDS ago (by this process's own clock where the file's date is in the
    future), or when the same session holds it: a session passes a run to another worker only when
    the first one is dead.

    Raises StoreError where the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path, other = _take(folder, session)
    if path is None:
        yield str(other)
        return
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, ended), daemon=True, name="isoflop-lease").start()
    try:
        yield None
    finally:
        ended.set()
        # it may be taken by another after a long sleep, or out of reach: then it becomes stale
        with suppress(OSError):
            if _read(path) == _me(session):
                path.unlink()


def holder_of(folder: Path) -> str | None:
    """Holder of a folder's lease, in words; None where the lease is free."""
    with suppress(OSError):
        path = folder / f"lease-{max(_numbers(folder), default=-1)}"
        holder = _read(path)
        return str(holder) if _is_held(holder, path, "", time.time()) else None
    return None


def _take(folder: Path, session: str) -> tuple[Path, None] | tuple[None, Holder]:
    """Path of the lease that was taken, or the other session's holder."""
    while True:
        newest = max(_numbers(folder), default=-1)
        path = folder / f"lease-{newest + 1}"
        # A lease that disappears meanwhile was released: try again, as its number may be reused.
        with _offer(folder, _me(session)) as offer, suppress(FileNotFoundError):
            before = folder / f"lease-{newest}"
            other = None if newest < 0 else _read(before)
            if other is not None and _is_held(other, before, session, _touched(offer)):
                return None, other
            if _give(offer, path):
                if max(_numbers(folder), default=-1) == newest + 1:
                    _clear(folder, newest)
                    return path, None
                path.unlink(missing_ok=True)  # a newer lease was created meanwhile


def _is_held(holder: Holder, path: Path, session: str, now: float) -> bool:
    """Whether a live process of another session holds a lease; now: by the clock of the files."""
    if holder.session == session:
        return False
    if holder.machine == _machine():
        return _started(holder.pid) == holder.started
    age = now - _touched(path)
    return age < STALE_SECONDS if age >= 0 else _has_beaten(path)


_ahead: dict[Path, tuple[float, float]] = {}
"""Leases dated in the future, as after a clock change: (date, time when it was first seen)."""


def _has_beaten(path: Path) -> bool:
    """Whether a lease's date has changed within STALE_SECONDS, as far as this process has seen."""
    date, seen = _touched(path), time.monotonic()
    if _ahead.get(path, (None, 0.0))[0] != date:
        _ahead[path] = (date, seen)
    return seen - _ahead[path][1] < STALE_SECONDS


def _clear(folder: Path, last: int) -> None:
    """Remove the leases up to a number, when a newer one counts."""
    for number in _numbers(folder):
        if number <= last:
            # removed meanwhile; or a folder, which is harmless below a newer lease
            with suppress(OSError):
                (folder / f"lease-{number}").unlink()


@contextmanager
def _offer(folder: Path, holder: Holder) -> Iterator[Path]:
    """A temporary file that names a holder; its date is the time by the clock of the files."""
    offer = folder / f".lease.{os.getpid()}.{uuid4().hex[:8]}.partial"
    try:
        offer.write_text(json.dumps(asdict(holder)) + "\n")
        yield offer
    finally:
        offer.unlink(missing_ok=True)


def _give(offer: Path, path: Path) -> bool:
    """Turn an offer into the lease at `path`; False where the name is taken."""
    try:
        os.link(offer, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # network drives, FUSE, exFAT
        return _copy(offer, path)
    return True


def _copy(offer: Path, path: Path) -> bool:
    """`_give` without hard links. The lease is briefly empty to others: recent, and so held."""
    try:
        with open(path, "x") as lease:
            lease.write(offer.read_text())
    except FileExistsError:
        return False
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return True


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        try:
            _touch(path)
        except FileNotFoundError:  # taken by another
            return
        except OSError:  # storage that is briefly unavailable
            continue


def _touch(path: Path) -> None:
    """Update a file's date, also on a disk that does not let programs set dates."""
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError:
        text = path.read_bytes()
        with open(path, "r+b") as lease:
            lease.write(text)


def _numbers(folder: Path) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in os.listdir(folder))
    return [int(match[1]) for match in matches if match]


def _read(path: Path) -> Holder:
    """Holder named by a lease; `_NOBODY` where the lease is empty, torn or no file.

    Raises FileNotFoundError where the lease does not exist.
    """
    try:
        data = read_file(str(path))
        if data is None:
            raise FileNotFoundError(path)
        values = json.loads(data.decode())
        holder = Holder(**values)
    except (Damaged, ValueError, TypeError, RecursionError):
        return _NOBODY
    return holder if _is_sound(holder) else _NOBODY


def _is_sound(holder: Holder) -> bool:
    words = (holder.host, holder.machine, holder.session, holder.started or "")
    numbers = type(holder.pid) is int and type(holder.since) in (int, float)
    return (
        numbers
        and 0 < holder.pid < 2**31
        and 0 <= holder.since < 1e11
        and all(isinstance(word, str) for word in words)
    )


def _touched(path: Path) -> float:
    return path.lstat().st_mtime


def _me(session: str) -> Holder:
    return Holder(
        socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()), session, time.time()
    )


@cache
def _machine() -> str:
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Start of a process, in the system's own count; "dead" for no process, None where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if _exists(pid) and not Path("/proc/self/stat").exists() else "dead"
    fields = text.rpartition(")")[2].split()
    return "dead" if fields[0] in ("Z", "X") else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

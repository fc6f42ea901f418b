"""Leases: of the processes that share a store, on any machines, one at a time trains a run.

A lease is a file `<run>/lease-<n>` that names its holder; the highest n counts. It is made only where there is none of
that name, so of two processes that take a free lease, or steal a stale one by making n + 1, one succeeds: as a hard
link, which is whole at once, or, on disks that have no links, as a new file that is filled then. The holder touches its
file now and then: that is the heartbeat. A lease that names nobody is judged by its heartbeat alone.
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
"""A lease of another machine is free when its heartbeat has stopped for so long."""


@dataclass(frozen=True)
class Holder:
    """Who has a lease: a process, and the session (one call of `train`) that it works for."""

    host: str
    machine: str
    """Of the processes that can see each other: host, its last boot, and the container's process numbers."""
    pid: int
    started: str | None
    """Tells a process from a later one with the same number; None where the system does not say."""
    session: str
    since: float = field(default=0.0, compare=False)
    """When it took the lease, in seconds of its machine's clock; 0 where nothing says."""

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
    """Hold a folder's lease while the block runs; gives None, or who has it where another session does.

    A lease is free when there is none, when its holder is a dead process of this machine, when its heartbeat stopped
    STALE_SECONDS ago (by this process's own clock where the file's date lies ahead), or when it is held by the same
    session, which hands a run to another worker only when the first one is dead. Raises StoreError where the folder
    cannot be written.
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
        with suppress(
            OSError
        ):  # stolen from a process that slept too long, or out of reach: it grows stale
            if _read(path) == _me(session):
                path.unlink()


def holder_of(folder: Path) -> str | None:
    """Who has a folder's lease now; None where it is free."""
    with suppress(OSError):
        path = folder / f"lease-{max(_numbers(folder), default=-1)}"
        holder = _read(path)
        return str(holder) if _is_held(holder, path, "", time.time()) else None
    return None


def _take(folder: Path, session: str) -> tuple[Path, None] | tuple[None, Holder]:
    """The path of the lease that was taken, or the holder."""
    while True:
        newest = max(_numbers(folder), default=-1)
        path = folder / f"lease-{newest + 1}"
        # A lease that goes away while we look at it was given back: look again, for its number may be taken anew.
        with _offer(folder, _me(session)) as offer, suppress(FileNotFoundError):
            other = None if newest < 0 else _read(folder / f"lease-{newest}")
            if other is not None and _is_held(
                other, folder / f"lease-{newest}", session, _touched(offer)
            ):
                return None, other
            if _give(offer, path):
                if max(_numbers(folder), default=-1) == newest + 1:
                    _clear(folder, newest)
                    return path, None
                path.unlink(missing_ok=True)  # our look was older than a lease that counts


def _is_held(holder: Holder, path: Path, session: str, now: float) -> bool:
    """True where a lease is another session's living process'. `now` is by the clock that dates files."""
    if holder.session == session:
        return False
    if holder.machine == _machine():
        return _started(holder.pid) == holder.started
    age = now - _touched(path)
    return age < STALE_SECONDS if age >= 0 else _has_beaten(path)


_ahead: dict[Path, tuple[float, float]] = {}
"""Of leases whose date lies ahead, as after a clock was put back: the date, and when this process first saw it."""


def _has_beaten(path: Path) -> bool:
    """Whether a lease's date, whatever it is, has changed within the last STALE_SECONDS, as far as we have watched."""
    date, seen = _touched(path), time.monotonic()
    if _ahead.get(path, (None, 0.0))[0] != date:
        _ahead[path] = (date, seen)
    return seen - _ahead[path][1] < STALE_SECONDS


def _clear(folder: Path, last: int) -> None:
    """Remove the leases up to a number: a newer one counts."""
    for number in _numbers(folder):
        if number <= last:
            with suppress(
                OSError
            ):  # gone by now; or a folder, which does no harm below a newer lease
                (folder / f"lease-{number}").unlink()


@contextmanager
def _offer(folder: Path, holder: Holder) -> Iterator[Path]:
    """A file that names a holder, under a name of its own; it also shows what time it is where the files are."""
    offer = folder / f".lease.{os.getpid()}.{uuid4().hex[:8]}.partial"
    try:
        offer.write_text(json.dumps(asdict(holder)) + "\n")
        yield offer
    finally:
        offer.unlink(missing_ok=True)


def _give(offer: Path, path: Path) -> bool:
    """Make the offer the lease of that name; False where the name is taken."""
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
    """The same without a hard link. Others see the lease empty for a moment: young, and so held."""
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
        except FileNotFoundError:  # stolen
            return
        except OSError:  # storage that is away for a moment
            continue


def _touch(path: Path) -> None:
    """Date a file anew, also on a disk that leaves dates to itself."""
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError:
        text = path.read_bytes()
        with open(path, "r+b") as lease:
            lease.write(text)


def _numbers(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(name) for name in os.listdir(folder))
    return [int(name[1]) for name in found if name]


def _read(path: Path) -> Holder:
    """The holder that a lease names, or nobody where it is empty, torn or no file.

    Raises FileNotFoundError where the lease is gone.
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
    """When a process began, in the system's own count; "dead" for none, None where the system does not say."""
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

"""Who may open a database file now: openers that wait for one another, writers first, and runs that are alive.

DuckDB lets one process write a file, or several read it. Whoever is refused waits a little and tries again. A writer
that waits holds a lock file, the gate: readers that come later let it go first, so that many short reads keep no writer
out for ever. A run holds a lock file of its own for as long as its process lives; the operating system lets go of it
when the process ends, however it ends, so that neither clocks nor process numbers of other machines matter.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from defectdb.errors import DatabaseError

try:
    import fcntl
except ImportError:  # Windows has no flock: there runs end with their process as far as this machine can tell
    fcntl = None  # type: ignore[assignment]

Opened = TypeVar("Opened")

WAIT = "DEFECTDB_WAIT"
"""Environment variable: seconds to wait for another process that has the file open."""

PATIENCE = 30.0
"""Seconds to wait where the variable says nothing."""

_LONGEST_PAUSE = 0.1
"""Seconds between two attempts at the most."""

_ATTEMPTS = 5
"""Attempts to lock a lock file."""

_COURTESY = 1.0
"""Seconds that a reader lets waiting writers go first."""


class FileLockedError(Exception):
    """Another process has the file open in a way that excludes this one."""


def patience() -> float:
    """Seconds to wait for a file that another process has open: ``$DEFECTDB_WAIT``, or PATIENCE."""
    try:
        return max(0.0, float(os.environ.get(WAIT, PATIENCE)))
    except ValueError:
        return PATIENCE


_TURNS: dict[str, threading.Lock] = {}
_TURNS_LOCK = threading.Lock()


def thread_turn(file: Path) -> threading.Lock:
    """The lock by which threads of this process that share a file open it one after another.

    DuckDB has no file open twice in one process, once for reading and once for writing.
    """
    with _TURNS_LOCK:
        return _TURNS.setdefault(str(file.resolve()), threading.Lock())


def take_turn(file: Path) -> None:
    """Wait until no other thread of this process has the file open. Raises DatabaseError after ten minutes."""
    if not thread_turn(file).acquire(timeout=600):
        raise DatabaseError(f"{file} is open in this process already; close or release it first")


def in_turn(connect: Callable[[], Opened], file: Path, *, read_only: bool, wait: float) -> Opened:
    """What ``connect`` returns once other processes let it; it raises FileLockedError where they do not.

    Raises the last FileLockedError after ``wait`` seconds.
    """
    begin = time.monotonic()
    gate: int | None = None
    pause = 0.01
    try:
        while True:
            gone = time.monotonic() - begin
            if not (read_only and gone < min(wait, _COURTESY) and is_held(_gate(file))):
                try:
                    return connect()
                except FileLockedError:
                    if gone >= wait:
                        raise
                if not read_only and gate is None:
                    gate = hold(_gate(file))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        if gate is not None:
            let_go(gate, _gate(file))


def _gate(file: Path) -> Path:
    return file.with_name(f".{file.name}.gate")


def run_lock(file: Path, run_id: int) -> Path:
    """The lock file of a run, beside the database."""
    return file.with_name(f".{file.name}.run-{run_id}.lock")


def hold(path: Path | str) -> int | None:
    """Lock a file, made where it is missing, until ``let_go`` or the end of this process; None where it cannot be.

    The number returned is the open file's. The file says which process holds it.
    """
    number = _locked_file(path)
    if number is None:
        return None
    with suppress(OSError):  # a full disk: the lock holds without the text
        os.ftruncate(number, 0)
        os.pwrite(number, f"{socket.gethostname()} {os.getpid()}".encode(), 0)
    return number


def _locked_file(path: Path | str) -> int | None:
    """The open and locked file of this name; one that its last holder removed meanwhile locks nobody out."""
    for _ in range(_ATTEMPTS):
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        if not _locked(number):
            os.close(number)
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), Path(path).stat()):
                return number
        os.close(number)
    return None


def _locked(number: int) -> bool:
    """Whether the open file is locked now. Several attempts: a look by ``is_held`` locks it for an instant."""
    if fcntl is None:
        return True
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _ATTEMPTS:
                time.sleep(0.01)
        except OSError:  # a file system without locks: what the file says must do
            return True
        else:
            return True
    return False


def let_go(number: int, path: Path) -> None:
    """Unlock and remove a lock file."""
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        os.close(number)


def is_held(path: Path) -> bool:
    """Whether a living process holds this lock file; False where there is none."""
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        if fcntl is not None:
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        return _says_alive(number)
    except BlockingIOError:
        return True
    except OSError:
        return _says_alive(number)
    finally:
        os.close(number)


def _says_alive(number: int) -> bool:
    """Whether the process that the file names lives; one on another machine may."""
    host, _, pid = os.pread(number, 200, 0).decode(errors="replace").partition(" ")
    return host != socket.gethostname() or not pid.isdigit() or is_alive(int(pid))


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

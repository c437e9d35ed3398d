"""A folder where the files of one push wait for their upload; what a killed push left behind is removed.

A push holds a file lock beside its folder, which ends with the process. Only on the machine that took the lock does a
free lock prove that the push has ended: many network file systems keep locks from other machines. So a push removes
what a push of the same machine left behind, and names, but leaves, what another machine has there, or this one before
a restart.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecgvf.core import console

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Drawn by Linux at each start: no two machines share it; the containers of one machine do, as they share its locks."""


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A new name for a folder in ``place``; what is made there is removed at the end."""
    place.mkdir(parents=True, exist_ok=True)
    machine = _machine()
    for lock in place.glob("*.lock"):
        if lock.name.startswith(f"{machine}."):
            _remove_if_free(lock)
        else:
            theirs = console.escape(str(lock.with_suffix("")))
            console.note(
                f"{theirs} belongs to a push of another machine, or to one from before a restart: "
                "delete it and its .lock if that push has ended"
            )
    lock, handle = _new_lock(place, machine)
    folder = lock.with_suffix("")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _machine() -> str:
    """This machine since its last start; where that is unknown, a name that nobody else has."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)


def _new_lock(place: Path, machine: str) -> tuple[Path, int]:
    """A new lock, and the handle that holds it."""
    while True:
        lock = place / f"{machine}.{secrets.token_hex(8)}.lock"
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if lock.exists():  # no other push removed it between the two
            return lock, handle
        os.close(handle)


def _remove_if_free(lock: Path) -> None:
    """Remove a lock that nobody holds, with its folder."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)

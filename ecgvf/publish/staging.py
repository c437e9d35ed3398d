"""A folder where the files of one push wait for their upload; what a killed push left behind goes.

A push holds a lock on its folder's file, which ends with the process, on whichever machine that shares the store.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A folder of one's own in `place`, not yet made; it is removed at the end."""
    place.mkdir(parents=True, exist_ok=True)
    for lock in place.glob("*.lock"):
        _sweep(lock)
    lock, handle = _taken(place)
    folder = lock.with_suffix("")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _taken(place: Path) -> tuple[Path, int]:
    """A new lock, and the handle that holds it."""
    while True:
        lock = place / f"{secrets.token_hex(8)}.lock"
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if lock.exists():  # nobody swept it away between the two
            return lock, handle
        os.close(handle)


def _sweep(lock: Path) -> None:
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

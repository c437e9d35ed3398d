"""A temporary folder per push for the files to upload; what a killed push left behind is removed.

A push locks a file beside its folder, and the lock ends with the process. A free lock proves that the push has ended
only on the machine that took it: many network file systems keep locks from other machines. So a push removes what an
earlier one of the same machine left behind, and only lists what belongs to another machine, or to this one before a
restart.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ecgvf.core import console
from ecgvf.core.files import disk_errors, lock_file

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux makes a new one at each start. The containers of one machine share it, as they share its locks."""


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """The path of a new folder in ``parent``, not created; it is removed at the end. Raises ``StoreError``."""
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    machine = _machine()
    for found in parent.glob("*.lock"):
        if found.name.startswith(f"{machine}."):
            _remove_if_abandoned(found)
        else:
            console.note(
                f"{found.with_suffix('')} belongs to a push of another machine, or to one from "
                "before a restart: delete it and its .lock if that push has ended"
            )
    folder = parent / f"{machine}.{secrets.token_hex(8)}"
    lock, unlocked = Path(f"{folder}.lock"), Path(f"{folder}.new")
    with disk_errors(unlocked):
        file = unlocked.open("x")
    with file:
        try:
            lock_file(file.fileno(), unlocked)
            unlocked.rename(lock)  # only now, so that no push takes it for abandoned
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for left in (unlocked, lock):
                left.unlink(missing_ok=True)


def _machine() -> str:
    """This machine since its last start; if that is unknown, a name that no other process has."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)


def _remove_if_abandoned(lock: Path) -> None:
    """Remove ``lock`` and its folder, unless a process has locked it or it is another user's."""
    with suppress(FileNotFoundError, BlockingIOError, PermissionError), lock.open("r+") as file:
        lock_file(file.fileno(), lock)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)

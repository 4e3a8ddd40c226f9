"""Locks on files and folders, which the operating system releases when their process dies.

A folder's lock file names the process and host of its owner, for the message to the second one that wants it. Some
file systems cannot lock (Lustre and FUSE mounted without it, NFS without its lock service): there a warning says so
and the work goes on, because a lock only prevents a mistake that is rare.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from singleshot.errors import CannotCreateError, from_os_error

NAME = ".lock"
_UNSUPPORTED = {getattr(errno, name, None) for name in ("ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP")}

log = logging.getLogger(__name__)


class FolderLock:
    """The lock of a folder, from construction until `release`.

    Args:
        folder: it exists.
        work: what is done in it, for the message.

    Raises:
        CannotCreateError: another process has locked it; the message names its process and host.
        NotPermittedError, StorageError: the lock file cannot be written.
    """

    def __init__(self, folder: Path, work: str = "training") -> None:
        path = folder / NAME
        try:
            self._lock = _acquired(path, wait=False)
        except Timeout:
            message = f"in use by another {work}{owner(folder)}"
            raise CannotCreateError(message, remedy="Wait for it, or choose another --out", file=folder) from None
        if self._lock is not None:
            with contextlib.suppress(OSError):  # the disk is full: the folder is locked, and only its owner has no name
                record = {"pid": os.getpid(), "host": socket.gethostname()}
                path.write_text(json.dumps(record), encoding="utf-8")

    def release(self) -> None:
        """Unlock the folder and remove the lock file. A second call does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            _release(lock)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file of this name, which exists inside only, and wait for another process that has locked it.

    Raises NotPermittedError, CannotCreateError or StorageError where the file cannot be written.
    """
    lock = _acquired(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            _release(lock)


def locked_by(folder: Path) -> str | None:
    """Return `owner(folder)` if the folder is locked now, else None: the file of a killed process may be left over."""
    path = folder / NAME
    if path.exists():
        try:
            with FileLock(path, timeout=0, fallback_to_soft=False):
                return None
        except Timeout:
            return owner(folder)
        except OSError:  # no locks here, or no permission to try
            return None
    return None


def owner(folder: Path) -> str:
    """Return ` (pid N on host H)` from a folder's lock file, or an empty text where there is none."""
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return f" (pid {int(record['pid'])} on host {record['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _acquired(path: Path, *, wait: bool) -> FileLock | None:
    """The lock of a file, or None where the file system cannot lock. Raises Timeout for one that is locked."""
    # No soft lock in its place: a process that is killed would leave that behind, on another host for ever.
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise from_os_error(error, path.parent, "write") from error
        with contextlib.suppress(OSError):
            path.unlink()
        log.warning(
            "%s: this file system has no locks (%s): use the folder from one process only", path, error.strerror
        )
        return None
    return lock


def _release(lock: FileLock) -> None:
    with contextlib.suppress(OSError):  # the folder was removed or is read-only by now
        Path(lock.lock_file).unlink()  # before the lock is released: those who wait for it notice, and make a new file
    with contextlib.suppress(OSError):
        lock.release()

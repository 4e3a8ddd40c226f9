"""One training, or one run of bulk work, a folder: a lock that names its holder and dies with it.

The lock is the operating system's (`flock`), so a killed run leaves none behind, whatever file it leaves. The file
says who holds it, for the message.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from singleshot.errors import CannotCreateError, NotPermittedError, StorageError

try:
    import fcntl
except ImportError:  # Windows has none; two runs in one folder are not noticed there
    fcntl = None

NAME = ".lock"


class FolderLock:
    """Holds a folder from construction until `release`.

    Args:
        folder: it is there.
        work: what is done in it, for the message.

    Raises:
        CannotCreateError: another one holds it; the message names its process and host.
    """

    def __init__(self, folder: Path, work: str = "training") -> None:
        self._path, self._work = folder / NAME, work
        self._descriptor = -1
        while self._descriptor < 0:
            self._descriptor = self._acquired()

    def _acquired(self) -> int:
        """The locked file's descriptor; −1 where the holder removed the file as we came, which is worth a new try."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError as error:
            file = self._path.parent
            raise NotPermittedError("no permission to write", remedy="Choose another --out", file=file) from error
        except OSError as error:
            raise StorageError(f"no lock can be made ({error.strerror})", file=self._path.parent) from error
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                what = f"in use by another {self._work}{holder(self._path.parent)}"
                remedy = "Wait for it, or choose another --out"
                raise CannotCreateError(what, remedy=remedy, file=self._path.parent) from error
            if not self._path.exists() or os.fstat(descriptor).st_ino != self._path.stat().st_ino:
                os.close(descriptor)
                return -1
        with contextlib.suppress(OSError):  # the disk is full: the lock holds, and only its holder has no name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        return descriptor

    def release(self) -> None:
        """Let go, and take the file away. A second call does nothing."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # a folder that is gone or read-only by now: closing is what lets go
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1


def at_work(folder: Path) -> str | None:
    """What `holder` says if somebody holds the folder now; None where the file is left over from one that was killed.

    Where the system has no `flock` nobody can know, and the answer is None.
    """
    if fcntl is not None:
        with contextlib.suppress(OSError), (folder / NAME).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return holder(folder)
    return None


def holder(folder: Path) -> str:
    """` (pid N on host H)` of whoever holds a folder; empty where its file does not say."""
    try:
        said = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return f" (pid {int(said['pid'])} on host {said['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""

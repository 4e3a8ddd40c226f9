"""Read a user's file, or raise an error that names the fault: the one place where files are opened for reading.

A path may lead to anything: to nothing, a folder, a pipe that never ends, a link onto itself, a file that is too
large or not readable, a disk that fails. Each gives an error of one line with its own exit code, and none hangs.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from singleshot.errors import DataError, os_errors

REPLACE = "Replace or delete it"


def file_bytes(path: Path, max_bytes: int, *, kind: str = "too-large-file") -> bytes:
    """Return the bytes of a file. A pipe, a device or a folder is refused without opening it, so that nothing hangs.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: the file may not be read.
        DataError: it is not a plain file, is empty, or is larger than `max_bytes` (of that `kind`).
        StorageError: the disk failed.
    """
    with opened(path) as stream, os_errors(path, "read"):
        # Not max_bytes + 1 at once: Python would reserve them all, which takes longer than reading a small file.
        size = min(os.fstat(stream.fileno()).st_size, max_bytes)
        data = stream.read(size + 1)
        if len(data) > size:  # it grows while we read, or is one of the kernel's, which claim to be empty
            data += stream.read(max_bytes - size)
    if len(data) > max_bytes:
        raise DataError(f"more than {max_bytes >> 20} MiB", kind=kind, remedy=REPLACE, file=path)
    if not data:
        raise DataError("empty file", kind="empty-file", remedy=REPLACE, file=path)
    return data


def opened(path: Path) -> io.BufferedReader:
    """Open a plain file for reading bytes. Raises like `file_bytes`."""
    with os_errors(path, "read"):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not a plain file", kind="not-a-file", remedy="Name a file", file=path)
        return path.open("rb")

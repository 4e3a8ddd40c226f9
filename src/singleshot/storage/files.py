"""A user's file → its bytes, or a named fault: the one place where files are opened for reading.

A path may lead to anything: to nothing, a folder, a pipe that never ends, a link onto itself, a file that is too
large or that one may not read, a disk that fails. Each is said in one line, with its own exit code, and none hangs.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from singleshot.errors import DataError, InputMissingError, NotPermittedError, StorageError

REPLACE = "Replace or delete it"


def file_bytes(path: Path, max_bytes: int, *, kind: str = "too-large-file") -> bytes:
    """What a file holds. A pipe, a device or a folder is refused without opening it, so that nothing hangs.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: the file may not be read.
        DataError: it is not a plain file, is empty, or is larger than `max_bytes` (of that `kind`).
        StorageError: the disk failed.
    """
    with opened(path) as stream:
        try:
            # Not max_bytes + 1 at once: Python would reserve them all, which takes longer than reading a small file.
            size = min(os.fstat(stream.fileno()).st_size, max_bytes)
            data = stream.read(size + 1)
            if len(data) > size:  # it grows while we read, or is one of the kernel's, which claim to be empty
                data += stream.read(max_bytes - size)
        except OSError as error:
            raise StorageError(f"cannot be read ({error.strerror})", file=path) from error
    if len(data) > max_bytes:
        raise DataError(f"more than {max_bytes >> 20} MiB", kind=kind, remedy=REPLACE, file=path)
    if not data:
        raise DataError("empty file", kind="empty-file", remedy=REPLACE, file=path)
    return data


def opened(path: Path) -> io.BufferedReader:
    """A plain file, for reading its bytes; raises what `file_bytes` raises before the first of them."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not a plain file", kind="not-a-file", remedy="Name a file", file=path)
        return path.open("rb")
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=path) from error
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", errno.ENOENT)  # ValueError: a NUL byte in the name
        if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise InputMissingError("no such file", file=path) from error
        if number == errno.ELOOP:
            raise DataError("a symbolic link that ends nowhere", kind="not-a-file", file=path) from error
        raise StorageError(f"cannot be opened ({os.strerror(number)})", file=path) from error

"""Writing a file so that a crash leaves the old one or the new one, never half of it.

A temporary file in the same folder (so that the last step is a rename and not a copy), its bytes forced to the
disk, `os.replace`, then the folder forced to the disk. SQLite and not a training tool is the model here: a common
"atomic" save goes through another file system and loses checkpoints that way.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from singleshot.errors import CannotCreateError, NotPermittedError, StorageError


def write(path: Path, fill: Callable[[Path], None], *, forced: bool = True) -> None:
    """Let `fill` write a temporary file, then put that in `path`'s place. Missing parent folders are made.

    Args:
        path: the file.
        fill: writes it.
        forced: force it to the disk now. Somebody who writes very many files may do that to all of them in the end
            (`sync`): until then a crash of the machine, though none of the program, may leave an empty one.

    Raises:
        CannotCreateError: the folder cannot be made or `path` is a folder.
        NotPermittedError: the file system refuses.
        StorageError: the disk is full or failing; what stood at `path` before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        if forced:
            sync(temporary)
        temporary.replace(path)
        if forced:
            sync(path.parent)
    except PermissionError as error:
        raise NotPermittedError("no permission to write", remedy="Choose another --out", file=path) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise CannotCreateError("cannot be created", remedy="Choose another --out", file=path) from error
    except OSError as error:
        raise StorageError(f"writing failed ({error.strerror or error})", remedy="Free space", file=path) from error
    finally:
        with contextlib.suppress(OSError):  # where the folder cannot be made there is nothing to remove
            temporary.unlink()


def write_text(path: Path, text: str, *, forced: bool = True) -> None:
    """`write` for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"), forced=forced)


def write_bytes(path: Path, data: bytes, *, forced: bool = True) -> None:
    """`write` for bytes that are there already."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write(path, fill, forced=forced)


def clean(path: Path) -> None:
    """Remove what killed writes of `path` left beside it. Only for one who knows that nobody is writing it now."""
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left_over.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder; its rename is journalled
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

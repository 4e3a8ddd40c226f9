"""Write a file or a folder so that a crash leaves the old content or the new, never half of it.

A temporary file is written in the same folder (so that the last step is a rename and not a copy) and flushed to the
disk; `os.replace` gives it its name; then the folder is flushed. SQLite does it this way. Many training tools write
the temporary file to another file system and can lose a checkpoint in the copy.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from singleshot.errors import CannotCreateError, os_errors


def write(path: Path, fill: Callable[[Path], None], *, forced: bool = True) -> None:
    """Let `fill` write a temporary file, then rename it to `path`. Missing parent folders are created.

    Args:
        path: the file.
        fill: writes the file that it is given.
        forced: flush the file to the disk now. A caller that writes very many files may flush them all at the end
            (`sync`); until then a crash of the machine, though none of the program, may leave an empty file.

    Raises:
        CannotCreateError: the folder cannot be created, or `path` is a folder.
        NotPermittedError: no permission.
        StorageError: the disk is full or failing. In all cases the old content of `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with os_errors(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(temporary)
            if forced:
                sync(temporary)
            temporary.replace(path)
            if forced:
                sync(path.parent)
    finally:
        with contextlib.suppress(OSError, ValueError):  # where the folder cannot be made there is nothing to remove
            temporary.unlink()


def write_text(path: Path, text: str, *, forced: bool = True) -> None:
    """Write UTF-8 text; see `write`."""
    write_bytes(path, text.encode("utf-8"), forced=forced)


def write_bytes(path: Path, data: bytes, *, forced: bool = True) -> None:
    """Write bytes; see `write`."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write(path, fill, forced=forced)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `out` in the end: whole or not at all.

    The work is done in a hidden folder beside `out`, which is removed where it fails.

    Args:
        out: the folder to make. It may exist if it is empty; nothing is ever replaced.

    Raises:
        CannotCreateError: `out` is a file or a folder that is not empty.
        NotPermittedError, StorageError: as the file system says; nothing is left behind.
    """
    target = out.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with os_errors(out, "write", elsewhere="Choose another folder"):
            if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
                raise CannotCreateError("already exists", remedy="Name a folder that does not exist yet", file=out)
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                target.rmdir()
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clean(path: Path) -> None:
    """Remove the temporary files that killed writes of `path` left. Only while no other process writes it."""
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left_over.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows cannot open a folder; its file system journals renames
    # Windows flushes only what is open for writing, and no system opens a folder so.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial(path: Path) -> Path:
    """Return the name of a file that is not whole yet.

    >>> str(partial(Path("out/street.mp4")))
    'out/street.partial.mp4'
    """
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class GrowingFile:
    """A text file that grows, and gets its own name only when it is whole.

    A video of an hour has a hundred thousand frames: their results go to the disk as they come. Until the end, and for
    good where the work breaks off, the file is called `<stem>.partial.<suffix>`.

    Args:
        path: the file; its folder is created. An existing file is replaced at the end, not before.

    Raises:
        CannotCreateError, NotPermittedError, StorageError: it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with os_errors(self.path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = partial(path).open("w", encoding="utf-8", errors="surrogateescape", newline="\n")

    def write(self, text: str) -> None:
        """Append text. Raises StorageError where the disk is full or failing."""
        with os_errors(self.path, "write"):
            self._stream.write(text)

    def close(self, *, whole: bool = True) -> Path:
        """Close the file and return its path. Raises StorageError as `write`."""
        with os_errors(self.path, "write"):
            self._stream.close()
            unfinished = partial(self.path)
            sync(unfinished)
            if whole:
                unfinished.replace(self.path)
                sync(self.path.parent)
        return self.path if whole else unfinished

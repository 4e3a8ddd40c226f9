"""A text file that grows line by line, and is there under its own name only when it is whole.

A video of an hour has a hundred thousand frames: what was seen in them goes to the disk as it comes. Until the end,
and for good where the work breaks off, the file is called `<stem>.partial.<suffix>`.
"""

from __future__ import annotations

from pathlib import Path

from singleshot.errors import os_errors
from singleshot.storage import atomic


def partial(path: Path) -> Path:
    """The name of a file that is not whole.

    >>> str(partial(Path("out/street.mp4")))
    'out/street.partial.mp4'
    """
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class LineFile:
    """A file that is being written.

    Args:
        path: the file; its folder is made. What stands there is replaced in the end, not before.

    Raises:
        CannotCreateError, NotPermittedError, StorageError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with os_errors(self.path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = partial(path).open("w", encoding="utf-8", errors="surrogateescape", newline="\n")

    def write(self, text: str) -> None:
        """Add text. Raises StorageError where the disk is full or failing."""
        with os_errors(self.path, "write"):
            self._stream.write(text)

    def close(self, *, whole: bool = True) -> Path:
        """End the file and say what it is called. Raises StorageError as `write`."""
        with os_errors(self.path, "write"):
            self._stream.close()
            there = partial(self.path)
            atomic.sync(there)
            if whole:
                there.replace(self.path)
                atomic.sync(self.path.parent)
        return self.path if whole else there

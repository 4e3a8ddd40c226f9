"""A new folder that appears whole or not at all, and never in the place of something that is there.

What converts or draws thousands of files can fail half way. It works in a hidden folder beside the target, which gets
the target's name when all is written and is removed where that fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from singleshot.errors import CannotCreateError, os_errors


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which becomes `out` in the end.

    Args:
        out: the folder to make. It may exist if it is empty.

    Raises:
        CannotCreateError: `out` is a file or a folder that is not empty.
        NotPermittedError, StorageError: the file system refuses, or fails; nothing is left behind.
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

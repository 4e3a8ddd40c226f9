"""Whether a verb may write where it was told to: asked before any work, by every verb that writes files.

A mistake in an output's name must cost no figure of an hour's work and no file of the user's. What is there already
is replaced with `--overwrite` only. The one exception is a report that the same verb wrote: people run `--json`
again and again into one file, and nothing is lost by it.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from singleshot.errors import CannotCreateError, NotPermittedError, UsageError

ELSEWHERE = "Choose another place"


def check(
    *files: Path | None,
    json_file: Path | None = None,
    json_keys: Collection[str] = (),
    inputs: Iterable[Path | str | None] = (),
    reserved: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs that cannot be written, or that would cover something up. Nothing is made or changed.

    Args:
        files: files to be written; None for those that were not asked for.
        json_file: the `--json` file. One that is there may be replaced if it is a report of the same verb.
        json_keys: what such a report holds at its top level, by which it is known; none: no report is known.
        inputs: files and folders that the verb reads.
        reserved: other outputs, checked elsewhere; none of `files` may be one of them.
        overwrite: whether existing files may be replaced; inputs never.

    Raises:
        UsageError: an output is an input, a file of an input folder, or named twice.
        CannotCreateError: an output is there already, or is a folder, or its folder cannot be made.
        NotPermittedError: the file system would not let it be written.
    """
    wanted = [file for file in (*files, json_file) if file is not None]
    sources = [Path(source) for source in inputs if source is not None]
    # Ten thousand pictures have as many copies: the file system is asked once about each, and once about each folder.
    identity, folder_check = _identities(), functools.cache(check_folder)
    read, taken = {identity(source) for source in sources}, {identity(file) for file in reserved}
    folders = [source.resolve() for source in sources if source.is_dir()] if any(map(os.path.lexists, wanted)) else []
    for file in wanted:
        own = identity(file)
        if own in taken:
            raise UsageError("would be written twice", remedy="Give each output a name of its own", file=file)
        taken.add(own)
        if own in read:
            raise UsageError("is itself an input", remedy=ELSEWHERE, file=file)
        if os.path.lexists(file):
            if file.is_dir():
                raise CannotCreateError("is a folder", remedy="Name a file", file=file)
            if not (file is json_file and _is_report(file, json_keys)):
                if any(file.resolve().is_relative_to(folder) for folder in folders):
                    raise UsageError("is a file of the input", remedy=ELSEWHERE, file=file)
                if not overwrite:
                    remedy = "Choose another name or pass --overwrite"
                    raise CannotCreateError("already exists", remedy=remedy, file=file)
        folder_check(file.parent)


def outside(data: Path, *places: Path | None) -> None:
    """Refuse outputs in a data folder, there or not: it is never written to. Raises CannotCreateError.

    Args:
        data: the folder; where it is a file, there is nothing to refuse.
        places: files and folders to be written; None for those that were not asked for.
    """
    whole = data.resolve()
    for place in places:
        if place is not None and whole.is_dir() and place.resolve().is_relative_to(whole):
            what = "lies in the data folder, which is never written to"
            raise CannotCreateError(what, remedy=ELSEWHERE, file=place)


def check_folder(folder: Path) -> None:
    """Refuse a folder into which nothing can be written, or that cannot be made. Raises as `check` does."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is a file" if there == folder else f"cannot be made: {there} is a file"
        raise CannotCreateError(what, remedy=ELSEWHERE, file=folder)
    if not os.access(there, os.W_OK | os.X_OK):
        raise NotPermittedError("no permission to write", remedy=ELSEWHERE, file=there)


def _identities() -> Callable[[Path], tuple[int, int] | Path]:
    """What tells whether two paths are one file: its number in the file system, or the whole path of what is not there.

    Two names of one file have one number.
    """
    whole = functools.cache(Path.resolve)

    def identity(path: Path) -> tuple[int, int] | Path:
        try:
            facts = path.stat()
        except OSError:
            return path.resolve() if path.is_symlink() or path.name == ".." else whole(path.parent) / path.name
        return facts.st_dev, facts.st_ino

    return identity


def _is_report(file: Path, keys: Collection[str]) -> bool:
    """Whether a file is JSON that this verb wrote."""
    if not keys or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            if stream.read(1) != b"{":
                return False
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return set(keys) <= set(facts)

"""Checks, before any work, that a command may write its outputs; and writes `--json` files.

A wrong output name must not cost an hour's results, nor a file of the user. Existing files are replaced only with
`--overwrite`, with one exception: a `--json` report that the same command wrote, because such commands are run again
and again with the same file name.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from singleshot.errors import CannotCreateError, NotPermittedError, UsageError
from singleshot.storage import atomic, letter_case

ELSEWHERE = "Choose another path"


def check(
    *files: Path | None,
    json_file: Path | None = None,
    json_keys: Collection[str] = (),
    inputs: Iterable[Path | str | None] = (),
    reserved: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs that cannot be written or that would replace something. Creates and changes nothing.

    Args:
        files: files to be written; None for those that were not requested.
        json_file: the `--json` file. An existing one may be replaced if it is a report of the same command.
        json_keys: top-level keys by which such a report is recognised; empty: no report is recognised.
        inputs: files and folders that the command reads.
        reserved: other outputs, checked elsewhere; none of `files` may be one of them.
        overwrite: whether existing files may be replaced; inputs never are.

    Raises:
        UsageError: an output is an input, a file inside an input folder, or named twice; or the report is `-`.
        CannotCreateError: an output exists, or is a folder, or its folder cannot be created.
        NotPermittedError: no permission to write.
    """
    if json_file == Path("-"):
        remedy = "Name a file; predict writes JSON on standard output with --save ndjson -"
        raise UsageError("--json writes no standard output", remedy=remedy)
    outputs = [file for file in (*files, json_file) if file is not None]
    sources = [Path(source) for source in inputs if source is not None]
    # Ten thousand images have as many copies: each file and each folder is looked up once.
    identity, folder_check = _identities(), functools.cache(check_folder)
    read, taken = {identity(source) for source in sources}, {identity(file) for file in reserved}
    folders = [source.resolve() for source in sources if source.is_dir()] if any(map(os.path.lexists, outputs)) else []
    for file in outputs:
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


def check_outside(data: Path, *outputs: Path | None) -> None:
    """Refuse outputs inside a data folder, existing or not: it is never written to. Raises CannotCreateError.

    Args:
        data: the folder; if it is a file, nothing is refused.
        outputs: files and folders to be written; None for those that were not requested.
    """
    folder = data.resolve()
    for path in outputs:
        if path is not None and folder.is_dir() and path.resolve().is_relative_to(folder):
            message = "lies in the data folder, which is never written to"
            raise CannotCreateError(message, remedy=ELSEWHERE, file=path)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be created or written to. Raises as `check` does."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        message = "is a file" if existing == folder else f"cannot be created: {existing} is a file"
        raise CannotCreateError(message, remedy=ELSEWHERE, file=folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise NotPermittedError("no permission to write", remedy=ELSEWHERE, file=existing)


def write_json(file: Path | None, facts: Any) -> None:
    """Write a `--json` file; nothing for None. Raises what `storage.atomic` raises."""
    if file is not None:
        atomic.write_text(file, json.dumps(facts, indent=2) + "\n")


def _identities() -> Callable[[Path], tuple[int, int] | Path]:
    """Make a function that gives two paths of one file the same value.

    An existing file is identified by device and inode, so that hard links are equal; another by its resolved path,
    in any case where the file system ignores that.
    """
    resolved = functools.cache(Path.resolve)

    def identity(path: Path) -> tuple[int, int] | Path:
        try:
            facts = path.stat()
        except OSError:
            if path.is_symlink() or path.name == "..":
                return path.resolve()
            return resolved(path.parent) / (
                path.name.casefold() if letter_case.ignores_case(path.parent) else path.name
            )
        return facts.st_dev, facts.st_ino

    return identity


def _is_report(file: Path, keys: Collection[str]) -> bool:
    """Check whether a file is JSON with these top-level keys."""
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

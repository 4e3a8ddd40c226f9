"""Folders of a data set: their files, links that lead out of the data, and the file that belongs to an id.

A data folder is only listed and read, never written to. Symbolic links that lead out of it are faults: what they lead
to is missing on the next machine. No path is taken from a list or an annotation: names are looked up among the files
that a folder has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from singleshot.data.faults import make_fault
from singleshot.errors import Fault, os_errors


class Listing(NamedTuple):
    """The files of one folder.

    Args:
        files: the files and folders that may be used, sorted by name; pipes and devices too, which `images` refuses.
        faults: links that lead out of the data or nowhere (`outside-link`, `broken-link`); they are not in `files`.
    """

    files: tuple[Path, ...]
    faults: tuple[Fault, ...]


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name. Every reader of boxes lists folders here, so a name that is never data is left out here.

    Raises NotPermittedError where the folder may not be listed, InputMissingError where there is none.
    """
    with os_errors(folder, "read"), os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def listing(folder: Path, top: Path) -> Listing:
    """List a folder and check its links.

    Args:
        folder: the folder; it may be a link itself.
        top: the data set's folder, out of which no link may lead.

    Raises NotPermittedError where the folder may not be listed.
    """
    with os_errors(folder, "read"):
        files = sorted(folder.iterdir())
        resolved = top.resolve()
        links = {path: link_fault(path, resolved) for path in [folder, *files] if path.is_symlink()}
    faults = tuple(fault for fault in links.values() if fault is not None)
    return Listing(tuple(path for path in files if links.get(path) is None), faults)


def link_fault(path: Path, top: Path) -> Fault | None:
    """Check a link: `broken-link` if its target does not exist, `outside-link` if it lies outside `top`, else None.

    Args:
        path: the link.
        top: the data set's folder, resolved.
    """
    target = Path(os.path.realpath(path))
    if not path.exists():
        return make_fault("broken-link", "a symbolic link whose target does not exist", path)
    if not target.is_relative_to(top):
        return make_fault("outside-link", f"a symbolic link that leads out of the data, to {target}", path)
    return None


def by_stem(paths: Iterable[Path], extensions: Sequence[str]) -> dict[str, Path]:
    """Map each id to its file; of several files with one id, to the one whose extension is listed first."""
    found = [path for path in paths if path.suffix.lower() in extensions]
    found.sort(key=lambda path: extensions.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in found}


def unused_duplicates(paths: Iterable[Path], used: dict[str, Path], extensions: Sequence[str]) -> list[Fault]:
    """Return a warning for each file that `by_stem` passed over because another file has its id."""
    return [
        make_fault(
            "duplicate-id", f"{other.name} has the same id and is used instead", path, remedy="Delete one of them"
        )
        for path in paths
        if path.suffix.lower() in extensions and (other := used.get(path.stem)) is not None and other != path
    ]


def contains(folder: Path, names: Iterable[str]) -> bool:
    """Return whether a folder has all of these folders in it; False if it may not be listed, such as `lost+found`."""
    try:
        return all((folder / name).is_dir() for name in names)
    except PermissionError:
        return False


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; [] where it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, without folders, sorted; [] where it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError:
        return []

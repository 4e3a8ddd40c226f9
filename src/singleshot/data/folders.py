"""Folders of a data set: their files, links that lead out of the data, and the file that belongs to an id.

A data folder is only listed and read, never written to. Symbolic links that lead out of it are faults: what they lead
to is missing on the next machine. No path is taken from a list or an annotation: names are looked up among the files
that a folder has.

Whoever has images in another place and only links to them in the data folder can say so (`follow_links`,
`--follow-links`): links that lead out are then used, and links to folders are entered, each folder at most once on a
path, so that a loop ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from singleshot.data.faults import make_fault
from singleshot.errors import Fault, SingleshotError, os_errors
from singleshot.images import UNREAD_SUFFIXES

_HELPERS = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})

LINKS_VARIABLE = "SINGLESHOT_FOLLOW_LINKS"


def follow_links(follow: bool = True) -> None:
    """Use links that lead out of a data folder, and enter linked folders, from now on, also in processes started later.

    Args:
        follow: False for the opposite.
    """
    os.environ[LINKS_VARIABLE] = "1" if follow else "0"


def links_are_followed() -> bool:
    """Return whether links that lead out of a data folder are used: `$SINGLESHOT_FOLLOW_LINKS` is 1."""
    return os.environ.get(LINKS_VARIABLE) == "1"


def enters(path: Path, inside: frozenset[str]) -> bool:
    """Return whether a link is entered: links are followed, and it leads to a folder that is none of those around it.

    Args:
        path: the link.
        inside: the real paths of the folders that were entered on the way.
    """
    return links_are_followed() and path.is_dir() and os.path.realpath(path) not in inside


def around(folder: Path) -> frozenset[str]:
    """Return the real paths of the folders around a folder, to none of which a link in it may lead."""
    return frozenset(map(os.path.realpath, folder.absolute().parents))


def unfollowed(path: Path) -> Fault:
    """Return the fault of a link to a folder that is not entered."""
    if links_are_followed():
        message = "a link to a folder around it, which is not entered"
        return make_fault("linked-folder", message, path, remedy="Delete it")
    remedy = "Name that folder in data.yaml, or use --follow-links"
    return make_fault("linked-folder", "a link to a folder, which is not followed", path, remedy=remedy)


def unread(path: Path) -> Fault | None:
    """Return the fault of an image whose format cannot be read here (HEIC without its extra), or None."""
    remedy = UNREAD_SUFFIXES.get(path.suffix.lower())
    if remedy is None:
        return None
    return make_fault("stranger-file", "an image that cannot be read here", path, remedy=remedy, severity="warning")


class Listing(NamedTuple):
    """The files of one folder.

    Args:
        files: the files and folders that may be used, sorted by name; pipes and devices too, which `images` refuses.
        faults: links that lead out of the data or nowhere (`outside-link`, `broken-link`), and those to folders that
            are not entered (`linked-folder`); they are not in `files`.
    """

    files: tuple[Path, ...]
    faults: tuple[Fault, ...]


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name. Every reader of boxes lists folders here, so a name that is never data is left out here.

    Raises NotPermittedError where the folder may not be listed, InputMissingError where there is none.
    """
    with os_errors(folder, "read"), os.scandir(folder) as found:
        return sorted((entry for entry in found if not is_helper(entry.name)), key=lambda entry: entry.name)


def is_helper(name: str) -> bool:
    """Return whether a file or folder of this name is a program's own and never data: hidden, or of another system.

    `._a.jpg` and `.DS_Store` are macOS's, `__MACOSX` comes out of its archives, `Thumbs.db` and `desktop.ini` are
    Windows's, `@eaDir` is a file server's, and notebooks keep copies in `.ipynb_checkpoints`.

    >>> [is_helper(name) for name in (".ipynb_checkpoints", "._a.jpg", "__MACOSX", "Thumbs.db", "a.jpg", "_a.jpg")]
    [True, True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in _HELPERS


def listing(folder: Path, top: Path) -> Listing:
    """List a folder and the folders in it, and check its links. Links to folders are entered as `enters` says.

    Args:
        folder: the folder; it may be a link itself.
        top: the data set's folder, out of which no link may lead.

    Raises NotPermittedError where the folder may not be listed.
    """
    resolved = top.resolve()
    fault = link_fault(folder, resolved) if folder.is_symlink() else None
    files, faults = _listed(folder, resolved, around(folder))
    return Listing(tuple(sorted(files)), tuple(([] if fault is None else [fault]) + faults))


def _listed(folder: Path, top: Path, way: frozenset[str]) -> tuple[list[Path], list[Fault]]:
    """Return the files below a folder and the faults of its links; `way` are the real paths of the folders above it."""
    files: list[Path] = []
    faults: list[Fault] = []
    way |= {os.path.realpath(folder)}
    for entry in entries(folder):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and enters(path, way)):
            inside = _listed(path, top, way)
            files += inside[0]
            faults += inside[1]
        elif entry.is_symlink() and (fault := link_fault(path, top)) is not None:
            faults.append(fault)
        elif entry.is_symlink() and entry.is_dir():
            faults.append(unfollowed(path))
        else:
            files.append(path)
    return files, faults


def name_below(name: str) -> str:
    r"""Return a file's name in a list as a path below a folder: with slashes, without drive, root and `..`.

    >>> name_below("C:\\data\\..\\images\\a.jpg"), name_below("./a.jpg"), name_below("/cam1/0001.png")
    ('data/images/a.jpg', 'a.jpg', 'cam1/0001.png')
    """
    parts = re.sub(r"^[A-Za-z]:(?=/)", "", name.replace("\\", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def link_fault(path: Path, top: Path) -> Fault | None:
    """Check a link: `broken-link` if its target does not exist, `outside-link` if it lies outside `top`, else None.

    Where links are followed (`follow_links`), only the first is a fault.

    Args:
        path: the link.
        top: the data set's folder, resolved.
    """
    target = Path(os.path.realpath(path))
    if not path.exists():
        return make_fault("broken-link", "a symbolic link whose target does not exist", path)
    if not target.is_relative_to(top) and not links_are_followed():
        message = f"a symbolic link that leads out of the data, to {target}"
        return make_fault("outside-link", message, path, remedy="Put a copy in its place, or use --follow-links")
    return None


def by_stem(paths: Iterable[Path], extensions: Sequence[str], folder: Path | None = None) -> dict[str, Path]:
    """Map each id to its file; of several files with one id, to the one whose extension is listed first.

    Args:
        paths: the files.
        extensions: of those that are meant, in lower case.
        folder: where given, an id is the file's path below it without the extension, such as `cam1/0001`; else its
            stem. They are the same for a file in the folder itself.
    """
    found = [path for path in paths if path.suffix.lower() in extensions]
    found.sort(key=lambda path: extensions.index(path.suffix.lower()), reverse=True)
    return {_id(path, folder): path for path in found}


def _id(path: Path, folder: Path | None) -> str:
    if folder is None or path.parent == folder:  # the common case, which costs a fifth of the other
        return path.stem
    return (path.parent.relative_to(folder) / path.stem).as_posix()


def unused_duplicates(
    paths: Iterable[Path], used: dict[str, Path], extensions: Sequence[str], folder: Path | None = None
) -> list[Fault]:
    """Return a warning for each file that `by_stem` passed over because another file has its id."""
    return [
        make_fault(
            "duplicate-id", f"{other.name} has the same id and is used instead", path, remedy="Delete one of them"
        )
        for path in paths
        if path.suffix.lower() in extensions and (other := used.get(_id(path, folder))) is not None and other != path
    ]


def contains(folder: Path, names: Iterable[str]) -> bool:
    """Return whether a folder has all of these folders in it; False if it may not be listed, such as `lost+found`."""
    try:
        return all((folder / name).is_dir() for name in names)
    except PermissionError:
        return False


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files and folders below a folder that match a pattern, sorted, without those that are never data."""
    depth = len(folder.parts)
    return sorted(path for path in folder.glob(pattern) if not any(map(is_helper, path.parts[depth:])))


def exists(path: Path) -> bool:
    """Return whether there is a file or folder of a name from a file; False for one longer than names may be."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for such a name)


def is_file(path: Path) -> bool:
    """Return whether there is a file of a name from a file; False for one longer than names may be."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for such a name)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; [] where it cannot be listed."""
    try:
        return [folder / entry.name for entry in entries(folder) if _is_folder(entry)]
    except SingleshotError:
        return []


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, without folders, sorted; [] where it cannot be listed."""
    try:
        return [folder / entry.name for entry in entries(folder) if not _is_folder(entry)]
    except SingleshotError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or leads to one. Only links are looked up, so that long folders are fast."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())

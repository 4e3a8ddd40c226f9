"""Where things lie in a Pascal VOC folder: the folder itself, its lists, the file of every id.

Nothing is opened that a list or an XML names: ids are looked up among the files that are there, so that no text in
the data can lead out of the folder. A symbolic link can, and is named: pictures that lie elsewhere are gone on the
next machine, and a link that leads back to itself has no end.

Layout: the VOC2007/2012 development kits (`VOCinit.m`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError
from singleshot.storage.files import file_bytes

PICTURE_FOLDER, ANNOTATION_FOLDER, SPLIT_FOLDER = "JPEGImages", "Annotations", "ImageSets/Main"
MAX_SPLIT_BYTES = 64 * 2**20
SHOWN_NAMES = 20
EVERY = "annotated"
_SECOND_COLUMN = re.compile(r"(.*\S)\s+(?:-1|0|1)")


@dataclass(frozen=True)
class Listing:
    """The files of one folder.

    Args:
        files: those that may be used, sorted by name; pipes and devices too, which `pictures` refuses by name.
        faults: links that lead out of the data or nowhere (`outside-link`, `broken-link`, fatal); they are not in
            `files`.
    """

    files: tuple[Path, ...]
    faults: tuple[Fault, ...]


def find_folder(root: Path, annotated: bool) -> Path:
    """The VOC folder that a user means: `root`, or the only one in it or in its `VOCdevkit`.

    Args:
        root: what the user named.
        annotated: whether there must be annotations.

    Raises:
        InputMissingError: there is none, or more than one.
        NotPermittedError: a folder may not be listed.
    """
    needed = [PICTURE_FOLDER, SPLIT_FOLDER, *([ANNOTATION_FOLDER] if annotated else [])]
    try:
        if not root.is_dir():
            raise InputMissingError("no such folder", remedy="Name a folder in Pascal VOC layout", file=root)
        lacks = [name for name in needed if not (root / name).is_dir()]
        if not lacks:
            return root
        inner = sorted(path for path in [*root.iterdir(), *root.glob("VOCdevkit/*")] if holds(path, needed))
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=root) from error
    if len(inner) == 1:
        return inner[0]
    if inner:
        names = ", ".join(path.name for path in inner)
        remedy = f"Name one of them: {names}, or a union of splits such as 07+12"
        raise InputMissingError("several Pascal VOC folders inside", remedy=remedy, file=root)
    raise InputMissingError(
        f"not a Pascal VOC folder: {' and '.join(f'{name}/' for name in lacks)} missing",
        remedy=f"A VOC folder holds {', '.join(f'{name}/' for name in needed)}{_nearest(root, needed)}",
        file=root,
    )


def holds(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder has all of these folders in it. Not one that may not be looked into, such as `lost+found`."""
    try:
        return all((folder / name).is_dir() for name in names)
    except PermissionError:
        return False


def _nearest(root: Path, needed: Sequence[str]) -> str:
    """Where a VOC folder lies nearby: above, for a user who named `Annotations` itself, or some folders below."""
    parent = root.resolve().parent
    below = [path.parent for path in sorted(root.glob("*/*/Annotations")) if holds(path.parent, needed)]
    near = [parent] if holds(parent, needed) else below
    return f"; {near[0]} is one" if near else ""


def split_files(folder: Path) -> dict[str, Path]:
    """The lists in `ImageSets/Main` by name: train, val, and the per-class ones such as cat_train."""
    return {path.stem: path for path in listing(folder, SPLIT_FOLDER).files if path.suffix == ".txt"}


def split_file(folder: Path, split: str) -> Path:
    """The list of one split. Raises InputMissingError, with the names that there are.

    Where no list is called `annotated`, that is the folder of annotations: every picture that has one.
    """
    lists = split_files(folder)
    if split == EVERY and split not in lists:
        return folder / ANNOTATION_FOLDER
    if split not in lists:
        # Per-class lists (cat_train) come last: nobody who mistypes a split means one of those.
        names = sorted(lists, key=lambda name: ("_" in name, name))
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        there = f"There are: {', '.join(names[:SHOWN_NAMES])}{more}" if names else "There is none"
        raise InputMissingError(f"no split {split!r}", remedy=there, file=folder / SPLIT_FOLDER)
    return lists[split]


def listing(folder: Path, name: str) -> Listing:
    """What lies in one of the VOC folder's own folders. Raises NotPermittedError where it may not be listed."""
    inside = folder / name
    try:
        entries = sorted(inside.iterdir())
        top = folder.resolve()
        links = {path: link_fault(path, top) for path in [inside, *entries] if path.is_symlink()}
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=inside) from error
    faults = tuple(fault for fault in links.values() if fault is not None)
    return Listing(tuple(path for path in entries if links.get(path) is None), faults)


def link_fault(path: Path, top: Path) -> Fault | None:
    """What is wrong with a link: it ends nowhere, or leads out of `top`, which is resolved; None if nothing."""
    target = Path(os.path.realpath(path))
    if not path.exists():
        what = "a symbolic link that ends nowhere. Replace or delete it."
        return Fault(path, None, "broken-link", "fatal", what)
    if not target.is_relative_to(top):
        what = f"a symbolic link that leads out of the data, to {target}. Put a copy in its place."
        return Fault(path, None, "outside-link", "fatal", what)
    return None


def by_stem(paths: Iterable[Path], extensions: tuple[str, ...]) -> dict[str, Path]:
    """File by id; of several pictures with one id, the one whose extension is listed first."""
    found = [path for path in paths if path.suffix.lower() in extensions]
    found.sort(key=lambda path: extensions.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in found}


def covered(paths: Iterable[Path], used: dict[str, Path], extensions: tuple[str, ...]) -> list[Fault]:
    """A warning for each file that `by_stem` passed over, because another one has its id."""
    faults = []
    for path in paths:
        other = used.get(path.stem)
        if other is not None and other != path and path.suffix.lower() in extensions:
            what = f"{other.name} has the same id and is used instead. Delete one of them."
            faults.append(Fault(path, None, "duplicate-id", "warning", what))
    return faults


def ids_of_annotations(folder: Path) -> Iterable[tuple[None, str]]:
    """The ids of all annotations of a VOC folder, sorted; they stand in no line."""
    return [(None, stem) for stem in by_stem(listing(folder, ANNOTATION_FOLDER).files, (".xml",))]


def ids_in(split_list: Path, images: dict[str, Path]) -> Iterable[tuple[int | None, str]]:
    """What `split_file` found: the ids of a list with their lines, or those of a folder of annotations."""
    return ids_of_annotations(split_list.parent) if split_list.is_dir() else ids(split_list, images)


def ids(split_list: Path, images: dict[str, Path]) -> Iterable[tuple[int, str]]:
    """A list's ids with their 1-based lines; nothing for an empty file. An id may hold spaces if a picture bears it.

    Raises:
        DataError: the list is no plain file or too large.
        NotPermittedError, StorageError: as the file system says.
    """
    try:
        data = file_bytes(split_list, MAX_SPLIT_BYTES)
    except DataError as error:
        if error.kind == "empty-file":
            return
        raise
    # File names are bytes on Linux; the same escape as in a folder's listing keeps the two comparable.
    lines = data.decode("utf-8-sig", "surrogateescape").split("\n")
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        columns = _SECOND_COLUMN.fullmatch(text)
        if text:
            yield number, columns[1] if columns and text not in images else text

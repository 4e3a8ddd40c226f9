"""Files anywhere below a folder that has no lists: their splits, and the annotation file that belongs to an image.

Annotation tools keep images and annotations in one folder, in two, or in both for each split, and the folders have
many names. So a file is known by its split, which a folder on its path names (`train`, `valid`, `test` …), and by the
rest of its path without the folders that only say what is in them (`images`, `annotations` …):

    train/a.jpg, train/a.xml                  train: a
    images/train/a.jpg, labels/train/a.txt    train: a
    valid/images/x/a.jpg                      val: x/a
    photos/b.jpg, annotations/b.xml           all: b
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from singleshot.data import folders
from singleshot.errors import DataError, Fault, InputMissingError, SingleshotError
from singleshot.images import IMAGE_SUFFIXES

ALL = "all"
"""The split of files that lie in no split's folder."""
SPLIT_OF = {
    "train": "train", "training": "train", "train_data": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "test_data": "test",
}  # fmt: skip
"""By a folder's name in lower case: the split that it holds."""
MAX_PROBED = 50_000
"""Files and folders that are looked at to recognise a layout."""
ORDER = ("train", "val", "test", ALL)
_KINDS = frozenset(
    (
        *("images", "image", "imgs", "img", "jpegimages", "jpgs", "jpg", "pictures", "photos", "pics", "image_2"),
        *("annotations", "annotation", "annots", "annot", "anns", "ann", "xml", "xmls", "json", "data", "label_2"),
        *("labels", "label", "boxes", "bboxes", "bbox", "obj_train_data"),
    )
)
"""Folders that only say what is in them."""
_MASKS = frozenset(("segmentationclass", "segmentationclasspng", "segmentationobject"))
"""VOC's folders of masks: no images to find objects in."""


class Tree(NamedTuple):
    """The files below a folder.

    Args:
        root: the folder.
        images: sorted by path.
        files: those with the suffix that was asked for, sorted by path.
        faults: of links (see `folders.link_fault`), of links to folders, which are not followed (`linked-folder`), and
            of images that cannot be read here (see `folders.unread`).
    """

    root: Path
    images: tuple[Path, ...]
    files: tuple[Path, ...]
    faults: tuple[Fault, ...]


class Pairs(NamedTuple):
    """The images of one split with their annotation files.

    Args:
        files: by image, sorted; None for an image without one.
        alone: annotation files without an image.
    """

    files: dict[Path, Path | None]
    alone: tuple[Path, ...]


def walk(folder: Path, top: Path, way: frozenset[str] = frozenset()) -> Iterator[Path | Fault]:
    """Yield the files below a folder, sorted, and the faults of links, without those that are never data.

    Args:
        folder: the folder.
        top: the data set's folder, resolved.
        way: the real paths of the folders above it that were entered.

    Raises NotPermittedError where a folder may not be listed.
    """
    way |= {os.path.realpath(folder)}
    for entry in folders.entries(folder):
        path = Path(entry.path)
        if entry.is_symlink():
            fault = folders.link_fault(path, top)
            if fault is None and entry.is_dir():
                if folders.enters(path, way):
                    yield from walk(path, top, way)
                    continue
                fault = folders.unfollowed(path)
            if fault is not None:
                yield fault
                continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(path, top, way)
        else:
            yield path


def probe(root: Path, limit: int = MAX_PROBED, *, of_each: int | None = None) -> Iterator[Path]:
    """Yield the first files below a folder, upper folders first, without what may not be listed.

    At most `of_each` files of each folder are looked at, so that a folder of many images does not hide the labels.

    Links are left out unless they are followed (`folders.follow_links`), and then each folder is looked into once.
    """
    waiting = [root]
    entered = {os.path.realpath(root)}
    while waiting and limit > 0:
        try:
            entries = folders.entries(waiting.pop(0))
        except SingleshotError:
            continue
        if of_each is not None:
            few = [entry for entry in entries if not entry.is_dir(follow_symlinks=False)][:of_each]
            entries = [*few, *(entry for entry in entries if entry.is_dir(follow_symlinks=False))]
        for entry in entries[:limit]:
            if entry.is_symlink() and not folders.links_are_followed():
                continue
            if not entry.is_dir():
                yield Path(entry.path)
            elif not folders.links_are_followed():
                waiting.append(Path(entry.path))
            elif (place := os.path.realpath(entry.path)) not in entered:
                entered.add(place)
                waiting.append(Path(entry.path))
        limit -= len(entries)


def has_images(root: Path) -> bool:
    """Return whether there is an image below a folder, among the first files of each folder or the first of all."""
    probed = chain(probe(root, of_each=1000), probe(root))  # the second only where images come late in a large folder
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in probed)


def read_tree(root: Path, suffix: str) -> Tree:
    """List the images, and the files with a suffix, below a folder, without VOC's masks.

    Raises InputMissingError for no such folder.
    """
    if not root.is_dir():
        raise InputMissingError("no such folder", remedy="Name a folder of images and annotations", file=root)
    found = list(walk(root, root.resolve()))
    paths = [path for path in found if isinstance(path, Path)]
    images = tuple(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES
        and _MASKS.isdisjoint(part.lower() for part in path.relative_to(root).parts[:-1])
    )
    files = tuple(path for path in paths if path.suffix.lower() == suffix)
    unread = [fault for path in paths if (fault := folders.unread(path)) is not None]
    return Tree(root, images, files, (*(fault for fault in found if isinstance(fault, Fault)), *unread))


def split_and_name(path: Path, root: Path) -> tuple[str, str]:
    """Return the split of a file, and the rest of its path without the suffix.

    >>> split_and_name(Path("d/valid/images/x/a.jpg"), Path("d"))
    ('val', 'x/a')
    """
    split, kept = ALL, []
    for part in path.relative_to(root).parts[:-1]:
        lower = part.lower()
        if split == ALL and lower in SPLIT_OF:
            split = SPLIT_OF[lower]
        elif lower not in _KINDS:
            kept.append(part)
    return split, "/".join([*kept, path.stem])


def splits_of(paths: Iterable[Path], root: Path) -> list[str]:
    """Return the splits that some files lie in, in the usual order."""
    found = {split_and_name(path, root)[0] for path in paths}
    return [split for split in ORDER if split in found]


def pair(tree: Tree, split: str) -> Pairs:
    """Pair the images of a split with their annotation files: by their names, or else by the only equal stem."""
    images = {image: name for image in tree.images for of, name in [split_and_name(image, tree.root)] if of == split}
    files = {file: name for file in tree.files for of, name in [split_and_name(file, tree.root)] if of == split}
    # A file in the image's own folder belongs to it before one of another folder with the same name does.
    beside = {(file.parent, file.stem): file for file in files}
    of_name = {name: file for file, name in reversed(files.items())}
    found = {
        image: beside.get((image.parent, image.stem)) or of_name.get(name) for image, name in sorted(images.items())
    }
    paired = set(found.values())
    rest = [file for file in files if file not in paired]
    stems = Counter(file.stem for file in rest)
    without = Counter(image.stem for image, file in found.items() if file is None)
    unique = {file.stem: file for file in rest if stems[file.stem] == 1 and without[file.stem] == 1}
    found = {image: file or unique.get(image.stem) for image, file in found.items()}
    used = set(found.values())
    return Pairs(found, tuple(file for file in files if file not in used))


def image_ids(images: Sequence[Path], root: Path) -> list[str]:
    """Return the images' stems, or their paths below the root without suffix where two have one stem."""
    stems = [image.stem for image in images]
    if len(set(stems)) == len(stems):
        return stems
    names = [image.relative_to(root).with_suffix("").as_posix() for image in images]
    return names if len(set(names)) == len(names) else [image.relative_to(root).as_posix() for image in images]


def no_split(root: Path, split: str, known: Sequence[str]) -> InputMissingError:
    """Return the error for a split that a folder does not have."""
    remedy = f"There are: {', '.join(known)}" if known else "There is none"
    return InputMissingError(f"no split {split!r}", remedy=remedy, file=root)


def empty_split(root: Path) -> DataError:
    """Return the error for a split without images."""
    return DataError("0 images in the split", kind="empty-split", remedy="Add images", file=root)

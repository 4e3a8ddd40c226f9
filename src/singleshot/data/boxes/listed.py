"""Annotation files that name many images: which file is of which split, and which image a name means.

CVAT, Label Studio, VIA, Hugging Face's image folders and CSV files have one file for a whole data set or a split of it.
Such a file is the list: images that it does not name are not read. It names them as the tool's server or another
machine did, so an image is looked up below the data's folder by the longest end of its path that an image there has.

An entry belongs to the split that it states itself (CVAT's `subset`), or else to that of its file (a word of its name,
`train_labels.csv`, or a folder on its path), or else to that of its image's folder (see `data.tree`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.data import folders, tree
from singleshot.data.boxes import records
from singleshot.data.boxes.check_box import CONTINUOUS, BoxRule
from singleshot.data.boxes.coordinates import Form
from singleshot.data.boxes.records import Object, Record
from singleshot.data.faults import make_fault
from singleshot.errors import Fault, InputMissingError, NotPermittedError, os_errors
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.letter_case import as_found
from singleshot.structures import Dataset, LabelMap

MAX_LISTS = 200
"""A folder with more files of the suffix than this has one for each image, and none of them is a list."""
MAX_PROBED = 5000
_WORD = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class Entry:
    """One image as an annotation file has it.

    Args:
        name: its name there, with the path if there is one.
        objects: its objects.
        size_hw: height and width as annotated; None for the image's own.
        line: the 1-based line that names it, if the file has lines.
        path: its path in a JSON file, such as `[3]`.
        subset: the split that the entry states itself; "" for none.
        relative: whether boxes are fractions of the image.
        annotated: False for an image that nobody has worked on yet.
        faults: what is wrong with its objects.
        other_name: what the image may be called if it is not called `name`; "" for nothing.
    """

    name: str
    objects: Sequence[Object]
    size_hw: tuple[int, int] | None = None
    line: int | None = None
    path: str = ""
    subset: str = ""
    relative: bool = False
    annotated: bool = True
    faults: Sequence[Fault] = ()
    other_name: str = ""


Load = Callable[[Path], tuple[list[Entry], list[Fault]]]
"""Reads a file: its entries, and faults of the file that belong to none of them."""


def read(
    root: Path,
    split: str,
    layout: str,
    files: Sequence[Path],
    load: Load,
    label_map: LabelMap | None,
    *,
    allow_unlabelled: bool = False,
    rule: BoxRule = CONTINUOUS,
    form: Form = "xyxy inclusive",
) -> Dataset:
    """Read one split, in the order in which the files first name its images.

    Args:
        root: the folder, or the annotation file itself.
        split: of `splits`.
        layout: the name of the layout.
        files: the annotation files, see `find`.
        load: reads one of them.
        label_map: the classes; None for those of all splits.
        allow_unlabelled: take an image that nobody has annotated for one without objects; else it is left out.
        rule: what the format calls a box; boxes as fractions are continuous whatever it is.
        form: how it writes one, see `records.dataset`.

    Raises:
        InputMissingError: no such split.
        DataError: the split is empty (`empty-split`), and what `load` raises.
    """
    found = _by_split(root, files, load)
    if split not in found:
        raise tree.no_split(root, split, _in_order(found))
    records_of = {name: [record for record, _ in part.records.values()] for name, part in found.items()}
    part = found[split]
    faults = [*part.faults]
    kept: list[Record] = []
    for record, annotated in part.records.values():
        if annotated or allow_unlabelled:
            kept.append(record)
    unlabelled = [record.image for record, annotated in part.records.values() if not annotated]
    faults += records.unlabelled(unlabelled, "annotation", allow=allow_unlabelled)
    if label_map is None:
        label_map, warnings = records.classes([each for name in [split, *found] for each in records_of[name]])
        faults += warnings
    rule = CONTINUOUS if any(record.relative for record in kept) else rule
    if not kept and not faults:
        top = root if root.is_dir() else root.parent
        raise tree.empty_split(next((file for file in files if split_of(file, top) == split), root))
    return records.dataset(root, layout, split, kept, label_map, faults, rule=rule, form=form)


@dataclass
class _Part:
    """One split: its records by image, each with whether somebody annotated it, and its faults."""

    records: dict[Path, tuple[Record, bool]]
    faults: list[Fault]


def _by_split(root: Path, files: Sequence[Path], load: Load) -> dict[str, _Part]:
    top = root if root.is_dir() else root.parent
    images = tree.read_tree(top, "")
    index = ImageIndex(images.images, top)
    found: dict[str, _Part] = {}
    of_files: list[Fault] = []
    for file in files:
        of_file = "" if root == file else split_of(file, top)
        entries, faults = load(file)
        if of_file not in ("", tree.ALL):
            found.setdefault(of_file, _Part({}, [])).faults.extend(faults)
        else:
            of_files += faults
        for entry in entries:
            stated = tree.SPLIT_OF.get(entry.subset.lower(), "")
            known = stated or ("" if of_file == tree.ALL else of_file)
            image = index.find(entry.name, file.parent, known)
            if entry.other_name and not isinstance(image, Path):
                other = index.find(entry.other_name, file.parent, known)
                image = other if isinstance(other, Path) else image
            own = tree.split_and_name(image if isinstance(image, Path) else top / folders.name_below(entry.name), top)[
                0
            ]
            split = known or (tree.ALL if root == file else own)
            part = found.setdefault(split, _Part({}, []))
            where = f"{entry.path}: " if entry.path else ""
            if not isinstance(image, Path):
                part.faults.append(make_fault("missing-picture", f"{where}{image}", file, entry.line))
            elif image in part.records:
                message = f"{where}{image.name} is annotated before; this entry is left out"
                part.faults.append(make_fault("duplicate-id", message, file, entry.line, remedy="Keep one of them"))
            else:
                record = Record(image, file, entry.size_hw, entry.objects, entry.relative)
                part.records[image] = record, entry.annotated
                part.faults += entry.faults
    if not found and files:
        found[tree.ALL] = _Part({}, [])
    for part in found.values():
        part.faults[:0] = [*images.faults, *of_files]
    return found


def splits(root: Path, files: Sequence[Path], load: Load) -> list[str]:
    """Return the splits that some annotation files have, in the usual order. Raises what `load` raises."""
    return _in_order(_by_split(root, files, load))


def _in_order(found: Iterable[str]) -> list[str]:
    return [split for split in tree.ORDER if split in set(found)]


def split_of(file: Path, top: Path) -> str:
    """Return the split of an annotation file: a word of its name says it, or a folder on its path; `all` for neither.

    >>> split_of(Path("d/train_labels.csv"), Path("d")), split_of(Path("d/valid/via.json"), Path("d"))
    ('train', 'val')
    """
    words = (tree.SPLIT_OF.get(word) for word in _WORD.split(file.stem.lower()))
    return next((split for split in words if split), tree.split_and_name(file, top)[0])


def find(root: Path, suffixes: Sequence[str], accepts: Callable[[Path], bool]) -> list[Path]:
    """Return the annotation files of a folder, sorted: in it, and in the folders in it and in those; a file itself.

    Args:
        root: the folder, or the file itself.
        suffixes: of the files, in lower case.
        accepts: whether a file, by its first bytes, is one of the layout.

    Raises:
        InputMissingError: no such folder or file.
        NotPermittedError: the folder may not be listed.
    """
    with os_errors(root, "read"):
        if root.is_file():
            return [root]
        if not root.is_dir():
            raise InputMissingError("no such folder or file", remedy="Name a folder of images", file=root)
        found: list[Path] = []
        below = _folders_in(root)
        for folder in [root, *below, *(inner for each in below for inner in _folders_in(each))]:
            files = [entry for entry in folders.entries(folder) if entry.name.lower().endswith(tuple(suffixes))]
            if len(files) <= MAX_LISTS:
                found += [Path(entry.path) for entry in files if entry.is_file() and accepts(Path(entry.path))]
    return sorted(found)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in folders.entries(folder) if entry.is_dir(follow_symlinks=False)]
    except NotPermittedError:
        return []


def has_images(folder: Path) -> bool:
    """Return whether one of the first files below a folder is an image."""
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in tree.probe(folder, MAX_PROBED))


def fits(root: Path, suffixes: Sequence[str], accepts: Callable[[Path], bool]) -> bool:
    """Return whether a folder has annotation files (see `find`) and images."""
    if not root.is_dir():
        return root.suffix.lower() in suffixes and root.is_file() and accepts(root)
    return has_images(root) and bool(find(root, suffixes, accepts))


class ImageIndex:
    """Finds images by the names that annotation files have for them.

    Args:
        images: those below the data's folder.
        top: the data's folder.
    """

    def __init__(self, images: Iterable[Path], top: Path) -> None:
        self._top = top
        self._by_name: dict[str, list[Path]] = {}
        for image in images:
            for name in (image.name, image.stem):
                self._by_name.setdefault(name, []).append(image)
        self._by_name = as_found(self._by_name, top)

    def find(self, name: str, near: Path, split: str = "") -> Path | str:
        """Return the image of a name, or why there is none.

        Of several images with one file name, it is that with the longest equal end of the path, then the one in that
        split's folders, then the one near the annotation file. The suffix may be missing. No name leads out of the
        data's folder.

        Args:
            name: a path, perhaps of another machine.
            near: the folder of the annotation file.
            split: the split of the entry, if it is known.
        """
        parts = folders.name_below(name).split("/")
        images = self._by_name.get(parts[-1], ())
        if len(images) == 1:
            return images[0]
        if not images:
            return f"image {name[:200]} not found below {self._top}"

        def rank(image: Path) -> tuple[int, bool, bool]:
            own = image.parts[:-1]
            pairs = zip(reversed(own), reversed(parts[:-1]), strict=False)
            equal = next(
                (count for count, (one, other) in enumerate(pairs) if one != other), min(len(own), len(parts) - 1)
            )
            return equal, tree.split_and_name(image, self._top)[0] == split, image.is_relative_to(near)

        ranked = sorted(images, key=rank, reverse=True)
        if rank(ranked[0]) == rank(ranked[1]):
            return f"image {name[:200]} is one of several: {ranked[0]} and {ranked[1]}"
        return ranked[0]

"""Folders of images and masks → a `Dataset`: your own, CamVid as SegNet keeps it, and Pascal VOC's segmentation.

Four layouts are recognised here; the class list is in the top folder:

    lists       <split>.txt with `image mask` a line (SegNet's CamVid)
    split       <split>/images/* and <split>/masks/*
    plain       images/<split>/* and masks/<split>/*; or, without splits, images/* and masks/* as `train`; the folders
                may be called img_dir and ann_dir (mmsegmentation), or JPEGImages and SegmentationClass (labelme,
                without lists)
    voc         ImageSets/Segmentation/<split>.txt, JPEGImages/*, SegmentationClass/*.png

    classes.txt     a name a line; the line's index, from 0, is the number in the masks
    labelmap.txt    CVAT's: `name:red,green,blue::` a line, with numbers and colours; a palette whose colours are
                    all there counts as colours, so that its numbers need not be those of the lines
    class_names.txt labelme's: a name a line, as classes.txt
    classes.json    [{"id": 0, "name": "sky", "colour": [128, 128, 128]}, …, {"id": 11, …, "evaluated": false}]

In `split` and `plain` a mask has its image's name with the suffix .png. Numbers in a class list may have gaps; classes
are counted from 0 in their order. A class that is marked as not evaluated is void: it is neither trained on nor
evaluated. 255 is void too, unless it is a class. Masks may hold the numbers, or the colours where the list gives them.
In Pascal VOC's own data the palette's number is the class and 255 the border; the drawn streets (`streets.json`) name
their classes themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from singleshot.classes import VOC
from singleshot.data.boxes.fields import is_text, read_json
from singleshot.data.faults import make_fault
from singleshot.data.folders import (
    by_stem,
    contains,
    files_in,
    is_file,
    matching,
    name_below,
    subfolders,
    unused_duplicates,
)
from singleshot.data.masks.files import Pair, masks_without_image, samples_of
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode

FOLDERS = (
    ("images", "masks"),
    ("img_dir", "ann_dir"),
    ("JPEGImages", "SegmentationClassPNG"),
    ("JPEGImages", "SegmentationClass"),
)
"""Folders of images and of masks, the likeliest first."""
CLASS_FILES = ("classes.json", "classes.txt", "labelmap.txt", "class_names.txt")
MAX_CLASS_BYTES = 1 << 20
MAX_LIST_BYTES = 64 << 20
MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class MaskClasses:
    """The content of a class list.

    Args:
        label_map: the classes that are trained and evaluated.
        code: the meaning of numbers and colours in the masks.
        colours: RGB by class id; empty where the list gives none.
    """

    label_map: LabelMap
    code: MaskCode
    colours: tuple[tuple[int, int, int], ...] = ()


def looks_like(root: Path) -> bool:
    """Return whether a folder has one of the layouts above."""
    return _is_voc(root) or _plain(root) is not None or bool(_list_splits(root)) or bool(_folder_splits(root))


def read(root: Path | str, split: str) -> Dataset:
    """Read one split, in the order of its list, or of names where there is no list.

    Args:
        root: a folder in one of the layouts above.
        split: its name.

    Returns:
        Samples with masks. An invalid pair is a fault (see `files.samples_of`), and a warning `duplicate-id` names a
        file or line that is not used because an earlier one has its name.

    Raises:
        InputMissingError: no such folder, layout, split or class list.
        DataError: the class list or a list of pairs is malformed, or the split is empty (`empty-split`).
    """
    root = Path(root)
    if not root.is_dir():
        raise InputMissingError("no such folder", remedy="Name a folder of images and masks", file=root)
    if _is_voc(root):
        classes = _voc_classes(root)
        pairs, faults = _voc_pairs(root, split)
        if find_classes(root) is None and not (root / "streets.json").exists():
            message = "no classes.txt, so the numbers in the masks are taken for Pascal VOC's 21 classes"
            faults = (*faults, make_fault("assumed-classes", message, root))
    elif split in _list_splits(root):
        classes = read_classes(root)
        pairs, faults = read_list(root / f"{split}.txt")
    elif split in _folder_splits(root):
        classes = read_classes(root)
        pairs, faults = _folder_pairs(root / split / "images", root / split / "masks")
    elif (plain := _plain(root)) is not None:
        images, masks = plain
        nested = _subfolders(images)
        if split not in (nested or ["train"]):
            raise _no_split(root, split, nested or ["train"])
        classes = read_classes(root)
        pairs, faults = _folder_pairs(images / split, masks / split) if nested else _folder_pairs(images, masks)
    else:
        known = [*_list_splits(root), *_folder_splits(root)]
        if known:
            raise _no_split(root, split, known)
        remedy = "See docs/how-to/segmentation.md for the layouts"
        raise InputMissingError("not a folder of images and masks", remedy=remedy, file=root)
    samples, invalid = samples_of(pairs)
    faults = (*faults, *invalid)
    if not samples and not faults:
        raise DataError(f"0 images in {split}", kind="empty-split", remedy="Add images and masks", file=root)
    return Dataset(root, "masks", split, classes.label_map, samples, faults, classes.code, classes.colours)


def splits(root: Path) -> list[str]:
    """Return the names of a folder's splits; [] where it has none of the layouts above."""
    if _is_voc(root):
        return [path.stem for path in matching(root / "ImageSets" / "Segmentation", "*.txt")]
    found = [*_list_splits(root), *_folder_splits(root)]
    if not found and (plain := _plain(root)) is not None:
        found = _subfolders(plain[0]) or ["train"]
    return found


def _is_voc(root: Path) -> bool:
    return (root / "SegmentationClass").is_dir() and (root / "ImageSets" / "Segmentation").is_dir()


def _plain(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of images and masks, one of `FOLDERS`; None where there are none."""
    pairs = ((root / images, root / masks) for images, masks in FOLDERS)
    return next(((images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()), None)


def _subfolders(folder: Path) -> list[str]:
    return [path.name for path in subfolders(folder)]


def _list_splits(root: Path) -> list[str]:
    """Return the splits that are lists of pairs; other text files have no pair in their first line."""
    if find_classes(root) is None:
        return []
    return [path.stem for path in matching(root, "*.txt") if path.name not in CLASS_FILES and is_list(path)]


def _folder_splits(root: Path) -> list[str]:
    return [path.name for path in subfolders(root) if contains(path, ("masks", "images"))]


def _no_split(root: Path, split: str, known: Iterable[str]) -> InputMissingError:
    return InputMissingError(f"no split {split!r}", remedy=f"There are: {', '.join(known)}", file=root)


def _folder_pairs(images: Path, masks: Path) -> tuple[list[Pair], tuple[Fault, ...]]:
    files = files_in(images) if images.is_dir() else []
    found = by_stem(files, IMAGE_SUFFIXES)
    pairs = [Pair(stem, path, masks / f"{stem}.png") for stem, path in sorted(found.items())]
    others = files_in(masks) if masks.is_dir() else []
    alone = [path for path in others if path.suffix == ".png" and path.stem not in found]
    return pairs, (*unused_duplicates(files, found, IMAGE_SUFFIXES), *masks_without_image(alone, images.name))


def _voc_pairs(root: Path, split: str) -> tuple[list[Pair], tuple[Fault, ...]]:
    folder, images = root / "ImageSets" / "Segmentation", root / "JPEGImages"
    file = folder / f"{split}.txt"
    if not file.is_file():
        raise _no_split(folder, split, [path.stem for path in matching(folder, "*.txt")])
    if not images.is_dir():
        raise InputMissingError("no folder of images", remedy="Put them into JPEGImages", file=images)
    files = files_in(images)
    found = by_stem(files, IMAGE_SUFFIXES)
    first_lines: dict[str, int] = {}
    faults = unused_duplicates(files, found, IMAGE_SUFFIXES)
    for line, written in _lines(file):
        name = name_below(written)
        without = name.rpartition(".")[0] if name.lower().endswith(IMAGE_SUFFIXES) else name
        stem = next((each for each in (written, without.rpartition("/")[2]) if each in found), written)
        if first_lines.setdefault(stem, line) != line:
            faults.append(_repeated(file, line, stem, first_lines[stem]))
    masks = root / "SegmentationClass"
    pairs = [
        Pair(stem, found.get(stem, images / f"{stem}.jpg"), masks / f"{stem}.png", file, line)
        for stem, line in first_lines.items()
    ]
    return pairs, tuple(faults)


def _voc_classes(root: Path) -> MaskClasses:
    if find_classes(root) is not None:
        return read_classes(root)
    manifest = root / "streets.json"
    if not manifest.exists():
        return classes_from_names(["background", *VOC], root)
    content = read_json(manifest, max_bytes=MAX_MANIFEST_BYTES)
    names = content.get("mask") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(is_text(name) for name in names):
        raise DataError("no list `mask` of class names", remedy="Take the file that came with the data", file=manifest)
    return classes_from_names(names, manifest)


def is_list(file: Path) -> bool:
    """Return whether the first line of a file is a pair; False for pipes and folders. Raises NotPermittedError."""
    try:
        with opened(file) as stream:
            text = stream.readline(4096).decode("utf-8-sig", "surrogateescape").strip()
    except (DataError, InputMissingError):
        return False
    return _columns(text, file.parent) is not None


def read_list(file: Path) -> tuple[list[Pair], tuple[Fault, ...]]:
    """Read the pairs of a list, in its order, with paths below its folder.

    Image ids are the stems of the files, or where two share one (`0001.png` of two sequences) their paths. An image
    that is listed twice is used once, and gives a warning (`duplicate-id`).

    Raises:
        DataError: a line is not a pair (`bad-list`), or the file is not a plain one or is too large.
        NotPermittedError, StorageError: the file cannot be read.
    """
    found: dict[Path, tuple[int, str, Path]] = {}
    faults: list[Fault] = []
    for line, text in _lines(file):
        columns = _columns(text, file.parent)
        if columns is None:
            message = f"{len(text.split())} columns and no two of them an image and its mask"
            remedy = "Write both relative to this folder, with a tab between names that contain spaces"
            raise DataError(message, kind="bad-list", remedy=remedy, file=file, line=line)
        image, mask = (_below(file.parent, column) for column in columns)
        first, *_ = found.setdefault(image, (line, columns[0], mask))
        if first != line:
            faults.append(_repeated(file, line, columns[0], first))
    stems = [image.stem for image in found]
    unique = len(set(stems)) == len(stems)
    pairs = [
        Pair(image.stem if unique else name.lstrip("/").removesuffix(image.suffix), image, mask, file, line)
        for image, (line, name, mask) in found.items()
    ]
    return pairs, tuple(faults)


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines of a list that are not empty, with their 1-based numbers."""
    try:
        data = file_bytes(file, MAX_LIST_BYTES)
    except DataError as error:
        if error.kind == "empty-file":
            return []
        raise
    rows = data.decode("utf-8-sig", "surrogateescape").split("\n")
    return [(number, row.strip()) for number, row in enumerate(rows, start=1) if row.strip()]


def _repeated(file: Path, line: int, name: str, first: int) -> Fault:
    message = f"{name} is already in line {first}; it is used once. Delete this line."
    return Fault(file, line, "duplicate-id", "warning", message)


def _columns(text: str, folder: Path) -> tuple[str, str] | None:
    """Split a line into image and mask: at a tab, at its only space, or at the space where both files exist."""
    if "\t" in text:
        parts = [part.strip() for part in text.split("\t")]
        return (parts[0], parts[1]) if len(parts) == 2 else None
    words = text.split()
    if len(words) == 2:
        return words[0], words[1]
    cuts = [(text[:at].rstrip(), text[at + 1 :].lstrip()) for at, letter in enumerate(text) if letter == " "]
    existing = {cut for cut in cuts if all(cut) and all(is_file(_below(folder, name)) for name in cut)}
    return existing.pop() if len(existing) == 1 else None


def _below(folder: Path, name: str) -> Path:
    """Return a listed file's path below the list's folder.

    Lists contain absolute paths of their author's machine (SegNet's begin with `/SegNet/CamVid/`): of those, and of
    paths with `..`, the longest end that exists below the folder is used. No list leads out of it.
    """
    parts = name_below(name).split("/")
    is_plain = name.replace("\\", "/").removeprefix("./") == "/".join(parts)
    ends = [folder.joinpath(*parts[start:]) for start in range(1 if is_plain else len(parts))]
    return next((path for path in ends if is_file(path)), ends[0])


def find_classes(folder: Path) -> Path | None:
    """Return the class list of a folder, None where it has none."""
    return next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)


def read_classes(folder: Path) -> MaskClasses:
    """Read the class list of a folder.

    Raises:
        InputMissingError: the folder has none.
        DataError: it is not in one of the two forms, or a number, name or colour occurs twice.
    """
    file = find_classes(folder)
    if file is None:
        remedy = "Write classes.txt with a class name a line, in the order of the numbers in the masks"
        raise InputMissingError("no classes.txt or classes.json", remedy=remedy, file=folder)
    text = file_bytes(file, MAX_CLASS_BYTES).decode("utf-8-sig", "replace")
    if file.name == "labelmap.txt":
        classes = _classes_from_rows(_labelmap_rows(text, file), file)
        return replace(classes, code=replace(classes.code, palettes=True))
    if file.suffix == ".txt":
        names = [line.strip() for line in text.splitlines()]
        while names and not names[-1]:
            names.pop()
        return classes_from_names(names, file)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", remedy="See docs/how-to/segmentation.md", file=file) from error
    return _classes_from_rows(rows, file)


def _labelmap_rows(text: str, file: Path) -> list[dict[str, Any]]:
    """Return the rows of CVAT's labelmap.txt (`name:red,green,blue:parts:actions`), numbered by line."""
    rows: list[dict[str, Any]] = []
    for line, written in enumerate(text.splitlines(), start=1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        name, _, rest = written.strip().partition(":")
        numbers = rest.partition(":")[0].split(",")
        if len(numbers) != 3 or not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", number) for number in numbers):
            message = "not a line `name:red,green,blue::`"
            raise DataError(message, remedy="See docs/how-to/segmentation.md", file=file, line=line)
        rows.append({"id": len(rows), "name": name, "colour": [int(number) for number in numbers]})
    return rows


def classes_from_names(names: list[str], file: Path) -> MaskClasses:
    """Return classes 0, 1, … of these names. Raises DataError, which names `file`, for a name that occurs twice."""
    return _classes_from_rows([{"id": index, "name": name} for index, name in enumerate(names)], file)


def classes_from_numbers(names: Mapping[int, str], file: Path) -> MaskClasses:
    """Return classes of these names by their numbers in the masks. Raises DataError as `classes_from_names`."""
    return _classes_from_rows([{"id": number, "name": name} for number, name in sorted(names.items())], file)


def _classes_from_rows(rows: Any, file: Path) -> MaskClasses:
    if not isinstance(rows, list) or not rows:
        raise DataError("not a list of classes", remedy="See docs/how-to/segmentation.md", file=file)
    values, names = [UNKNOWN] * 256, list[str]()
    values[VOID] = VOID
    names_by_number = dict[int, str]()
    colour_rows, class_colours = list[tuple[int, int, int, int]](), list[tuple[int, int, int]]()
    for index, row in enumerate(rows):
        number, name, colour, evaluated = _class_fields(row, index, file)
        if number in names_by_number:
            message = f"id {number} is given to {names_by_number[number]} and to {name}"
            raise DataError(message, remedy="Give every class a number of its own", file=file)
        names_by_number[number] = name
        class_id = len(names) if evaluated else VOID
        values[number] = class_id
        if evaluated:
            names.append(name)
        if colour is not None:
            colour_rows.append((*colour, class_id))
            class_colours += [colour] if evaluated else []
    if len({row[:3] for row in colour_rows}) != len(colour_rows):
        raise DataError("two classes share a colour", remedy="Give every class a colour of its own", file=file)
    try:
        label_map = LabelMap(tuple(names))
    except DataError as error:
        raise DataError(error.message, remedy=error.remedy, file=file) from error
    complete = len(class_colours) == len(names)
    return MaskClasses(label_map, MaskCode(tuple(values), tuple(colour_rows)), tuple(class_colours) if complete else ())


def _class_fields(row: Any, index: int, file: Path) -> tuple[int, str, tuple[int, int, int] | None, bool]:
    """Return number, name, colour and whether the class is evaluated, each of its own type."""
    message = f"entry {index} is not a class"
    remedy = 'Write for example {"id": 3, "name": "road", "colour": [128, 64, 128]}'
    if not isinstance(row, dict):
        raise DataError(message, remedy=remedy, file=file)
    number, name = row.get("id", index), row.get("name")
    colour, evaluated = row.get("colour", row.get("color")), row.get("evaluated", True)
    valid = type(number) is int and 0 <= number <= 255 and isinstance(name, str) and isinstance(evaluated, bool)
    if colour is not None:
        valid = valid and isinstance(colour, list) and len(colour) == 3
        valid = valid and all(type(each) is int and 0 <= each <= 255 for each in colour)
    if not valid:
        raise DataError(message, remedy=remedy, file=file)
    return number, str(name), None if colour is None else (colour[0], colour[1], colour[2]), evaluated

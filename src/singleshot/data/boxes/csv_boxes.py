"""Boxes in a CSV file with a header: the TensorFlow tutorials' `*_labels.csv`, and Open Images'.

    filename,width,height,class,xmin,ymin,xmax,ymax                    pixels as Pascal VOC has them
    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf  fractions of the image

The columns may be in any order, and others are not read. Pixels are those of VOC's XML, from which the tutorials'
script makes the file: 1-based and inclusive, so the same boxes come from both. A file is the split that its name begins
with (`train_labels.csv`), or that a folder on its path names; an image is found by its name below the data's folder. A
crowd (`IsGroupOf`) is evaluated as one and never trained on. Images that no line names are not read: the file is the
list.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from singleshot.data import tree
from singleshot.data.boxes import records
from singleshot.data.boxes.check_box import CONTINUOUS, INCLUSIVE
from singleshot.data.boxes.records import Object, Record
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, InputMissingError, SingleshotError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "csv"
MAX_BYTES = 2 * 2**30
MAX_PROBED = 5000
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGES = ("filename", "imageid", "image", "image_id")
_CLASSES = ("class", "labelname", "label", "class_name")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None) -> Dataset:
    """Read one split, in the order in which the lines first name its images.

    Args:
        root: the folder, or the CSV file itself.
        split: `train`, `val` or `test`, as file or folder is called, or `all`.
        label_map: the classes and their order. Where None, those of all files, sorted.

    Returns:
        Samples with float64 boxes; `box_places` are lines. Kinds of fault: `bad-line`, `not-a-number`,
        `missing-picture`, `unknown-class`, and those of `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file has no such header (`bad-header`), or no line (`empty-split`).
    """
    root = Path(root)
    files = split_files(root)
    if split not in files:
        raise tree.no_split(root, split, list(files))
    top = root if root.is_dir() else root.parent
    found = tree.read_tree(top, ".csv")
    by_name = _by_name(found.images, top)
    of_split: list[Record] = []
    others: list[Record] = []
    faults = list(found.faults)
    rule = INCLUSIVE
    for name, paths in files.items():
        for file in paths if name == split or label_map is None else ():
            part, part_faults = _records(file, by_name, name)
            (of_split if name == split else others).extend(part)
            if name == split:
                faults += part_faults
                rule = CONTINUOUS if any(record.relative for record in part) else rule
    if label_map is None:
        label_map, warnings = records.classes([*of_split, *others])
        faults += warnings
    return records.dataset(root, LAYOUT, split, of_split, label_map, faults, rule=rule)


def _by_name(images: Sequence[Path], top: Path) -> dict[tuple[str, str], Path]:
    """Return the images by split and name: with and without suffix, and without the split where the name is alone."""
    found: dict[tuple[str, str], Path] = {}
    for image in reversed(images):
        split, _ = tree.split_and_name(image, top)
        for name in (image.name, image.stem, image.relative_to(top).as_posix()):
            found["", name] = image
            found[split, name] = image
    return found


def _records(file: Path, images: dict[tuple[str, str], Path], split: str) -> tuple[list[Record], list[Fault]]:
    """Return the images of a file with their objects, and the faults of its lines."""
    faults: list[Fault] = []
    objects: dict[str, list[Object]] = {}
    relative = False
    missing: dict[str, int] = {}
    for line, row, relative in _rows(file):
        image = row.get("image", "").strip()
        if not image:
            faults.append(make_fault("bad-line", "no image is named", file, line))
            continue
        name = image.replace("\\", "/").rpartition("/")[2]
        if not any((of, name) in images for of in (split, "")):
            missing.setdefault(name, line)
            continue
        found = _object(row, line, relative)
        if isinstance(found, Object):
            objects.setdefault(name, []).append(found)
        else:
            faults.append(make_fault(*found, file, line))
            objects.setdefault(name, [])
    message = "image {} not found below its folder"
    faults += [make_fault("missing-picture", message.format(name), file, line) for name, line in missing.items()]
    if not objects and not faults:
        raise DataError("0 images in the split", kind="empty-split", remedy="Add lines", file=file)
    paths = {name: images.get((split, name)) or images["", name] for name in objects}
    return [Record(paths[name], file, None, items, relative) for name, items in objects.items()], faults


def _object(row: dict[str, str], line: int, relative: bool) -> Object | tuple[str, str]:
    """Return the object of a line, or the kind of a fault and its message."""
    numbers = []
    for corner in _CORNERS:
        text = row.get(corner, "").strip()
        if not _NUMBER.fullmatch(text):
            return "not-a-number", f"{corner} is {text[:40]!r}, which is not a number"
        numbers.append(float(text))
    name = row.get("class", "")
    if not name.strip():
        return "bad-line", "no class is named"
    xmin, ymin, xmax, ymax = numbers
    box = (xmin, ymin, xmax, ymax) if relative else (xmin - 1, ymin - 1, xmax, ymax)
    crowd = row.get("isgroupof", "").strip() == "1"
    written = ", ".join(f"{number:g}" for number in numbers)
    return Object(name, box, line, crowd=crowd, written=written)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str], bool]]:
    """Yield each line's number, its fields by `image`, `class` and the columns' names, and whether boxes are fractions.

    Raises DataError for another header, text that is not UTF-8, or a quote that does not end.
    """
    try:
        text = file_bytes(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="not-text", remedy="Save it as UTF-8", file=file, line=1) from error
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = next(reader, [])
        names = _columns(header)
        if names is None:
            remedy = "Write filename,width,height,class,xmin,ymin,xmax,ymax"
            raise DataError("the header has no such columns", kind="bad-header", remedy=remedy, file=file, line=1)
        # Open Images writes its columns in capitals and small letters, and fractions.
        relative = "XMin" in [name.strip() for name in header]
        for row in reader:
            if row:
                yield reader.line_num, dict(zip(names, row, strict=False)), relative
    except csv.Error as error:
        line = reader.line_num
        raise DataError(f"not CSV: {error}", kind="bad-csv", remedy="Correct it", file=file, line=line) from error


def _columns(header: Sequence[str]) -> list[str] | None:
    """Return the columns' names in lower case, `image` and `class` for theirs; None where one is missing."""
    names = [name.strip().lower() for name in header]
    image = next((name for name in _IMAGES if name in names), None)
    label = next((name for name in _CLASSES if name in names), None)
    if image is None or label is None or not all(corner in names for corner in _CORNERS):
        return None
    return ["image" if name == image else "class" if name == label else name for name in names]


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether a folder, or a CSV file, has boxes in a CSV file with a header, and images."""
    if root.is_file():
        return root.suffix.lower() == ".csv" and _has_header(root)
    has_image = False
    for path in tree.probe(root, MAX_PROBED) if root.is_dir() else ():
        has_image = has_image or path.suffix.lower() in IMAGE_SUFFIXES
        if has_image:
            break
    return has_image and bool(split_files(root))


def _has_header(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.readline(4096).decode("utf-8-sig", "replace")
    except SingleshotError:
        return False
    return _columns(next(csv.reader([head]), [])) is not None


def split_files(root: Path) -> dict[str, list[Path]]:
    """Return the CSV files with boxes by split, in the root and in the folders in it."""
    if root.is_file():
        return {tree.ALL: [root]}
    if not root.is_dir():
        raise InputMissingError("no such folder or CSV file", remedy="Name a folder of images", file=root)
    found: dict[str, list[Path]] = {}
    for path in sorted({*root.glob("*.csv"), *root.glob("*/*.csv")}):
        if path.is_file() and _has_header(path):
            word = re.split(r"[_\-. ]", path.stem.lower())[0]
            split = tree.SPLIT_OF.get(word) or tree.split_and_name(path, root)[0]
            found.setdefault(split, []).append(path)
    return {split: found[split] for split in tree.ORDER if split in found}


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return list(split_files(root))


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]

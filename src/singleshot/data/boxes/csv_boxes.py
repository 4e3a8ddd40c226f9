"""Boxes in a CSV file with a header: the TensorFlow tutorials' `*_labels.csv`, and Open Images'.

    filename,width,height,class,xmin,ymin,xmax,ymax                    pixels as Pascal VOC has them
    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf  fractions of the image

The columns may be in any order, separated by commas, semicolons or tabs, and others are not read. Pixels are those of
VOC's XML, from which the tutorials' script makes the file: 1-based and inclusive, so the same boxes come from both.
Splits and images are those of `listed`. A crowd (`IsGroupOf`) is evaluated as one and never trained on.

Open Images names its classes by ids (`/m/01yrx`). Their names are in a file of its own beside the boxes or in the
folder above (`class-descriptions-boxable.csv`, with a number of the version before it; in FiftyOne's download
`metadata/classes.csv`); without it the ids are the names, with a note.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from singleshot.data import folders, tree
from singleshot.data.boxes import listed
from singleshot.data.boxes.check_box import INCLUSIVE
from singleshot.data.boxes.listed import Entry
from singleshot.data.boxes.records import Object
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "csv"
MAX_BYTES = 2 * 2**30
MAX_NAMES_BYTES = 64 * 2**20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGES = ("filename", "imageid", "image", "image_id")
_CLASSES = ("class", "labelname", "label", "class_name")
DESCRIPTIONS = "class-descriptions"
"""Part of the name of Open Images' file of class names."""
_INNER = ("annotations", "labels", "boxes")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None) -> Dataset:
    """Read one split, in the order in which the lines first name its images.

    Args:
        root: the folder, or the CSV file itself.
        split: `train`, `val` or `test`, as file or folder is called, or `all`.
        label_map: the classes and their order. Where None, those of all files, sorted.

    Returns:
        Samples with float64 boxes; `box_places` are lines. Kinds of fault: `bad-line`, `not-a-number`,
        `missing-picture`, `unknown-class`, `assumed-classes` (a note), and those of `check_box`, `class_names` and
        `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file has no such header (`bad-header`), or no line (`empty-split`).
    """
    root = Path(root)
    return listed.read(root, split, LAYOUT, files(root), load, label_map, rule=INCLUSIVE)


def load(file: Path) -> tuple[list[Entry], list[Fault]]:
    """Read the images of a file with their objects. Raises what `read` raises about it."""
    faults: list[Fault] = []
    first: dict[str, int] = {}
    objects: dict[str, list[Object]] = {}
    of_image: dict[str, list[Fault]] = {}
    sizes_hw: dict[str, tuple[int, int] | None] = {}
    relative = False
    for line, row, relative in _rows(file):
        name = row.get("image", "").strip()
        if not name:
            faults.append(make_fault("bad-line", "no image is named", file, line))
            continue
        first.setdefault(name, line)
        sizes_hw.setdefault(name, _size_hw(row))
        found = _object(row, line, relative)
        if isinstance(found, Object):
            objects.setdefault(name, []).append(found)
        else:
            of_image.setdefault(name, []).append(make_fault(*found, file, line))
    if any(item.name.startswith("/m/") for items in objects.values() for item in items):
        display = _display_names(file.parent)
        objects = {
            image: [replace(item, name=display.get(item.name, item.name)) for item in items]
            for image, items in objects.items()
        }
        unnamed = {item.name for items in objects.values() for item in items if item.name.startswith("/m/")}
        if unnamed:
            message = f"{len(unnamed)} classes are ids without a name, such as {min(unnamed)}; the ids are their names"
            remedy = f"Put {DESCRIPTIONS}-boxable.csv beside it"
            faults.append(make_fault("assumed-classes", message, file, remedy=remedy))
    return [
        Entry(name, objects.get(name, ()), sizes_hw[name], line, relative=relative, faults=of_image.get(name, ()))
        for name, line in first.items()
    ], faults


def _display_names(folder: Path) -> dict[str, str]:
    """Return Open Images' names by id, of the file of class descriptions near its boxes; {} where there is none."""
    near = (
        [folder, folder.parent] if folder.name.lower() in _INNER or folder.name.lower() in tree.SPLIT_OF else [folder]
    )
    found = [path for each in near for path in folders.files_in(each) if DESCRIPTIONS in path.name]
    found.sort(key=lambda path: "boxable" not in path.name)
    found += [each / "metadata" / "classes.csv" for each in near]
    for path in found:
        try:
            rows = csv.reader(file_bytes(path, MAX_NAMES_BYTES).decode("utf-8-sig").splitlines(), strict=True)
            return {row[0]: row[1].strip() for row in rows if len(row) == 2 and row[1].strip()}
        except (SingleshotError, UnicodeDecodeError, csv.Error):
            continue
    return {}


def _size_hw(row: dict[str, str]) -> tuple[int, int] | None:
    """Return the image's height and width by a line; None where it has no such columns, or no whole numbers above 0."""
    height, width = (row.get(name, "").strip() for name in ("height", "width"))
    if not all(each.isascii() and each.isdigit() and len(each) < 7 and int(each) for each in (height, width)):
        return None
    return int(height), int(width)


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
    lines = text.splitlines()
    delimiter = _delimiter(lines[0] if lines else "")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
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


def _delimiter(header: str) -> str:
    """Return what separates the columns of a header: a comma, or the semicolon or tab that it has instead."""
    return max(",;\t", key=header.count)


def _columns(header: Sequence[str]) -> list[str] | None:
    """Return the columns' names in lower case, `image` and `class` for theirs; None where one is missing."""
    names = [name.strip().lower() for name in header]
    image = next((name for name in _IMAGES if name in names), None)
    label = next((name for name in _CLASSES if name in names), None)
    if image is None or label is None or not all(corner in names for corner in _CORNERS):
        return None
    return ["image" if name == image else "class" if name == label else name for name in names]


# ---- Folders


def files(root: Path) -> list[Path]:
    """Return the CSV files with boxes, see `listed.find`."""
    return listed.find(root, (".csv",), _has_header)


def fits(root: Path) -> bool:
    """Return whether a folder, or a CSV file, has boxes in a CSV file with a header, and images."""
    return listed.fits(root, (".csv",), _has_header)


def _has_header(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.readline(4096).decode("utf-8-sig", "replace")
    except SingleshotError:
        return False
    return _columns(next(csv.reader([head], delimiter=_delimiter(head)), [])) is not None


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return listed.splits(root, files(root), load)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]

"""Hugging Face's `imagefolder`: `metadata.jsonl` or `metadata.csv` beside the images, with `objects`.

    {"file_name": "0001.png", "objects": {"bbox": [[302.0, 109.0, 73.0, 52.0]], "categories": [0]}}
    file_name,objects
    0001.png,"{""bbox"": [[302, 109, 73, 52]], ""categories"": [""cat""]}"

A box is `[x, y, width, height]` in continuous pixels, as COCO's. Categories are names, or numbers whose names are in
`classes.txt` (a name a line) or in the card `README.md` of the data set (`class_label: names:`); without either the
numbers are the names, with a note. The key may be `category`, `label`, `labels` or `class`, and `objects` may be a list
of objects. The files are those of a split if they lie in a folder of that name, and else each image's folder says it.

Format: huggingface.co/docs/datasets, "Create an image dataset", object detection.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from singleshot.data import tree
from singleshot.data.boxes import listed
from singleshot.data.boxes.fields import is_text, number_list, parse_json, shown
from singleshot.data.boxes.listed import Entry
from singleshot.data.boxes.records import Object
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, InputMissingError, SingleshotError
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "imagefolder"
MAX_BYTES = 2 * 2**30
MAX_CARD_BYTES = 1 << 20
_HEAD_BYTES = 65536
_NAMES = ("metadata.jsonl", "metadata.csv")
_CATEGORIES = ("categories", "category", "labels", "label", "class")


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None) -> Dataset:
    """Read one split, in the order of the lines.

    Args:
        root: the folder, or the metadata file itself.
        split: `train`, `val` or `test`, as a folder is called, or `all`.
        label_map: the classes and their order. Where None, the names of all files, sorted.

    Returns:
        Samples with float64 boxes; `box_places` are lines. Kinds of fault: `bad-line`, `bad-box`, `assumed-classes` (a
        note), `missing-picture`, `duplicate-id`, and those of `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file is not UTF-8 (`not-text`) or not CSV (`bad-csv`), or the split is empty (`empty-split`).
    """
    root = Path(root)
    return listed.read(root, split, LAYOUT, files(root), load, label_map, form="xywh")


def load(file: Path) -> tuple[list[Entry], list[Fault]]:
    """Read the images of a file. Raises what `read` raises about it."""
    names = _class_names(file.parent)
    entries: list[Entry] = []
    faults: list[Fault] = []
    unnamed = 0
    for line, row, error in _rows(file):
        name = row.get("file_name")
        if error or not is_text(name):
            message = error or "no `file_name`"
            faults.append(make_fault("bad-line", message, file, line))
            continue
        pairs, found = _pairs(row.get("objects"), file, line)
        objects = []
        for box, category in pairs:
            if type(category) is int and 0 <= category < len(names):
                category = names[category]
            unnamed += type(category) is int
            label = str(category) if type(category) is int else category
            if not is_text(label):
                found.append(make_fault("bad-line", f"category {shown(category)} is no class", file, line))
                continue
            x, y, width, height = box
            objects.append(Object(label, (x, y, x + width, y + height), line))
        entries.append(Entry(name, objects, line=line, faults=found))
    if unnamed:
        message = f"{unnamed} categories are numbers without a name, and the numbers are the class names"
        faults.append(make_fault("assumed-classes", message, file, remedy="Write classes.txt with a name a line"))
    return entries, faults


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield each line's number and its fields, or what is wrong with it."""
    try:
        text = file_bytes(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="not-text", remedy="Save it as UTF-8", file=file) from error
    if file.suffix.lower() == ".jsonl":
        for line, part in enumerate(text.split("\n"), start=1):
            if part.strip():
                row, message = _json(part, file)
                yield (
                    line,
                    row if isinstance(row, dict) else {},
                    message or ("" if isinstance(row, dict) else "no object"),
                )
        return
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        for fields in reader:
            objects, message = _json(fields.get("objects") or "{}", file)
            yield reader.line_num, {"file_name": fields.get("file_name"), "objects": objects}, message
    except csv.Error as error:
        line = reader.line_num
        raise DataError(f"not CSV: {error}", kind="bad-csv", remedy="Correct it", file=file, line=line) from error


def _json(text: str, file: Path) -> tuple[Any, str]:
    try:
        return parse_json(text, file=file), ""
    except DataError as error:
        return None, error.message


def _pairs(objects: Any, file: Path, line: int) -> tuple[list[tuple[tuple[float, ...], Any]], list[Fault]]:
    """Return the boxes and categories of `objects`, a table of lists or a list of tables, and faults."""
    if objects in (None, {}, []):
        return [], []
    boxes: Any = None
    categories: Any = None
    if isinstance(objects, dict):
        boxes = objects.get("bbox")
        categories = next((objects[key] for key in _CATEGORIES if key in objects), None)
    elif isinstance(objects, list) and all(isinstance(each, dict) for each in objects):
        boxes = [each.get("bbox") for each in objects]
        categories = [next((each[key] for key in _CATEGORIES if key in each), None) for each in objects]
    if not isinstance(boxes, list) or not isinstance(categories, list) or len(boxes) != len(categories):
        message = "`objects` has no lists `bbox` and `categories` of one length"
        return [], [make_fault("bad-line", message, file, line)]
    found, faults = [], []
    for index, (row, category) in enumerate(zip(boxes, categories, strict=True)):
        box = number_list(row, 4)
        if box is None:
            message = f"objects.bbox[{index}] is {shown(row)} and not four numbers"
            faults.append(make_fault("bad-box", message, file, line))
        else:
            found.append((box, category))
    return found, faults


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of numbered categories: of `classes.txt`, or of the card, in the folder.

    They may be in the one above it too if this one is a split's: else that is another data set's, perhaps.
    """
    for near in (folder, folder.parent) if folder.name.lower() in tree.SPLIT_OF else (folder,):
        try:
            text = file_bytes(near / "classes.txt", MAX_CARD_BYTES).decode("utf-8-sig", "replace")
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        except (DataError, InputMissingError):
            pass
        try:
            card = file_bytes(near / "README.md", MAX_CARD_BYTES).decode("utf-8-sig", "replace")
        except (DataError, InputMissingError):
            continue
        front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
        names = _label_names(_yaml(front[1])) if front else None
        if names:
            return names
    return ()


def _yaml(text: str) -> Any:
    try:
        return None if "&" in text else yaml.safe_load(text)  # no anchors: their copies could be of any size
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _label_names(node: Any) -> tuple[str, ...] | None:
    """Return the first `names` of a `class_label` in a card, in the order of their numbers."""
    if isinstance(node, dict):
        label = node.get("class_label")
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict):
            numbered = {str(number): name for number, name in names.items()}
            found = [numbered.get(str(number)) for number in range(len(numbered))]
            return tuple(map(str, found)) if all(map(is_text, found)) else None
        return next((found for each in node.values() if (found := _label_names(each))), None)
    if isinstance(node, list):
        return next((found for each in node if (found := _label_names(each))), None)
    return None


# ---- Folders


def files(root: Path) -> list[Path]:
    """Return the metadata files with objects, see `listed.find`."""
    return listed.find(root, (".jsonl", ".csv"), _has_objects)


def fits(root: Path) -> bool:
    """Return whether a folder, or a metadata file, has images with `objects`."""
    return listed.fits(root, (".jsonl", ".csv"), _has_objects)


def _has_objects(file: Path) -> bool:
    if file.name not in _NAMES:
        return False
    try:
        with opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except SingleshotError:
        return False
    return b"file_name" in head and b"objects" in head


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return listed.splits(root, files(root), load)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]

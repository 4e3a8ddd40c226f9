"""The class list of a folder of masks: `classes.json` or `classes.txt` → names, colours, and what pixels mean.

    classes.txt     a name a line; the line's place, from 0, is the number in the masks
    classes.json    [{"id": 0, "name": "sky", "colour": [128, 128, 128]}, …, {"id": 11, …, "evaluated": false}]

Numbers may have gaps; classes are counted from 0 in their order. What is marked as not evaluated is void: it is
neither trained on nor judged. 255 is void too, unless it is a class. Masks may hold the numbers, or the colours where
the list gives them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singleshot.errors import DataError, InputMissingError
from singleshot.storage.files import file_bytes
from singleshot.structures import UNKNOWN, VOID, LabelMap, MaskCode

NAMES = ("classes.json", "classes.txt")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class MaskClasses:
    """What a class list says.

    Args:
        label_map: the classes that are trained and judged.
        code: what numbers and colours in the masks mean.
        colours: RGB by class id; empty where the list gives none.
    """

    label_map: LabelMap
    code: MaskCode
    colours: tuple[tuple[int, int, int], ...] = ()


def find(folder: Path) -> Path | None:
    """The class list in a folder, None where there is none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read(folder: Path) -> MaskClasses:
    """The class list of a folder.

    Raises:
        InputMissingError: there is none.
        DataError: it is not in one of the two forms, or a number, name or colour occurs twice.
    """
    file = find(folder)
    if file is None:
        remedy = "Write classes.txt with a class name a line, in the order of the numbers in the masks"
        raise InputMissingError("no classes.txt or classes.json", remedy=remedy, file=folder)
    text = file_bytes(file, MAX_BYTES).decode("utf-8-sig", "replace")
    if file.suffix == ".txt":
        names = [line.strip() for line in text.splitlines()]
        while names and not names[-1]:
            names.pop()
        return from_names(names, file)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", remedy="See docs/how-to/segmentation.md", file=file) from error
    return _from_rows(rows, file)


def from_names(names: list[str], file: Path) -> MaskClasses:
    """Classes 0, 1, … of these names; `file` is named where something is wrong with them."""
    rows = [{"id": place, "name": name} for place, name in enumerate(names)]
    return _from_rows(rows, file)


def _from_rows(rows: Any, file: Path) -> MaskClasses:
    if not isinstance(rows, list) or not rows:
        raise DataError("not a list of classes", remedy="See docs/how-to/segmentation.md", file=file)
    values, names = [UNKNOWN] * 256, list[str]()
    values[VOID] = VOID
    seen = dict[int, str]()
    drawn, by_class = list[tuple[int, int, int, int]](), list[tuple[int, int, int]]()
    for place, row in enumerate(rows):
        number, name, colour, judged = _fields(row, place, file)
        if number in seen:
            what = f"id {number} is given to {seen[number]} and to {name}"
            raise DataError(what, remedy="Give every class a number of its own", file=file)
        seen[number] = name
        meaning = len(names) if judged else VOID
        values[number] = meaning
        if judged:
            names.append(name)
        if colour is not None:
            drawn.append((*colour, meaning))
            by_class += [colour] if judged else []
    if len({row[:3] for row in drawn}) != len(drawn):
        raise DataError("two classes share a colour", remedy="Give every class a colour of its own", file=file)
    try:
        label_map = LabelMap(tuple(names))
    except DataError as error:
        raise DataError(error.message, remedy=error.remedy, file=file) from error
    complete = len(by_class) == len(names)
    return MaskClasses(label_map, MaskCode(tuple(values), tuple(drawn)), tuple(by_class) if complete else ())


def _fields(row: Any, place: int, file: Path) -> tuple[int, str, tuple[int, int, int] | None, bool]:
    """Number, name, colour and whether it is judged, each of its own type."""
    what = f"entry {place} is not a class"
    remedy = 'Write for example {"id": 3, "name": "road", "colour": [128, 64, 128]}'
    if not isinstance(row, dict):
        raise DataError(what, remedy=remedy, file=file)
    number, name = row.get("id", place), row.get("name")
    colour, judged = row.get("colour", row.get("color")), row.get("evaluated", True)
    fine = type(number) is int and 0 <= number <= 255 and isinstance(name, str) and isinstance(judged, bool)
    if colour is not None:
        fine = fine and isinstance(colour, list) and len(colour) == 3
        fine = fine and all(type(each) is int and 0 <= each <= 255 for each in colour)
    if not fine:
        raise DataError(what, remedy=remedy, file=file)
    return number, str(name), None if colour is None else (colour[0], colour[1], colour[2]), judged

"""VIA (VGG Image Annotator) 1 and 2: a project or an export of annotations as JSON, or an export as CSV.

    {"a.jpg3912": {"filename": "a.jpg", "size": 3912, "file_attributes": {}, "regions": [
        {"shape_attributes": {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40},
         "region_attributes": {"type": "cat"}}]}}
    filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes
    a.jpg,3912,"{}",1,0,"{""name"":""rect"",""x"":10,…}","{""type"":""cat""}"

A project has the same table under `_via_img_metadata`; VIA 1 has `regions` as an object by number. Coordinates are
continuous pixels. Polygons, circles and ellipses become the boxes around them; points and polylines are no boxes and
are counted in a note by name. The class is the only attribute of regions, or else the one called `class`, `label`,
`type`, `name`, `object` or `category`; of a choice of check boxes, the one that is ticked. Where no region has any
attribute (one kind of object, as in the balloons of the Mask R-CNN tutorial), all are of the class `object`, with a
note.

Format: robots.ox.ac.uk/~vgg/software/via, `via.js` of versions 1.0.6 and 2.0.12.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from singleshot.data.boxes import enclosing, listed
from singleshot.data.boxes.fields import is_number, is_text, parse_json, read_json, shown
from singleshot.data.boxes.listed import Entry
from singleshot.data.boxes.records import Object
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "via"
MAX_BYTES = 2 * 2**30
ONLY_CLASS = "object"
_HEAD_BYTES = 1 << 20
_USUAL = ("class", "label", "type", "name", "object", "category")
_NO_BOXES = ("point", "polyline", "line")
_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None) -> Dataset:
    """Read one split, in the order of the file.

    Args:
        root: the folder, or the JSON or CSV file itself.
        split: `train`, `val` or `test`, as file or folder is called, or `all`.
        label_map: the classes and their order. Where None, those of all files, sorted.

    Returns:
        Samples with float64 boxes; `box_places` are indices of `regions`, or lines of the CSV file. Kinds of fault:
        `bad-field`, `bad-box`, `bad-line`, `filled-field` (a note), `assumed-classes` (a note), `missing-picture`,
        `duplicate-id`, and those of `fields.read_json`, `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file is not VIA's (`not-via`, `bad-csv`), its regions have several attributes of which none is
            called as a class is (`no-class`), or the split is empty (`empty-split`).
    """
    root = Path(root)
    return listed.read(root, split, LAYOUT, files(root), load, label_map)


class _Region(NamedTuple):
    """One region as a file has it: its two tables, its JSON path (JSON) or line (CSV), and its index or line."""

    shape: Any
    attributes: Any
    path: str
    line: int | None
    place: int


class _Image(NamedTuple):
    """One image as a file has it: its name, the place where it is named, and its regions."""

    name: str
    path: str
    line: int | None
    regions: list[_Region]


def load(file: Path) -> tuple[list[Entry], list[Fault]]:
    """Read the images of a file. Raises what `read` raises about it."""
    faults: list[Fault] = []
    images = list(_images_of_csv(file, faults) if file.suffix.lower() == ".csv" else _images_of_json(file, faults))
    attribute = _class_attribute([region for image in images for region in image.regions], file)
    if attribute is None and any(image.regions for image in images):
        message = f"no region has an attribute; all are taken for the class {ONLY_CLASS!r}"
        faults.append(make_fault("assumed-classes", message, file, remedy="Give regions an attribute if they differ"))
    entries = []
    unused: Counter[str] = Counter()
    for image in images:
        objects: list[Object] = []
        found: list[Fault] = []
        for region in image.regions:
            shape = region.shape.get("name") if isinstance(region.shape, dict) else None
            if shape in _NO_BOXES:
                unused[str(shape)] += 1
                continue
            made = _object(region, attribute, file)
            if isinstance(made, Object):
                objects.append(made)
            else:
                found.append(made)
        entries.append(Entry(image.name, objects, line=image.line, path=image.path, faults=found))
    if unused:
        names = ", ".join(f"{count} {name}" for name, count in sorted(unused.items()))
        faults.append(make_fault("filled-field", f"{names}: shapes that are no boxes, and are not read", file))
    return entries, faults


def _images_of_json(file: Path, faults: list[Fault]) -> Iterator[_Image]:
    content = read_json(file, max_bytes=MAX_BYTES)
    start = "_via_img_metadata" if isinstance(content, dict) and "_via_img_metadata" in content else ""
    table = content[start] if start else content
    if not isinstance(table, dict):
        remedy = "Export annotations of VIA 2 as JSON or CSV"
        raise DataError("not a table of VIA's images", kind="not-via", remedy=remedy, file=file)
    for key, row in table.items():
        path = f"{start}[{shown(key)}]"
        regions = row.get("regions") if isinstance(row, dict) else None
        rows = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(row, dict) or not is_text(row.get("filename")) or not isinstance(rows, list):
            faults.append(make_fault("bad-field", f"{path} is not an object with `filename` and `regions`", file))
            continue
        found = [
            _Region(
                region.get("shape_attributes") if isinstance(region, dict) else None,
                region.get("region_attributes") if isinstance(region, dict) else None,
                f"{path}.regions[{index}]",
                None,
                index,
            )
            for index, region in enumerate(rows)
        ]
        yield _Image(row["filename"], path, None, found)


def _images_of_csv(file: Path, faults: list[Fault]) -> Iterator[_Image]:
    try:
        text = file_bytes(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="not-text", remedy="Save it as UTF-8", file=file, line=1) from error
    reader = csv.reader(text.splitlines(), strict=True)
    images: dict[str, _Image] = {}
    try:
        header = _columns(next(reader, []))
        for row in reader:
            fields = dict(zip(header, row, strict=False))
            name = fields.get("filename", "").strip()
            if row and not name:
                faults.append(make_fault("bad-line", "no image is named", file, reader.line_num))
            if not name:
                continue
            line = reader.line_num
            image = images.setdefault(name, _Image(name, "", line, []))
            tables = []
            for column in _COLUMNS[1:]:
                try:
                    tables.append(parse_json(fields.get(column) or "{}", file=file))
                except DataError as error:
                    faults.append(make_fault("bad-line", f"{column} is no JSON ({error.message})", file, line))
            if len(tables) == 2 and tables[0] != {}:  # an image without regions has a line with an empty shape
                image.regions.append(_Region(tables[0], tables[1], "", line, line))
    except csv.Error as error:
        line = reader.line_num
        raise DataError(f"not CSV: {error}", kind="bad-csv", remedy="Correct it", file=file, line=line) from error
    yield from images.values()


def _columns(header: list[str]) -> list[str]:
    return [name.strip().lstrip("#").lower() for name in header]


def _class_attribute(regions: list[_Region], file: Path) -> str | None:
    """Return the attribute that is the class; None where no region has any."""
    tables = [region.attributes for region in regions if isinstance(region.attributes, dict)]
    names = list(dict.fromkeys(name for table in tables for name, value in table.items() if value not in ("", {})))
    if len(names) <= 1:
        return names[0] if names else None
    found = next((name for usual in _USUAL for name in names if name.strip().lower() == usual), None)
    if found is None:
        message = f"regions have the attributes {', '.join(map(repr, names[:8]))}, and none is called as a class is"
        remedy = f"Call the class {' or '.join(_USUAL[:3])}"
        raise DataError(message, kind="no-class", remedy=remedy, file=file)
    return found


def _object(region: _Region, attribute: str | None, file: Path) -> Object | Fault:
    """Return the object of a region, or what is wrong with it."""
    where = region.path or "the region"
    if not isinstance(region.shape, dict) or not isinstance(region.attributes, dict):
        message = f"{where} has no shape_attributes and region_attributes"
        return make_fault("bad-field", message, file, region.line)
    box = _box(region.shape)
    if box is None:
        message = f"{where} is {shown(region.shape)}, which is no shape that is known"
        return make_fault("bad-box", message, file, region.line, remedy="Draw it anew or delete it")
    name = ONLY_CLASS if attribute is None else region.attributes.get(attribute)
    if isinstance(name, dict):  # check boxes
        ticked = [key for key, value in name.items() if value is True]
        name = ticked[0] if len(ticked) == 1 else None
    if not is_text(name):
        message = f"{where}: {attribute} is {shown(region.attributes.get(str(attribute)))}, which is no class"
        return make_fault("bad-field", message, file, region.line, remedy="Give it its class")
    is_outline = region.shape.get("name") != "rect"
    return Object(str(name), box, region.place, path=region.path, outline=is_outline)


def _box(shape: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Return the box around a shape; None for one that is not known or lacks a number."""

    def numbers(*names: str) -> list[float] | None:
        values = [shape.get(name) for name in names]
        return [float(value) for value in values if is_number(value)] if all(map(is_number, values)) else None

    match shape.get("name"):
        case "rect":
            found = numbers("x", "y", "width", "height")
            return None if found is None else (found[0], found[1], found[0] + found[2], found[1] + found[3])
        case "circle":
            found = numbers("cx", "cy", "r")
            return None if found is None else enclosing.of_ellipse(found[0], found[1], found[2], found[2])
        case "ellipse":
            found = numbers("cx", "cy", "rx", "ry")
            angle = shape.get("theta", 0)  # in radians, of VIA 2
            if found is None or not is_number(angle):
                return None
            return enclosing.of_ellipse(found[0], found[1], found[2], found[3], math.degrees(angle))
        case "polygon" | "polyline":
            xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
            if not isinstance(xs, list) or not isinstance(ys, list) or not 3 <= len(xs) == len(ys):
                return None
            if not all(map(is_number, [*xs, *ys])):
                return None
            return enclosing.of_points([float(x) for x in xs], [float(y) for y in ys])
    return None


# ---- Folders


def files(root: Path) -> list[Path]:
    """Return the JSON and CSV files of VIA, see `listed.find`."""
    return listed.find(root, (".json", ".csv"), _is_via)


def fits(root: Path) -> bool:
    """Return whether a folder, or a file, is an export of VIA."""
    return listed.fits(root, (".json", ".csv"), _is_via)


def _is_via(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except SingleshotError:
        return False
    if file.suffix.lower() == ".csv":
        first = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip().split(",")
        return set(_COLUMNS) <= set(_columns(first))
    is_table = head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{")
    return is_table and (b'"_via_img_metadata"' in head or (b'"regions"' in head and b'"filename"' in head))


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return listed.splits(root, files(root), load)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]

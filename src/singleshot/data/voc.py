"""Pascal VOC: `Annotations/*.xml`, `ImageSets/Main/<split>.txt` and `JPEGImages/*` → a `Dataset`.

Only ids are believed. The picture of id X is `JPEGImages/X.<extension>` whatever the XML's `filename`, `folder` and
`path` say, for these hold the annotator's own folders in most real sets. Corners, 1-based and inclusive in VOC, become
continuous edges (x1 − 1, y1 − 1, x2, y2) here and nowhere else. A box that cannot be right never reaches a sample:
it is left out and named, with file and line, in `Dataset.faults`.

Layout and meaning: the VOC2007/2012 development kits (`VOCinit.m`, `PASreadrecord.m`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot import pictures
from singleshot.boxes import clip
from singleshot.data import voc_xml
from singleshot.data.voc_xml import AnnotatedObject, Annotation
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError, SingleshotError
from singleshot.structures import Dataset, LabelMap, Sample

PICTURE_FOLDER, ANNOTATION_FOLDER, SPLIT_FOLDER = "JPEGImages", "Annotations", "ImageSets/Main"
PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_SPLIT_BYTES = 64 * 2**20
SHOWN_NAMES = 20
_SECOND_COLUMN = re.compile(r"(.*\S)\s+(?:-1|0|1)")


@dataclass(frozen=True)
class _Record:
    """A picture of the split, before class names have become ids."""

    image_id: str
    image_path: Path
    annotation_path: Path | None
    annotation: Annotation


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, annotated: bool = True) -> Dataset:
    """One split of a Pascal VOC folder, in the order of its list.

    Args:
        root: the folder that holds `Annotations`, `ImageSets` and `JPEGImages`, or one (a `VOCdevkit`) in which
            exactly one such folder lies.
        split: the name of a list in `ImageSets/Main`. The second column of per-class lists (−1, 0, 1) is ignored.
        label_map: the classes and their order. Where None, they are those of *all* annotations in the folder, sorted,
            so that every split gives the same ids.
        annotated: False for a test set whose annotations are kept by a server: samples without boxes, and the label
            map as given or empty.

    Returns:
        Samples with float64 boxes and the size as annotated (the picture's own where the annotation has none; None
        where there is no annotation). A picture without objects is a sample with no boxes. A picture that is missing,
        has no annotation, or an annotation that cannot be read, is in `faults` only. The kinds of fault are
        `missing-picture`, `missing-annotation`, `duplicate-id`, `zero-size-box`, `inverted-box`, `outside-box`
        (dropped, a warning), `clipped-box` (kept, a warning), `unknown-class`, and those of `voc_xml` and `pictures`.

    Raises:
        InputMissingError: no such folder, layout or split.
        DataError: the split is empty (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    folder = _find_folder(root, annotated)
    split_file = _split_file(folder, split)
    records, faults = _records(folder, split_file, annotated)
    if label_map is None:
        every = _every_annotation(folder, records, faults) if annotated else ()
        names = {item.name for annotation in every for item in annotation.objects}
        label_map = LabelMap(tuple(sorted(name for name in names if name == name.strip())))
    samples = []
    for record in records:
        try:
            samples.append(_sample(record, label_map, faults))
        except DataError as error:  # the size had to be read from the picture, which is broken
            faults.append(error.as_fault())
    return Dataset(root, "voc", split, label_map, tuple(samples), tuple(faults))


def _find_folder(root: Path, annotated: bool) -> Path:
    needed = [PICTURE_FOLDER, SPLIT_FOLDER, *([ANNOTATION_FOLDER] if annotated else [])]

    def missing(folder: Path) -> list[str]:
        return [name for name in needed if not (folder / name).is_dir()]

    try:
        if not root.is_dir():
            raise InputMissingError("no such folder", remedy="Name a folder in Pascal VOC layout", file=root)
        lacks = missing(root)
        if not lacks:
            return root
        inner = sorted(path for path in [*root.iterdir(), *root.glob("VOCdevkit/*")] if not missing(path))
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=root) from error
    if len(inner) == 1:
        return inner[0]
    if inner:
        names = ", ".join(path.name for path in inner)
        raise InputMissingError("several Pascal VOC folders inside", remedy=f"Name one of them: {names}", file=root)
    raise InputMissingError(
        f"not a Pascal VOC folder: {' and '.join(f'{name}/' for name in lacks)} missing",
        remedy=f"A VOC folder holds {', '.join(f'{name}/' for name in needed)}{_nearest(root, missing)}",
        file=root,
    )


def _nearest(root: Path, missing: Callable[[Path], list[str]]) -> str:
    """Where a VOC folder lies nearby: the parent, for a user who named `Annotations` itself."""
    parent = root.resolve().parent
    return "" if missing(parent) else f"; {parent} is one"


def _split_file(folder: Path, split: str) -> Path:
    lists = {path.stem: path for path in _listed(folder / SPLIT_FOLDER) if path.suffix == ".txt"}
    if split not in lists:
        # Per-class lists (cat_train) come last: nobody who mistypes a split means one of those.
        names = sorted(lists, key=lambda name: ("_" in name, name))
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        there = f"There are: {', '.join(names[:SHOWN_NAMES])}{more}" if names else "There is none"
        raise InputMissingError(f"no split {split!r}", remedy=there, file=folder / SPLIT_FOLDER)
    return lists[split]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=folder) from error


def _by_stem(paths: Iterable[Path], extensions: tuple[str, ...]) -> dict[str, Path]:
    """File by id; of several pictures with one id, the one whose extension is listed first."""
    found = [path for path in paths if path.suffix.lower() in extensions]
    found.sort(key=lambda path: extensions.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in found}


def _records(folder: Path, split_file: Path, annotated: bool) -> tuple[list[_Record], list[Fault]]:
    """What the split names and the folder holds; the rest as faults of the list's lines."""
    images = _by_stem(_listed(folder / PICTURE_FOLDER), PICTURE_EXTENSIONS)
    annotations = _by_stem(_listed(folder / ANNOTATION_FOLDER), (".xml",)) if annotated else {}
    records: list[_Record] = []
    faults: list[Fault] = []
    first_lines: dict[str, int] = {}
    for line, image_id in _ids(split_file, images):
        if image_id in first_lines:
            what = f"{image_id} is already in line {first_lines[image_id]}; it is used once. Delete this line."
            faults.append(Fault(split_file, line, "duplicate-id", "warning", what))
            continue
        first_lines[image_id] = line
        if image_id not in images:
            what = f"picture {image_id} not found in {PICTURE_FOLDER}. Add it or delete this line."
            faults.append(Fault(split_file, line, "missing-picture", "fatal", what))
        elif not annotated:
            records.append(_Record(image_id, images[image_id], None, Annotation(None, (), ())))
        elif image_id not in annotations:
            what = f"{image_id} has no {ANNOTATION_FOLDER}/{image_id}.xml; it is left out. Annotate it."
            faults.append(Fault(split_file, line, "missing-annotation", "warning", what))
        else:
            path = annotations[image_id]
            try:
                annotation = voc_xml.read(path)
            except DataError as error:
                faults.append(error.as_fault())
                continue
            faults += annotation.faults
            records.append(_Record(image_id, images[image_id], path, annotation))
    if not first_lines:
        raise DataError("0 pictures in the split", kind="empty-split", remedy="List one id a line", file=split_file)
    return records, faults


def _ids(split_file: Path, images: dict[str, Path]) -> Iterable[tuple[int, str]]:
    """The list's ids with their 1-based lines. An id may hold spaces if a picture bears it."""
    try:
        data = pictures.file_bytes(split_file, MAX_SPLIT_BYTES)
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


def _every_annotation(folder: Path, records: list[_Record], faults: list[Fault]) -> Iterable[Annotation]:
    """All annotations of the folder, each parsed once; one outside the split that cannot be read is a warning."""
    known = {record.annotation_path: record.annotation for record in records}
    named = {fault.file for fault in faults}
    for path in _by_stem(_listed(folder / ANNOTATION_FOLDER), (".xml",)).values():
        if path in known:
            yield known[path]
        elif path not in named:
            try:
                yield voc_xml.read(path)
            except SingleshotError as error:
                what = f"{error.what}; it is not in this split, but its classes are not known either."
                faults.append(Fault(path, error.line, getattr(error, "kind", "bad-data"), "warning", what))


def _sample(record: _Record, label_map: LabelMap, faults: list[Fault]) -> Sample:
    """The sample of a record; faults of its boxes are added to `faults`."""
    size_hw = record.annotation.size_hw
    if size_hw is None and record.annotation_path is not None:
        size_hw = pictures.size_hw(record.image_path)
    boxes, class_ids, difficult = [], [], []
    ids = {name: class_id for class_id, name in enumerate(label_map.names)}
    file = record.annotation_path or record.image_path
    for item in record.annotation.objects:
        fault = _fault_of(item, file, size_hw or (0, 0), label_map)
        if fault is not None:
            faults.append(fault)
        if fault is None or fault.kind == "clipped-box":
            xmin, ymin, xmax, ymax = item.corners
            boxes.append((xmin - 1, ymin - 1, xmax, ymax))
            class_ids.append(ids[item.name])
            difficult.append(item.difficult)
    boxes_xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    return Sample(
        record.image_id,
        record.image_path,
        size_hw,
        clip(boxes_xyxy, size_hw) if size_hw is not None else boxes_xyxy,
        np.array(class_ids, np.int64),
        np.array(difficult, np.bool_),
    )


def _fault_of(item: AnnotatedObject, file: Path, size_hw: tuple[int, int], label_map: LabelMap) -> Fault | None:
    """The first fault of an object: its class, then its box."""
    xmin, ymin, xmax, ymax = item.corners
    height, width = size_hw
    box = f"box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}) of class {item.name!r}"
    if item.name != item.name.strip():
        what = f"class {item.name!r} has a space at its edge. Delete the space."
        return Fault(file, item.name_line, "unknown-class", "fatal", what)
    if item.name not in label_map.names:
        what = f"class {item.name!r} is unknown. {_suggestion(item.name, label_map.names)}"
        return Fault(file, item.name_line, "unknown-class", "fatal", what)
    if xmax < xmin or ymax < ymin:
        what = f"{box} is inverted: its second corner lies before its first. Swap them or delete the object."
        return Fault(file, item.box_line, "inverted-box", "fatal", what)
    if xmax == xmin or ymax == ymin:
        sides = " and ".join(side for side, zero in (("width", xmax == xmin), ("height", ymax == ymin)) if zero)
        what = f"{box} has zero {sides}. Draw it anew or delete the object."
        return Fault(file, item.box_line, "zero-size-box", "fatal", what)
    if xmin - 1 >= width or ymin - 1 >= height or xmax <= 0 or ymax <= 0:
        what = f"{box} lies outside the {width}×{height} picture; it is left out. Correct or delete it."
        return Fault(file, item.box_line, "outside-box", "warning", what)
    if xmin < 1 or ymin < 1 or xmax > width or ymax > height:
        what = f"{box} reaches over the edge of the {width}×{height} picture; it is clipped."
        return Fault(file, item.box_line, "clipped-box", "warning", what)
    return None


def _suggestion(name: str, names: tuple[str, ...]) -> str:
    by_case = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    if near:
        return f"Near: {by_case[near[0]]}."
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"The classes are: {', '.join(names[:SHOWN_NAMES])}{more}."

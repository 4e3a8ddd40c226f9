"""Pascal VOC: `Annotations/*.xml`, `ImageSets/Main/<split>.txt` and `JPEGImages/*` → a `Dataset`.

Only ids are believed. The picture of id X is `JPEGImages/X.<extension>` whatever the XML's `filename`, `folder` and
`path` say, for these hold the annotator's own folders in most real sets. Corners, 1-based and inclusive in VOC, become
continuous edges (x1 − 1, y1 − 1, x2, y2) here and nowhere else. A box that cannot be right never reaches a sample:
it is left out and named, with file and line, in `Dataset.faults`.

Layout and meaning: the VOC2007/2012 development kits (`VOCinit.m`, `PASreadrecord.m`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.boxes import clip
from singleshot.data.boxes import class_list, voc_folder, voc_objects, voc_xml
from singleshot.data.boxes.voc_folder import ANNOTATION_FOLDER, PICTURE_FOLDER
from singleshot.data.boxes.voc_xml import Annotation
from singleshot.errors import DataError, Fault, NotPermittedError, SingleshotError
from singleshot.images import IMAGE_SUFFIXES, read_size_hw
from singleshot.structures import Dataset, LabelMap, Sample


@dataclass(frozen=True)
class _Record:
    """A picture of the split, before class names have become ids."""

    image_id: str
    image_path: Path
    annotation_path: Path | None
    annotation: Annotation


def read(
    root: Path | str,
    split: str,
    *,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
) -> Dataset:
    """One split of a Pascal VOC folder, in the order of its list.

    Args:
        root: the folder that holds `Annotations`, `ImageSets` and `JPEGImages`, or one (a `VOCdevkit`) in which
            exactly one such folder lies.
        split: the name of a list in `ImageSets/Main`. The second column of per-class lists (−1, 0, 1) is ignored.
        label_map: the classes and their order. Where None, they are those of *all* annotations in the folder, sorted,
            so that every split gives the same ids.
        annotated: False for a test set whose annotations are kept by a server: samples without boxes, and the label
            map as given or empty.
        allow_unlabelled: take a picture that has no annotation for one without objects; else it is left out.
        fix_boxes: swap the corners of an inverted box and use it; else it is left out.

    Returns:
        Samples with float64 boxes and the size as annotated (the picture's own where the annotation has none; None
        where there is no annotation). A picture without objects is a sample with no boxes. A picture that is missing,
        has no annotation, or an annotation that cannot be read, is in `faults` only. The kinds of fault are
        `missing-picture`, `missing-annotation` (a warning; where it is allowed, the note `unlabelled`),
        `duplicate-id`, `swapped-box` (a warning), and those of
        `voc_folder.listing`, `voc_objects`, `voc_xml` and `pictures`.

    Raises:
        InputMissingError: no such folder, layout or split.
        DataError: the split is empty (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    folder = voc_folder.find_folder(root, annotated)
    split_file = voc_folder.split_file(folder, split)
    records, faults = _records(folder, split_file, annotated, allow_unlabelled)
    if label_map is None:
        every = _every_annotation(folder, records, faults) if annotated else ()
        files_of: dict[str, list[tuple[Path, int | None]]] = {}
        for file, annotation in every:
            for name, line in {item.name: item.name_line for item in reversed(annotation.objects)}.items():
                files_of.setdefault(name, []).append((file, line))
        label_map = LabelMap(tuple(sorted(name for name in files_of if name == name.strip())))
        faults += class_list.variant_faults(label_map.names, folder / ANNOTATION_FOLDER)
        faults += class_list.single_file_faults(files_of)
    samples = []
    for record in records:
        try:
            samples.append(_sample(record, label_map, faults, fix_boxes))
        except DataError as error:  # the size had to be read from the picture, which is broken
            faults.append(error.as_fault())
    return Dataset(root, "voc", split, label_map, tuple(samples), tuple(faults))


def _records(
    folder: Path, split_file: Path, annotated: bool, allow_unlabelled: bool
) -> tuple[list[_Record], list[Fault]]:
    """What the split names and the folder holds; the rest as faults of the list's lines."""
    listing = voc_folder.listing(folder, PICTURE_FOLDER)
    images = voc_folder.by_stem(listing.files, IMAGE_SUFFIXES)
    annotations = _annotation_files(folder) if annotated else {}
    records: list[_Record] = []
    faults = [*listing.faults, *voc_folder.covered(listing.files, images, IMAGE_SUFFIXES)]
    if annotated:
        faults += voc_folder.listing(folder, ANNOTATION_FOLDER).faults
    first_lines: dict[str, int | None] = {}
    closed: list[Path] = []
    for line, image_id in voc_folder.ids_in(split_file, images):
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
            what = f"{image_id} has no {ANNOTATION_FOLDER}/{image_id}.xml; it is "
            if allow_unlabelled:
                faults.append(Fault(split_file, line, "unlabelled", "note", f"{what}taken for background."))
                records.append(_Record(image_id, images[image_id], None, Annotation(None, (), ())))
            else:
                what += "left out. Annotate it, or use --allow-unlabelled."
                faults.append(Fault(split_file, line, "missing-annotation", "warning", what))
        else:
            path = annotations[image_id]
            try:
                annotation = voc_xml.read(path)
            except DataError as error:
                faults.append(error.as_fault())
                continue
            except NotPermittedError:
                closed.append(path)
                continue
            faults += annotation.faults
            records.append(_Record(image_id, images[image_id], path, annotation))
    if closed:
        more = f", nor may {len(closed) - 1} others" if len(closed) > 1 else ""
        raise NotPermittedError(f"may not be read{more}", remedy="Change the permissions", file=closed[0])
    if not first_lines:
        raise DataError("0 pictures in the split", kind="empty-split", remedy="List one id a line", file=split_file)
    return records, faults


def _annotation_files(folder: Path) -> dict[str, Path]:
    return voc_folder.by_stem(voc_folder.listing(folder, ANNOTATION_FOLDER).files, (".xml",))


def _every_annotation(folder: Path, records: list[_Record], faults: list[Fault]) -> Iterable[tuple[Path, Annotation]]:
    """All annotations of the folder, each parsed once; one outside the split that cannot be read is a warning."""
    known = {record.annotation_path: record.annotation for record in records}
    named = {fault.file for fault in faults}
    for path in _annotation_files(folder).values():
        if path in known:
            yield path, known[path]
        elif path not in named:
            try:
                yield path, voc_xml.read(path)
            except SingleshotError as error:
                what = f"{error.message}; it is not in this split, but its classes are not known either."
                faults.append(Fault(path, error.line, getattr(error, "kind", "bad-data"), "warning", what))


def _sample(record: _Record, label_map: LabelMap, faults: list[Fault], fix_boxes: bool) -> Sample:
    """The sample of a record; faults of its boxes are added to `faults`."""
    size_hw = record.annotation.size_hw
    if size_hw is None and record.annotation_path is not None:
        size_hw = read_size_hw(record.image_path)
    boxes, class_ids, difficult = [], [], []
    ids = {name: class_id for class_id, name in enumerate(label_map.names)}
    file = record.annotation_path or record.image_path
    for item in record.annotation.objects:
        if fix_boxes and voc_objects.is_inverted(item):
            faults.append(voc_objects.swapped(item, file))
            item = voc_objects.upright(item)
        fault = voc_objects.fault_of(item, file, size_hw or (0, 0), label_map.names)
        if fault is not None:
            faults.append(fault)
        if fault is None or fault.kind in voc_objects.KEPT:
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

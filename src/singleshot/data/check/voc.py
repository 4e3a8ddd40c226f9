"""The audit of a Pascal VOC folder: all lists, all annotations and all pictures, listed or not.

What the reader would say of one split is said here of the whole folder, by the same rules (`voc_xml`, `voc_objects`,
`voc_folder`), and joined with what only the pixels tell: a size tag that lies, a rotation, the same file twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from singleshot.boxes import clip
from singleshot.data.boxes import class_list, voc_folder, voc_objects, voc_xml
from singleshot.data.boxes.voc_folder import ANNOTATION_FOLDER, PICTURE_FOLDER, SPLIT_FOLDER
from singleshot.data.boxes.voc_xml import AnnotatedObject, Annotation
from singleshot.data.check import boxes, images, leaks
from singleshot.data.check import processes as audit_processes
from singleshot.data.check.boxes import BoxPlace
from singleshot.data.check.images import PictureReport
from singleshot.data.check.leaks import Place
from singleshot.data.check.report import Audit, in_order
from singleshot.errors import Fault, SingleshotError
from singleshot.images import IMAGE_SUFFIXES


@dataclass
class _Folder:
    """What lies in the folder, and what is found out about it as the audit goes on."""

    root: Path
    pictures: dict[str, Path]
    annotations: dict[str, Path]
    lists: dict[str, Path]
    faults: list[Fault] = field(default_factory=list)


def audit(
    root: Path,
    *,
    split: str | None = None,
    classes: tuple[str, ...] | None = None,
    allow_unlabelled: bool = False,
    processes: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Everything that is wrong with a VOC folder.

    Args:
        root: as for `voc.read`.
        split: look at the pictures and annotations of one list alone; None for everything that is there.
        classes: the classes that there may be; None for those that the annotations name.
        allow_unlabelled: a picture without annotation is background, and nothing is said of it.
        processes: how many decode pictures; 0 for this one.
        progress: called with the pictures done so far and their number.

    Raises:
        InputMissingError: no such folder, layout or split.
        NotPermittedError: a folder may not be listed.
        StoppedError: the processes cannot be started.
    """
    folder = _look(voc_folder.find_folder(root, annotated=True))
    if split is not None:
        folder.lists = {split: voc_folder.split_file(folder.root, split)}
    splits = dict(_splits(folder, allow_unlabelled))
    if split is not None:
        wanted = {place.picture.stem for place in splits.get(split, [])}
        folder.pictures = {stem: path for stem, path in folder.pictures.items() if stem in wanted}
    paths = list(folder.pictures.values())
    running = audit_processes.reports(paths, processes=processes)  # the children start while annotations are read
    annotations = _annotations(folder)
    names = tuple(sorted({item.name for each in annotations.values() for item in each.objects if _is_clean(item.name)}))
    folder.faults += class_list.variant_faults(names, folder.root / ANNOTATION_FOLDER)
    folder.faults += class_list.single_file_faults(_files_of(folder, annotations))
    if split is not None:
        annotations = {stem: each for stem, each in annotations.items() if stem in folder.pictures}
    reports = _reports(folder, running, progress)
    for stem, annotation in annotations.items():
        folder.faults += annotation.faults
        folder.faults += _annotation_faults(folder.annotations[stem], annotation, reports.get(stem), classes or names)
    folder.faults += leaks.in_two_splits(splits)
    digests = {report.path: report.digest for report in reports.values()}
    folder.faults += leaks.same_bytes(digests, splits)
    if split is None:
        folder.faults += _unlisted(folder, splits)
    objects = sum(len(annotation.objects) for annotation in annotations.values())
    return Audit("voc", len(paths), objects, classes or names, in_order(folder.faults))


def _is_clean(name: str) -> bool:
    return name == name.strip()


def _look(root: Path) -> _Folder:
    pictures, annotations, lists = (
        voc_folder.listing(root, name) for name in (PICTURE_FOLDER, ANNOTATION_FOLDER, SPLIT_FOLDER)
    )
    found = _Folder(
        root,
        voc_folder.by_stem(pictures.files, IMAGE_SUFFIXES),
        voc_folder.by_stem(annotations.files, (".xml",)),
        {path.stem: path for path in lists.files if path.suffix == ".txt"},
        [*pictures.faults, *annotations.faults, *lists.faults],
    )
    found.faults += voc_folder.covered(pictures.files, found.pictures, IMAGE_SUFFIXES)
    for path in pictures.files:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            what = "no picture by its name, and not read. Rename it if it is one; else delete it."
            found.faults.append(Fault(path, None, "stranger-file", "note", what))
    return found


def _splits(folder: _Folder, allow_unlabelled: bool) -> Iterator[tuple[str, list[Place]]]:
    """What each list names; faults of its lines go to the folder's."""
    for split, file in sorted(folder.lists.items()):
        first_lines: dict[str, int | None] = {}
        places: list[Place] = []
        try:
            for line, image_id in voc_folder.ids_in(file, folder.pictures):
                fault = _line_fault(folder, file, line, image_id, first_lines, allow_unlabelled)
                # Lists of one class (cat_train) repeat what the whole list says.
                if fault is not None and not (split.count("_") and split.rpartition("_")[2] in folder.lists):
                    folder.faults.append(fault)
                if image_id in folder.pictures and first_lines.setdefault(image_id, line) == line:
                    places.append(Place(folder.pictures[image_id], file, line))
                first_lines.setdefault(image_id, line)
        except SingleshotError as error:
            folder.faults.append(images.fault_of(error, file))
            continue
        if not first_lines:
            what = "0 pictures in the split. List one id a line, or delete the list."
            folder.faults.append(Fault(file, None, "empty-split", "fatal", what))
        yield split, places


def _line_fault(
    folder: _Folder,
    file: Path,
    line: int | None,
    image_id: str,
    first_lines: dict[str, int | None],
    allow_unlabelled: bool,
) -> Fault | None:
    if image_id in first_lines:
        what = f"{image_id} is already in line {first_lines[image_id]}; it is used once. Delete this line."
        return Fault(file, line, "duplicate-id", "warning", what)
    if image_id not in folder.pictures:
        what = f"picture {image_id} not found in {PICTURE_FOLDER}. Add it or delete this line."
        return Fault(file, line, "missing-picture", "fatal", what)
    if image_id not in folder.annotations and not allow_unlabelled:
        what = f"{image_id} has no {ANNOTATION_FOLDER}/{image_id}.xml. Annotate it, or use --allow-unlabelled."
        return Fault(file, line, "missing-annotation", "warning", what)
    return None


def _annotations(folder: _Folder) -> dict[str, Annotation]:
    """Every annotation that can be read, by its id; faults of the others go to the folder's."""
    found = {}
    for stem, path in folder.annotations.items():
        try:
            found[stem] = voc_xml.read(path)
        except SingleshotError as error:
            folder.faults.append(images.fault_of(error, path))
    return found


def _files_of(folder: _Folder, annotations: dict[str, Annotation]) -> dict[str, list[tuple[Path, int | None]]]:
    files: dict[str, dict[Path, int | None]] = {}
    for stem, annotation in annotations.items():
        for item in annotation.objects:
            files.setdefault(item.name, {}).setdefault(folder.annotations[stem], item.name_line)
    return {name: list(places.items()) for name, places in files.items()}


def _reports(
    folder: _Folder, running: Iterable[PictureReport], progress: Callable[[int, int], None] | None
) -> dict[str, PictureReport]:
    reports = {}
    for report in running:
        reports[report.path.stem] = report
        folder.faults += report.faults
        if progress is not None:
            progress(len(reports), len(folder.pictures))
    return reports


def _annotation_faults(
    file: Path, annotation: Annotation, report: PictureReport | None, names: tuple[str, ...]
) -> Iterator[Fault]:
    """What is wrong with the size and the boxes of one annotation."""
    known_hw = annotation.size_hw or (report.size_hw if report else None)
    size_hw = known_hw or (2**30, 2**30)  # nothing lies outside of it
    if annotation.size_hw is not None and report is not None:
        fault = images.size_fault(report, annotation.size_hw, file, annotation.size_line)
        if fault is not None:
            yield fault
            size_hw = report.size_hw or size_hw  # one lie is not to be told again by every box
    kept: list[AnnotatedObject] = []
    for item in annotation.objects:
        fault = voc_objects.fault_of(item, file, size_hw, names)
        if fault is not None:
            yield fault
        if fault is None or fault.kind in voc_objects.KEPT:
            kept.append(item)
    if not kept:
        return
    corners = np.array([item.corners for item in kept], np.float64)
    boxes_xyxy = clip(corners - (1, 1, 0, 0), size_hw)
    places = [BoxPlace(file, item.box_line, voc_objects.shown(item)) for item in kept]
    class_ids = np.array([names.index(item.name) for item in kept], np.int64)
    yield from boxes.repeated(boxes_xyxy, class_ids, places)
    if known_hw is not None:
        yield from boxes.tiny(boxes_xyxy, size_hw, places)
    if all(item.difficult for item in kept):
        what = "all objects are difficult: nothing is learned from this picture, and nothing in it is judged."
        yield Fault(file, kept[0].name_line, "all-difficult", "note", what)


def _unlisted(folder: _Folder, splits: dict[str, list[Place]]) -> Iterator[Fault]:
    listed = {place.picture for places in splits.values() for place in places}
    for path in folder.pictures.values():
        if path not in listed:
            what = f"is in no list of {SPLIT_FOLDER} and never used. Add {path.stem} to one, or delete it."
            yield Fault(path, None, "unlisted-picture", "note", what)
    for stem, path in folder.annotations.items():
        if stem not in folder.pictures:
            what = f"has no picture {stem} in {PICTURE_FOLDER}. Add it, or delete the annotation."
            yield Fault(path, None, "annotation-without-picture", "warning", what)

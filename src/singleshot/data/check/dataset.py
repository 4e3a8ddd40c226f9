"""The audit of what a reader has read: for every layout whose reader names the faults of its own files.

The reader's faults are taken as they are, split by split, and joined with what only the pixels tell: pictures and
masks that do not decode, sizes that lie, boxes that repeat one another, pictures in two splits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from singleshot.data.boxes.box_rules import LEFT_OUT
from singleshot.data.check import boxes, images, leaks
from singleshot.data.check import masks as audit_masks
from singleshot.data.check import processes as audit_processes
from singleshot.data.check.boxes import BoxPlace
from singleshot.data.check.images import PictureReport
from singleshot.data.check.report import Audit, in_order
from singleshot.errors import Fault
from singleshot.structures import Dataset, MaskCode, Sample

Progress = Callable[[int, int], None]


def audit(datasets: Sequence[Dataset], *, processes: int = 0, progress: Progress | None = None) -> Audit:
    """Everything that is wrong with the splits of one data set.

    Args:
        datasets: its splits, at least one, all of one layout.
        processes: how many decode pictures; 0 for this one.
        progress: called with the files done so far and their number.

    Raises:
        StoppedError: the processes cannot be started.
    """
    samples = {sample.image_path: sample for dataset in datasets for sample in dataset.samples}
    masks = {sample.mask_path: sample for sample in samples.values() if sample.mask_path is not None}
    code = next((dataset.mask_code for dataset in datasets if dataset.mask_code is not None), None)
    total = len(samples) + len(masks)
    faults = [fault for dataset in datasets for fault in dataset.faults]
    digests: dict[Path, bytes] = {}
    for done, report in enumerate(_reports(list(samples), list(masks), code, processes), start=1):
        if progress is not None:
            progress(done, total)
        faults += report.faults
        if report.path in samples:
            digests[report.path] = report.digest
            faults += _of_picture(samples[report.path], report)
    for dataset in datasets:
        for sample in dataset.samples:
            faults += _of_boxes(sample, dataset)
    splits = {dataset.split: leaks.places_of(dataset.samples) for dataset in datasets}
    faults += leaks.in_two_splits(splits)
    faults += leaks.same_bytes(digests, splits)
    objects = sum(len(sample.boxes_xyxy) for sample in samples.values())
    objects += sum(fault.kind in LEFT_OUT for dataset in datasets for fault in dict.fromkeys(dataset.faults))
    names = dict.fromkeys(name for dataset in datasets for name in dataset.label_map.names)
    return Audit(datasets[0].layout, len(samples), objects, tuple(names), in_order(faults))


def _reports(pictures: list[Path], masks: list[Path], code: MaskCode | None, processes: int) -> Iterator[PictureReport]:
    yield from audit_processes.reports(pictures, processes=processes)
    if code is not None:
        work = functools.partial(audit_masks.report, code=code)
        yield from audit_processes.reports(masks, processes=processes, work=work)


def _of_picture(sample: Sample, report: PictureReport) -> Iterator[Fault]:
    if sample.size_hw is None:
        return
    fault = images.size_fault(report, sample.size_hw, sample.image_path, None)
    if fault is not None:
        yield fault


def _of_boxes(sample: Sample, dataset: Dataset) -> Iterable[Fault]:
    if not len(sample.boxes_xyxy):
        return []
    places = _places(sample, dataset)
    found = list(boxes.repeated(sample.boxes_xyxy, sample.class_ids, places))
    if sample.size_hw is not None:
        found += boxes.tiny(sample.boxes_xyxy, sample.size_hw, places)
    return found


def _places(sample: Sample, dataset: Dataset) -> list[BoxPlace]:
    """Where each box stands: file and line, file and JSON path, or the picture where the reader says neither."""
    names = dataset.label_map.names
    numbers = [None] * len(sample.boxes_xyxy) if sample.box_places is None else sample.box_places.tolist()
    in_json = dataset.layout == "coco"
    places = []
    for box, class_id, number in zip(sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), numbers, strict=True):
        shown = f"box ({', '.join(f'{edge:g}' for edge in box)}) of class {names[class_id]!r}"
        if in_json and number is not None:
            shown = f"annotations[{number}].bbox: {shown}"
        line = None if in_json else number
        places.append(BoxPlace(sample.annotation_path or sample.image_path, line, shown))
    return places

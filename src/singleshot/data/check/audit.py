"""Everything that is wrong with a data set: each fault with file, line and kind, before an hour of training finds it.

The audit takes the faults that the readers report and adds what only all splits together, or the pixels, show: images
that do not decode to their last byte (a JPEG cut in half is an image to most decoders), sizes that differ from the
annotated ones, boxes that repeat one another, images in two splits. Of VOC it covers the whole folder: all lists, and
images and annotations that no list names. Nothing is written to the data folder. What is unusual but clean (grey
images, fractional corners, images without objects) gives no warning.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.data import class_choice, read, split_file
from singleshot.data.boxes import coco, voc
from singleshot.data.boxes.check_box import LEFT_OUT
from singleshot.data.boxes.voc_xml import Annotation
from singleshot.data.check import boxes, duplicates, objects
from singleshot.data.check.boxes import BoxPlace
from singleshot.data.check.duplicates import Place
from singleshot.data.check.images import ImageReport, fault_of, reports, size_fault
from singleshot.data.class_choice import ClassChoice
from singleshot.data.faults import make_fault
from singleshot.data.folders import unread
from singleshot.data.masks import files as mask_files
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, Fault, InputMissingError, SingleshotError, UsageError, sentence
from singleshot.images import IMAGE_SUFFIXES
from singleshot.structures import VOID, Dataset, LabelMap, MaskCode, Sample

JSON_PATHS = {
    "coco": "annotations[{}].bbox",
    "labelme": "shapes[{}]",
    "label_studio": "result[{}] of {image}",
    "via": "regions[{}] of {image}",
}
"""By layout: where a box stands in its JSON file."""
SEVERITIES = ("fatal", "warning", "note")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Audit:
    """The result for one data set.

    Args:
        format: the layout that it was taken for, such as `voc`.
        images: how many images it has, broken ones too.
        objects: how many annotated objects could be read, those with a faulty box too.
        classes: their names, sorted or in the order of the data set's own list.
        faults: what is wrong, in the order of files and lines.
    """

    format: str
    images: int
    objects: int
    classes: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def is_fatal(self) -> bool:
        """Whether training would refuse the data."""
        return any(fault.severity == "fatal" for fault in self.faults)

    def counts(self) -> list[tuple[str, str, int]]:
        """Return (kind, severity, count), the fatal ones first, then by count; [] for clean data."""
        found = Counter((fault.kind, fault.severity) for fault in self.faults)
        rows = [(kind, severity, count) for (kind, severity), count in found.items()]
        return sorted(rows, key=lambda row: (SEVERITIES.index(row[1]), -row[2], row[0]))

    def as_json(self) -> dict[str, Any]:
        """`{"format", "images", "objects", "classes", "faults": [{"file", "line", "kind", "severity", "message"}]}`."""
        return {
            "format": self.format,
            "images": self.images,
            "objects": self.objects,
            "classes": list(self.classes),
            "faults": [fault.as_json() for fault in self.faults],
        }


def audit(
    root: Path | str,
    *,
    data_format: str | None = None,
    split: str | None = None,
    splits: SplitFile | None = None,
    classes: tuple[str, ...] | None = None,
    rename: Mapping[str, str] | None = None,
    allow_unlabelled: bool = False,
    processes: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Check a data set.

    Args:
        root: its folder.
        data_format: its layout, see `data.read`; None to recognise it.
        split: check one split (of VOC also a union) alone; None for everything in the folder.
        splits: check the images of these splits, or of the one that `split` names, in place of the folder's own.
        classes: the classes that there may be, by their new names; None for those of the data set. Not for masks, which
            have a list.
        rename: by a name of the data set, its new name, see `ClassChoice`.
        allow_unlabelled: an image without annotation is background and no fault.
        processes: how many decode images, safe from crashes of the decoder; 0 to decode in this one. A script that
            uses some needs the guard `if __name__ == "__main__":`.
        progress: called with the number of files done so far and of all.

    Raises:
        InputMissingError: no such folder or layout, not the split that was named, or none of them.
        UsageError: `classes` for a data set of masks; or no class has a name of `rename`.
        NotPermittedError: a folder may not be listed.
        StoppedError: the processes cannot be started.
    """
    root = Path(root)
    layout = read.check_name(data_format) or read.recognise(root)
    if classes is not None and "label_map" not in read.READERS[layout].options:
        message = f"the classes of {read.READERS[layout].title} are given"
        raise UsageError(message, remedy="Leave --classes out", file=root)
    rename = rename or {}
    if splits is not None:
        label_map = _own_names(classes, rename)
        options = {"layout": layout, "label_map": label_map, "allow_unlabelled": allow_unlabelled, "cache": False}
        own = read.read_pool(root, **options)
        _check_rename(root, layout, [own], classes, rename)
        (pool,) = _renamed([own], classes, rename)
        names = [split] if split is not None else list(splits.splits)
        chosen = [split_file.select(pool, splits, name) for name in names]
        return _audit_datasets(chosen, split is None, processes, progress)
    if layout == "voc":
        if split is not None and voc.is_union(root, split):
            parts: Sequence[tuple[Path, str | None]] = voc.parts(root, split)
        else:
            parts = [(folder, split) for folder in voc.folders_in(root) or [root]]
        found = [
            _audit_voc(folder, name, classes, rename, allow_unlabelled, processes, progress) for folder, name in parts
        ]
        class_choice.check_names(rename, [name for _, own in found for name in own], "--rename")
        return found[0][0] if len(found) == 1 else _joined([each for each, _ in found])
    names = [split] if split is not None else read.splits(root, layout=layout)
    if not names:
        raise InputMissingError("no split", remedy="Name one by --split", file=root)
    datasets, faults = _read(root, layout, names, _own_names(classes, rename), allow_unlabelled)
    if faults and (split is not None or not datasets) and faults[0].kind == "missing-split":
        raise InputMissingError(faults[0].message, file=faults[0].file, line=faults[0].line)
    _check_rename(root, layout, datasets, classes, rename)
    datasets = _renamed(datasets, classes, rename)
    complete = len(datasets) == len(names) and classes is None
    audits = [_audit_datasets(datasets, complete, processes, progress)] if datasets else []
    return _joined([*audits, Audit(layout, 0, 0, (), tuple(faults))])


def _own_names(classes: tuple[str, ...] | None, rename: Mapping[str, str]) -> LabelMap | None:
    """Return the data set's own names of the classes that there may be; None for all."""
    if classes is None:
        return None
    kept = [name for name in classes if name not in rename]
    return LabelMap(tuple(dict.fromkeys([*kept, *(old for old, new in rename.items() if new in classes)])))


def _check_rename(
    root: Path,
    layout: str,
    datasets: Sequence[Dataset],
    classes: tuple[str, ...] | None,
    rename: Mapping[str, str],
) -> None:
    """Raise UsageError for a name to rename that no split has."""
    if not rename:
        return
    there = {name for dataset in datasets for name in dataset.label_map.names}
    if classes is not None:  # the reader was given these names: those that are used are the data set's own
        there = {
            dataset.label_map.names[class_id]
            for dataset in datasets
            for sample in dataset.samples
            for class_id in sample.class_ids.tolist()
        }
    if datasets and not set(rename) <= there:
        class_choice.check_names(rename, read.class_names(root, layout=layout, cache=False), "--rename")


def _renamed(datasets: Sequence[Dataset], classes: tuple[str, ...] | None, rename: Mapping[str, str]) -> list[Dataset]:
    """Return data sets under their new names."""
    if not rename:
        return list(datasets)
    target = None if classes is None else LabelMap(classes)
    choice = ClassChoice(rename=rename, strict=False)
    return [class_choice.apply(dataset, choice, target) for dataset in datasets]


def _joined(audits: Sequence[Audit]) -> Audit:
    names = dict.fromkeys(name for each in audits for name in each.classes)
    images, objects = sum(each.images for each in audits), sum(each.objects for each in audits)
    faults = in_order(fault for each in audits for fault in each.faults)
    return Audit(audits[0].format, images, objects, tuple(names), faults)


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return each fault once, by file and line; of files that may not be read, the first with the number of others."""
    found = sorted(dict.fromkeys(faults), key=lambda fault: (str(fault.file), fault.line or 0, fault.kind))
    closed = [fault for fault in found if fault.kind == "not-permitted"]
    if len(closed) > 1:
        found = [fault for fault in found if fault.kind != "not-permitted" or fault is closed[0]]
        message = f"{closed[0].message} Nor may {len(closed) - 1} others."
        found[found.index(closed[0])] = replace(closed[0], message=message)
    return tuple(found)


# ---- Pascal VOC: a whole folder


def _audit_voc(
    root: Path,
    split: str | None,
    classes: tuple[str, ...] | None,
    rename: Mapping[str, str],
    allow_unlabelled: bool,
    processes: int,
    progress: Progress | None,
) -> tuple[Audit, set[str]]:
    """Check a folder, or one split of it. Returns what was found, and the folder's own names of classes."""
    folder = voc.Folder(voc.find_folder(root))
    lists = voc.split_files(folder.root) if split is None else {split: voc.split_file(folder.root, split)}
    splits, faults = _lists(folder, lists, allow_unlabelled)
    chosen = folder.images
    if split is not None:
        listed = {place.image.stem for place in splits.get(split, [])}
        chosen = {image_id: path for image_id, path in chosen.items() if image_id in listed}
    running = reports(list(chosen.values()), processes=processes)  # the processes start while annotations are read
    annotations, errors = folder.annotations()
    own = {item.name for annotation in annotations.values() for item in annotation.objects}
    if rename:
        annotations = {
            image_id: replace(
                each, objects=tuple(replace(item, name=rename.get(item.name, item.name)) for item in each.objects)
            )
            for image_id, each in annotations.items()
        }
    label_map, warnings = folder.classes(annotations)
    faults += [*folder.faults, *warnings, *(fault_of(error, path) for path, error in errors.items())]
    faults += [
        unread(path) or make_fault("stranger-file", "not an image by its name, and not read", path)
        for path in folder.image_listing.files
        if path.suffix.lower() not in IMAGE_SUFFIXES
    ]
    if split is None:
        faults += _unused(folder, splits)
    else:
        annotations = {image_id: each for image_id, each in annotations.items() if image_id in chosen}
    label_map = label_map if classes is None else LabelMap(classes)
    odd = voc.other_coordinates(folder, annotations)
    if odd is not None:  # one fault instead of one for each box
        faults.append(odd)
        annotations = {image_id: replace(each, objects=()) for image_id, each in annotations.items()}
    of_images: dict[Path, ImageReport] = {}
    for report in running:
        of_images[report.path] = report
        faults += report.faults
        if progress is not None:
            progress(len(of_images), len(chosen))
    for image_id, annotation in annotations.items():
        report = of_images.get(folder.images.get(image_id, Path()))
        faults += _of_annotation(folder, image_id, annotation, report, label_map)
    faults += duplicates.in_two_splits(splits)
    digests = {path: report.digest for path, report in of_images.items()}
    fingerprints = {path: report.fingerprint for path, report in of_images.items()}
    faults += duplicates.same_bytes(digests, splits)
    faults += duplicates.near_copies_across_splits(fingerprints, digests, splits)
    count = sum(len(annotation.objects) for annotation in annotations.values())
    if annotations and not count and odd is None:
        message = f"no object in the {len(annotations)} annotations; labels were looked for in "
        faults.append(make_fault("no-object", f"{message}{folder.root / voc.ANNOTATION_FOLDER}", folder.root))
    elif odd is None:
        ids = {path: image_id for image_id, path in folder.images.items()}
        # An annotation with faults, or one that cannot be read, may have had objects: its own faults say what is wrong.
        empty = {image_id for image_id, each in annotations.items() if not each.objects and not each.faults}
        for name, places in splits.items():
            is_train = name.lower() in ("train", "trainval")
            if is_train and places and all(ids[place.image] in empty for place in places):
                message = f"no object in the {len(places)} images of {name}; labels were looked for in "
                faults.append(make_fault("no-object", f"{message}{folder.root / voc.ANNOTATION_FOLDER}", lists[name]))
    return Audit("voc", len(chosen), count, label_map.names, in_order(faults)), own


def _lists(
    folder: voc.Folder, lists: Mapping[str, Path], allow_unlabelled: bool
) -> tuple[dict[str, list[Place]], list[Fault]]:
    """Return the images that each list names, and the faults of the lists."""
    splits: dict[str, list[Place]] = {}
    faults: list[Fault] = []
    for split, file in sorted(lists.items()):
        try:
            lines, found = folder.listed(file)
        except SingleshotError as error:
            faults.append(fault_of(error, file))
            continue
        splits[split] = [Place(folder.images[image_id], file, line) for image_id, line in lines.items()]
        # Lists of one class (cat_train) repeat what the whole list says.
        if "_" not in split or split.rpartition("_")[2] not in lists:
            faults += found if allow_unlabelled else [*found, *folder.unannotated(lines, file, allow=False)]
    return splits, faults


def _unused(folder: voc.Folder, splits: Mapping[str, Sequence[Place]]) -> Iterator[Fault]:
    """Yield a fault for each file of a VOC folder that no split uses."""
    listed = {place.image for places in splits.values() for place in places}
    for path in folder.images.values():
        if path not in listed:
            yield make_fault("unlisted-picture", f"is in no list of {voc.SPLIT_FOLDER} and never used", path)
    for image_id, path in folder.annotation_files.items():
        if image_id not in folder.images:
            yield make_fault("annotation-without-picture", f"has no image {image_id} in {voc.IMAGE_FOLDER}", path)


def _of_annotation(
    folder: voc.Folder, image_id: str, annotation: Annotation, report: ImageReport | None, label_map: LabelMap
) -> Iterator[Fault]:
    """Yield the faults of one annotation: of its fields, its size and its boxes."""
    yield from annotation.faults
    size_hw = annotation.size_hw or (report.size_hw if report else None)
    if report is not None:
        fault = size_fault(report, annotation.size_hw, folder.annotation_files[image_id], annotation.size_line)
        if fault is not None:
            yield fault
        if fault is not None and fault.kind == "wrong-size":
            size_hw = report.size_hw  # the boxes are checked against the image; else each would report the wrong size
    sample, faults = folder.sample(image_id, annotation, size_hw, label_map)
    yield from faults
    if sample.box_places is None or not len(sample.box_places):
        return
    items = [annotation.objects[index] for index in sample.box_places.tolist()]
    file = folder.annotation_files[image_id]
    yield from _of_boxes(sample, [BoxPlace(file, item.box_line, voc.shown(item)) for item in items])
    if sample.difficult.all():
        message = "all objects are difficult: they are neither trained on nor evaluated"
        yield make_fault("all-difficult", message, file, items[0].name_line)


# ---- The other layouts: the splits that were read


def _read(
    root: Path, layout: str, names: Sequence[str], label_map: LabelMap | None, allow_unlabelled: bool
) -> tuple[list[Dataset], list[Fault]]:
    """Return the splits that can be read at all, and the faults of those that cannot."""
    datasets, faults = [], []
    for name in names:
        annotated = layout != "coco" or coco.is_annotated(root, name)
        try:
            dataset = read.read(
                root, name, layout=layout, label_map=label_map, annotated=annotated,
                allow_unlabelled=allow_unlabelled, cache=False,
            )  # fmt: skip
            datasets.append(dataset)
        except InputMissingError as error:
            remedy = sentence(error.remedy or "Add it")
            faults.append(make_fault("missing-split", error.message, error.file or root, error.line, remedy=remedy))
        except DataError as error:
            if error.file is None:
                raise
            faults.append(error.as_fault())
    if layout == "kitti_road" and datasets:  # its splits are a convention, and need not all exist
        faults = [fault for fault in faults if fault.kind != "empty-split"]
    return datasets, faults


def _audit_datasets(datasets: Sequence[Dataset], complete: bool, processes: int, progress: Progress | None) -> Audit:
    """Check the splits of one data set, at least one; `complete` if they are all, with classes of their own."""
    samples = {sample.image_path: sample for dataset in datasets for sample in dataset.samples}
    masks = [sample.mask_path for sample in samples.values() if sample.mask_path is not None]
    masks = list(dict.fromkeys(masks))
    code = next((dataset.mask_code for dataset in datasets if dataset.mask_code is not None), None)
    faults = [fault for dataset in datasets for fault in dataset.faults]
    digests: dict[Path, bytes] = {}
    fingerprints: dict[Path, bytes] = {}
    class_ids: set[int] = set()
    readable = 0
    found = reports(list(samples), processes=processes)
    if code is not None:
        of_masks = reports(masks, processes=processes, work=functools.partial(report_mask, code=code))
        found = itertools.chain(found, of_masks)
    for done, report in enumerate(found, start=1):
        if progress is not None:
            progress(done, len(samples) + len(masks))
        faults += report.faults
        class_ids |= set(report.class_ids)
        readable += bool(report.class_ids)
        sample = samples.get(report.path)
        if sample is not None:
            digests[report.path], fingerprints[report.path] = report.digest, report.fingerprint
            fault = size_fault(report, sample.size_hw, report.path, None)
            if fault is not None and fault.kind == "wrong-size":  # the reader has reported what EXIF turns
                faults.append(fault)
    if masks:
        names = datasets[0].label_map.names
        if readable == len(masks) and class_ids <= {VOID}:
            faults.append(objects.all_void(datasets[0].root, masks))
        elif complete and readable == len(masks):  # else a class may be in the others
            faults += objects.classes_without_pixel(names, class_ids, datasets[0].root, masks=len(masks))
    else:
        faults += _missing_objects(datasets, complete)
    for dataset in datasets:
        for sample in dataset.samples:
            if len(sample.boxes_xyxy):
                faults += _of_boxes(sample, _places(sample, dataset))
    splits = {
        dataset.split: [Place(sample.image_path, sample.image_path, None) for sample in dataset.samples]
        for dataset in datasets
    }
    faults += duplicates.in_two_splits(splits)
    faults += duplicates.same_bytes(digests, splits)
    faults += duplicates.near_copies_across_splits(fingerprints, digests, splits)
    count = sum(len(sample.boxes_xyxy) for sample in samples.values())
    count += sum(fault.kind in LEFT_OUT for dataset in datasets for fault in dict.fromkeys(dataset.faults))
    names = dict.fromkeys(name for dataset in datasets for name in dataset.label_map.names)
    return Audit(datasets[0].layout, len(samples), count, tuple(names), in_order(faults))


def _missing_objects(datasets: Sequence[Dataset], complete: bool) -> list[Fault]:
    """Return the faults of splits of boxes without any object, and of classes without one.

    A validation or test split may be without objects as long as another one has some.
    """
    annotated = [
        dataset
        for dataset in datasets
        if dataset.mask_code is None and (dataset.layout != "coco" or coco.is_annotated(dataset.root, dataset.split))
    ]
    if any(fault.severity == "fatal" for dataset in annotated for fault in dataset.faults):
        return []  # objects may be missing because they are faulty
    empty = {dataset.split: fault for dataset in annotated if (fault := objects.no_object(dataset)) is not None}
    if len(empty) == len(annotated):
        return list(empty.values())
    faults = [fault for split, fault in empty.items() if split.lower().startswith("train")]
    return faults + (objects.classes_without_object(annotated) if complete else [])


def report_mask(path: Path, code: MaskCode) -> ImageReport:
    """Decode one mask. Never raises for anything about the file: that is in `faults`.

    A mask without any class is noted (`all-void-mask`): nothing is learned from its image.
    """
    try:
        class_ids = mask_files.read(path, code)
    except SingleshotError as error:
        return ImageReport(path, None, faults=(fault_of(error, path),))
    faults: tuple[Fault, ...] = ()
    if bool(np.all(class_ids == VOID)):
        message = "no pixel has a class: nothing is learned from this image"
        faults = (make_fault("all-void-mask", message, path),)
    found = np.flatnonzero(np.bincount(class_ids.ravel(), minlength=256)).tolist()
    return ImageReport(path, (class_ids.shape[0], class_ids.shape[1]), faults=faults, class_ids=tuple(found))


def _places(sample: Sample, dataset: Dataset) -> list[BoxPlace]:
    """Return where each box is: file and line, file and JSON path, or the image where the reader says neither."""
    names = dataset.label_map.names
    numbers = [None] * len(sample.boxes_xyxy) if sample.box_places is None else sample.box_places.tolist()
    in_json = JSON_PATHS.get(dataset.layout)
    if sample.annotation_path is not None and sample.annotation_path.suffix.lower() == ".csv":
        in_json = None  # VIA has both
    places = []
    for box, class_id, number in zip(sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), numbers, strict=True):
        shown = f"box ({', '.join(f'{edge:g}' for edge in box)}) of class {names[class_id]!r}"
        if in_json and number is not None:
            shown = f"{in_json.format(number, image=sample.image_path.name)}: {shown}"
        line = None if in_json else number
        places.append(BoxPlace(sample.annotation_path or sample.image_path, line, shown))
    return places


# ---- All layouts


def _of_boxes(sample: Sample, places: Sequence[BoxPlace]) -> Iterator[Fault]:
    yield from boxes.repeated(sample.boxes_xyxy, sample.class_ids, places)
    if sample.size_hw is not None:
        yield from boxes.tiny(sample.boxes_xyxy, sample.size_hw, places)

"""Records → `Dataset`: what the readers of formats without lists have in common.

A reader of such a format finds the images of a split and the objects that its files name; here classes become ids,
boxes are checked by the one rule, and faults get their file and line, or their path in a JSON file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from singleshot.boxes import clip
from singleshot.data import tree
from singleshot.data.boxes import class_names
from singleshot.data.boxes.check_box import CONTINUOUS, USABLE, BoxRule, check_box
from singleshot.data.boxes.coordinates import Form, other_kind
from singleshot.data.faults import make_fault
from singleshot.data.orientation import image_size
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.structures import Dataset, LabelMap, Sample


@dataclass(frozen=True)
class Object:
    """One object.

    Args:
        name: its class, as written.
        box_xyxy: continuous edges in pixels; fractions of the image where the record's `relative` is true.
        place: the 1-based line of its box, or its index in the file's list.
        path: its path in a JSON file, such as `shapes[3]`; "" in files with lines.
        difficult: whether VOC's protocol leaves it out of the score.
        name_line: the line of its class, if not `place`.
        written: the box as its file has it, for messages; "" for the edges.
        crowd: whether it is a box around many objects at once, which is evaluated as one and never trained on.
        outline: whether the box is that around another shape, which is not used.
    """

    name: str
    box_xyxy: tuple[float, float, float, float]
    place: int
    path: str = ""
    difficult: bool = False
    name_line: int | None = None
    written: str = ""
    crowd: bool = False
    outline: bool = False


@dataclass(frozen=True)
class Record:
    """One image and its objects.

    Args:
        image: the image's file.
        file: the file with its annotation.
        size_hw: height and width as annotated; None for the image's own.
        objects: its objects.
        relative: whether boxes are fractions of the image.
    """

    image: Path
    file: Path
    size_hw: tuple[int, int] | None
    objects: Sequence[Object]
    relative: bool = False


def classes(records: Iterable[Record]) -> tuple[LabelMap, list[Fault]]:
    """Return the classes that records name, sorted, and warnings about names that are probably slips."""
    files_of: dict[str, dict[Path, int | None]] = {}
    first = Path()
    for record in records:
        first = record.file
        for item in record.objects:
            if item.name == item.name.strip():
                line = None if item.path else item.name_line or item.place
                files_of.setdefault(item.name, {}).setdefault(record.file, line)
    names = tuple(sorted(files_of))
    return LabelMap(names), class_names.variant_faults(names, first) + class_names.single_file_faults(files_of)


def read_paired(
    root: Path,
    split: str,
    layout: str,
    suffix: str,
    records_of: Callable[[tree.Pairs], tuple[list[Record], list[Fault]]],
    label_map: LabelMap | None,
    rule: BoxRule = CONTINUOUS,
) -> Dataset:
    """Read one split of a folder whose images have an annotation file of the same name each.

    Args:
        root: the folder.
        split: of `tree.splits_of`.
        layout: the name of the layout.
        suffix: of the annotation files.
        records_of: returns the records of a split's images, and their faults.
        label_map: the classes; None for those of all splits, which are then read too.
        rule: what the format calls a box.

    Raises:
        InputMissingError: no such split.
    """
    files = tree.read_tree(root, suffix)
    known = tree.splits_of(files.images, root)
    if split not in known:
        raise tree.no_split(root, split, known)
    found: list[Record] = []
    others: list[Record] = []
    faults = list(files.faults)
    for name in known if label_map is None else [split]:
        part, part_faults = records_of(tree.pair(files, name))
        if name == split:
            found = part
            faults += part_faults
        else:
            others += part
    if label_map is None:
        label_map, warnings = classes([*found, *others])
        faults += warnings
    return dataset(root, layout, split, found, label_map, faults, rule=rule)


def dataset(
    root: Path,
    layout: str,
    split: str,
    records: Sequence[Record],
    label_map: LabelMap,
    faults: Iterable[Fault],
    *,
    rule: BoxRule = CONTINUOUS,
    form: Form = "xyxy inclusive",
) -> Dataset:
    """Return the samples of a split, in the order of its records.

    Args:
        root: the folder, or the annotation file itself.
        layout: the name of the layout.
        split: the split's name.
        records: its images.
        label_map: the classes.
        faults: what is wrong with the files.
        rule: what the format calls a box.
        form: how it writes one. Where most boxes are of another, none is used (`other-coordinates`, fatal).

    Raises DataError where there is neither a sample nor a fault (`empty-split`).
    """
    faults = list(faults)
    class_ids = {name: class_id for class_id, name in enumerate(label_map.names)}
    located: list[tuple[Record, str, tuple[int, int]]] = []
    base = root if root.is_dir() else root.parent
    for record, image_id in zip(records, tree.image_ids([each.image for each in records], base), strict=True):
        try:
            size_hw, turned = image_size(record.image, record.size_hw)
        except DataError as error:
            faults.append(error.as_fault())
            continue
        except InputMissingError:
            faults.append(make_fault("missing-picture", "no such image", record.image))
            continue
        faults += [] if turned is None else [turned]
        if turned is None or turned.severity != "fatal":
            located.append((record, image_id, size_hw))
    odd = _other_coordinates([(record, size_hw) for record, _, size_hw in located], rule, form)
    if odd is not None:  # one fault instead of one for each box
        faults.append(odd)
        located = [(replace(record, objects=()), image_id, size_hw) for record, image_id, size_hw in located]
    samples = []
    outlines = 0
    for record, image_id, size_hw in located:
        sample, found = _sample(record, image_id, size_hw, class_ids, rule)
        samples.append(sample)
        faults += found
        outlines += sum(item.outline for item in record.objects)
    if not samples and not faults:
        raise tree.empty_split(root)
    return Dataset(root, layout, split, label_map, tuple(samples), tuple(dict.fromkeys(faults)), outlines=outlines)


def _other_coordinates(records: Sequence[tuple[Record, tuple[int, int]]], rule: BoxRule, form: Form) -> Fault | None:
    """Return a fatal fault where most boxes of some records are not of a format's form; see `coordinates`."""
    rows = [(item.box_xyxy, size_hw[::-1]) for record, size_hw in records for item in record.objects]
    if not rows:
        return None
    numbers = np.array([box for box, _ in rows], np.float64)
    is_relative = next(record.relative for record, _ in records if record.objects)
    if form == "xywh":
        numbers[:, 2:] -= numbers[:, :2]
    else:
        numbers[:, :2] += 0 if is_relative else rule.smallest_side_px  # as the file has them
    sizes_wh = np.array([size_wh for _, size_wh in rows], np.float64)
    kind = other_kind(numbers, sizes_wh, "xyxy fractions" if is_relative else form)
    if kind is None:
        return None
    record, item = next((record, record.objects[0]) for record, _ in records if record.objects)
    line = None if item.path else item.place
    return make_fault("other-coordinates", f"most of the {len(rows)} boxes look like {kind}", record.file, line)


def _sample(
    record: Record, image_id: str, size_hw: tuple[int, int], class_ids: dict[str, int], rule: BoxRule
) -> tuple[Sample, list[Fault]]:
    """Return an image with the boxes that can be used, and the faults of the others."""
    used: list[Object] = []
    rows: list[tuple[float, float, float, float]] = []
    faults = []
    height, width = size_hw
    for item in record.objects:
        where = f"{item.path}: " if item.path else ""
        line = None if item.path else item.place
        if item.name not in class_ids:
            spaced = item.name != item.name.strip()
            message = f"class {item.name!r} has a space at its edge"
            message = message if spaced else class_names.unknown_class(item.name, tuple(class_ids))
            remedy = "Delete the space" if spaced else None
            name_line = None if item.path else item.name_line or line
            faults.append(make_fault("unknown-class", f"{where}{message}", record.file, name_line, remedy=remedy))
            continue
        left, top, right, bottom = item.box_xyxy
        box = (left * width, top * height, right * width, bottom * height) if record.relative else item.box_xyxy
        fault = check_box(box, size_hw, rule)
        if fault is not None:
            written = item.written or ", ".join(f"{edge:g}" for edge in item.box_xyxy)
            message = f"{where}box ({written}) of class {item.name!r} {fault.message}"
            faults.append(make_fault(fault.kind, message, record.file, line))
        if fault is None or fault.kind in USABLE:
            used.append(item)
            rows.append(box)
    crowd = np.array([item.crowd for item in used], np.bool_)
    return Sample(
        image_id,
        record.image,
        size_hw,
        clip(np.array(rows, np.float64).reshape(-1, 4), size_hw),
        np.array([class_ids[item.name] for item in used], np.int64),
        np.array([item.difficult or item.crowd for item in used], np.bool_),
        crowd=crowd if crowd.any() else None,
        annotation_path=record.file,
        box_places=np.array([item.place for item in used], np.int64),
    ), faults


def unlabelled(images: Sequence[Path], form: str, *, allow: bool) -> list[Fault]:
    """Return a fault for each image without annotation: a warning, or a note where it is allowed.

    Args:
        images: the images.
        form: the annotation that each lacks, such as `.xml`.
        allow: take it for background.
    """
    kind, outcome = ("unlabelled", "taken for background") if allow else ("missing-annotation", "left out")
    return [make_fault(kind, f"has no {form}; it is {outcome}", image) for image in images]

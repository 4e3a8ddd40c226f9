"""Detections as files of results: the VOC devkit's text files and COCO's JSON, written and read.

These are the forms in which detections of other programs are evaluated by ours, and ours by the devkit, VOC's server or
pycocotools.

VOC: a results folder has one text file a class, `comp3_det_<split>_<class>.txt` (trained on VOC's own images alone) or
`comp4_…` (on any images), with a line `image_id confidence left top right bottom` for each detection. Corners are
1-based and inclusive, so a continuous box (x1, y1, x2, y2) is written as x1 + 1, y1 + 1, x2, y2 and comes back the same
way. Source: the VOC2007/2012 development kits.

COCO: one list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}` in continuous pixels. Ids are
the data set's own: categories with COCO's gaps, images by the number in its `images`. What pycocotools drops or
misreads without a message (a category that does not exist, a NaN, a negative width) is an error here, with its index in
the list. Source: cocodataset.org, "Results format".
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.data import folders
from singleshot.data.boxes.fields import is_id, is_number, number_list, read_json, shown
from singleshot.errors import CannotCreateError, DataError, InputMissingError, nearest
from singleshot.storage import atomic
from singleshot.structures import Dataset, Detections, Sample

Competition = Literal["comp3", "comp4"]
COMPETITIONS: tuple[Competition, ...] = ("comp3", "comp4")

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_BLANK = r"[ \t]"
# Python's float() would also take 1_0, full-width digits, nan and infinity; the devkit takes none of them.
_LINE = re.compile(rf"{_BLANK}*([^ \t]+)" + rf"{_BLANK}+({_NUMBER})" * 5 + rf"{_BLANK}*")
# x1 + 1 and its way back are reckoned in decimals: in binary they would lose the last digits of x1. Every float32 has
# fewer digits than these.
_DIGITS = Context(prec=100)
_ONE = Decimal(1)
_COLUMNS = ("image_id", "confidence", "left", "top", "right", "bottom")
SHOWN_IDS = 5


# ---- VOC


def file_name(split: str, class_name: str, *, competition: Competition = "comp4") -> str:
    """The devkit's name for the results of one class.

    Raises DataError where a name holds a path separator: the file would land in another folder.

    >>> file_name("test", "cat")
    'comp4_det_test_cat.txt'
    """
    for name in (split, class_name):
        if any(character in name for character in "/\\\0"):
            raise DataError(
                f"the name {name!r} cannot be part of a file name",
                kind="class-name",
                remedy="Rename the class or split",
            )
    return f"{competition}_det_{split}_{class_name}.txt"


def paths_in(folder: Path, dataset: Dataset, *, competition: Competition = "comp4") -> list[Path]:
    """Return the files of a split's classes in a folder, in the order of the class ids, whether they exist or not."""
    return [folder / file_name(dataset.split, name, competition=competition) for name in dataset.label_map.names]


def write_voc(
    detections: Sequence[Detections],
    dataset: Dataset,
    folder: Path,
    *,
    competition: Competition = "comp4",
    overwrite: bool = False,
) -> list[Path]:
    """Write one file a class, an empty one too, and return their paths in the order of the class ids.

    Args:
        detections: by image, in the order of `dataset.samples`. Boxes may reach outside the image: they are
            neither clipped nor refused. An image without detections has no line.
        dataset: gives the split, the ids of the images and the class names; it needs no annotations.
        folder: made where it is missing.
        competition: the first part of the files' names.
        overwrite: replace files that exist already.

    Scores and coordinates are written with all their digits: `read` gives the very same numbers back, and so the same
    AP.

    Raises DataError for an image id with a blank in it and for a NaN, CannotCreateError for a file that exists,
    ValueError where the numbers of detections and images differ, and what `atomic.write` does.
    """
    paths = paths_in(folder, dataset, competition=competition)
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise CannotCreateError(
            "the file exists already", file=existing[0], remedy="Name another folder or --overwrite"
        )
    lines: list[list[str]] = [[] for _ in paths]
    for sample, found in _finite(dataset, detections):
        image_id = sample.image_id
        if not image_id or any(character.isspace() for character in image_id):
            raise DataError(
                f"the image id {image_id!r} is empty or contains a blank, which result files cannot hold",
                kind="image-id",
                file=sample.image_path,
                remedy="Rename the image",
            )
        # tolist() makes Python floats of the same value, and those print as many digits as they need.
        columns = (found.class_ids, found.scores, *found.boxes_xyxy.T)
        for class_id, score, x1, y1, x2, y2 in zip(*(column.tolist() for column in columns), strict=True):
            lines[class_id].append(f"{image_id} {score!r} {_plus_one(x1)} {_plus_one(y1)} {x2!r} {y2!r}\n")
    for path, text in zip(paths, lines, strict=True):
        atomic.write_text(path, "".join(text))
    return paths


def read_voc(source: Path, dataset: Dataset) -> list[Detections]:
    """Read the detections of every image of a split, in the order of `dataset.samples`.

    Args:
        source: a folder with the files of one competition, or one of those files where a folder holds both.
        dataset: what the results are for: split, ids of the images, class names. It needs no annotations.

    Returns float64 boxes and scores (another program's order may depend on the last digit), in each image best score
    first, equal scores in the order of class and line. Images without a line have no detections. An image whose
    size its annotation does not give gets `size_hw` (0, 0).

    Raises InputMissingError where `source` does not exist. Raises DataError, with file and line, for a class without a
    file, a file of an unknown class, an unknown image id, and a line that is not an id and five finite numbers with
    right ≥ left − 1 and bottom ≥ top − 1 (a continuous box of no width is legal).
    """
    folder, competition = _locate(source, dataset.split)
    paths = paths_in(folder, dataset, competition=competition)
    _refuse_unknown_classes(folder, competition, dataset)
    for path in paths:
        if not path.is_file():
            raise DataError(
                "the results of this class are missing",
                kind="class-without-file",
                file=path,
                remedy="The devkit needs a file for every class; make an empty one where nothing was found",
            )
    indices = {sample.image_id: index for index, sample in enumerate(dataset.samples)}
    rows: list[tuple[float, ...]] = []
    for class_id, path in enumerate(paths):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            number = path.read_bytes()[: error.start].count(b"\n") + 1
            remedy = "Write it anew"
            raise DataError("not UTF-8 text", kind="not-text", file=path, line=number, remedy=remedy) from error
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            image_id, row = _parse(line, path, number)
            if image_id not in indices:
                raise DataError(
                    f"image {image_id!r} is not in split {dataset.split!r} of {dataset.root}",
                    kind="unknown-image",
                    file=path,
                    line=number,
                    remedy="Evaluate the results on the split that they were made for",
                )
            rows.append((indices[image_id], class_id, *row))
    return _by_image(np.array(rows, np.float64).reshape(-1, 7), dataset)


def _locate(source: Path, split: str) -> tuple[Path, Competition]:
    """Return the folder and the competition that `source` stands for."""
    if source.is_file():
        for competition in COMPETITIONS:
            if source.name.startswith(f"{competition}_det_{split}_"):
                return source.parent, competition
        raise DataError(
            f"the name is not comp3_det_{split}_<class>.txt or comp4_det_{split}_<class>.txt",
            kind="not-a-result-file",
            file=source,
            remedy="Name a devkit result file or the folder that holds them",
        )
    if not source.is_dir():
        raise InputMissingError("no such folder of results", file=source, remedy="Name the folder of the comp4 files")
    files = [entry.name for entry in folders.entries(source)]
    found: list[Competition] = [
        one for one in COMPETITIONS if any(name.startswith(f"{one}_det_{split}_") for name in files)
    ]
    if len(found) == 2:
        raise DataError(
            "the folder holds results of comp3 and of comp4",
            kind="two-competitions",
            file=source,
            remedy="Name one of the files; the others of its competition are found beside it",
        )
    if not found:
        raise DataError(
            f"the folder holds no file comp3_det_{split}_<class>.txt or comp4_det_{split}_<class>.txt",
            kind="class-without-file",
            file=source,
            remedy="Name the folder that holds the files themselves, and the split that they were made for",
        )
    return source, found[0]


def _refuse_unknown_classes(folder: Path, competition: Competition, dataset: Dataset) -> None:
    """Refuse a file of this split whose class is unknown.

    `comp4_det_test_small_cat.txt` is class `small_cat` of split `test`, or class `cat` of split `test_small`. It is
    taken for the other split's, and left alone, where that split has a file of every class.
    """
    prefix, names = f"{competition}_det_{dataset.split}_", dataset.label_map.names
    for path in (Path(entry.path) for entry in folders.entries(folder)):
        name = path.name.removeprefix(prefix).removesuffix(".txt")
        if not path.name.startswith(prefix) or name in names:
            continue
        ends = [each for each in names if name.endswith(f"_{each}")]
        splits = [f"{dataset.split}_{name.removesuffix(f'_{end}')}" for end in ends]
        missing = []  # the first file that each split's results lack
        for split in splits:
            files = (file_name(split, each, competition=competition) for each in names)
            missing.append(next((file for file in files if not (folder / file).is_file()), None))
        if None in missing:
            continue
        near = nearest(name, names)
        message = f"class {name!r} is unknown" + (f"; near: {near}" if near else "")
        for end, split, path_missing in zip(ends, splits, missing, strict=True):
            message += f"; nor is it class {end!r} of split {split!r}, which has no {path_missing}"
        raise DataError(
            message,
            kind="unknown-class",
            file=path,
            remedy="Judge against the data that the results were made for, or move the file elsewhere",
        )


def _parse(line: str, path: Path, number: int) -> tuple[str, tuple[float, ...]]:
    """The image id, and the score and continuous box, of one line."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise _bad_line(_why(line), path, number)
    image_id, confidence, left, top, right, bottom = found.groups()
    row = (_minus_one(left), _minus_one(top), float(right), float(bottom), float(confidence))
    # The devkit asks nothing more of a confidence than an order, so scores below 0 or above 1 are legal here.
    if not all(map(math.isfinite, row)):
        raise _bad_line("a number is too large", path, number)
    x1, y1, x2, y2, _ = row
    if x2 < x1 or y2 < y1:
        raise _bad_line(f"the box is inverted: left {left}, top {top}, right {right}, bottom {bottom}", path, number)
    return image_id, row


def _plus_one(edge: float) -> str:
    return str(_DIGITS.add(Decimal(repr(edge)), _ONE))


def _minus_one(text: str) -> float:
    return float(_DIGITS.subtract(Decimal(text), _ONE))


def _why(line: str) -> str:
    fields = line.split()
    if len(fields) != len(_COLUMNS):
        return f"{len(fields)} columns instead of {len(_COLUMNS)}"
    for column, text in list(zip(_COLUMNS, fields, strict=True))[1:]:
        if not re.fullmatch(_NUMBER, text):
            return f"{column} {text!r} is not a finite decimal number"
    return "the columns are not parted by blanks"


def _bad_line(message: str, path: Path, number: int) -> DataError:
    return DataError(message, kind="bad-line", file=path, line=number, remedy=f"A line is `{' '.join(_COLUMNS)}`")


# ---- COCO


def write_coco(detections: Sequence[Detections], dataset: Dataset, file: Path, *, overwrite: bool = False) -> None:
    """Write the detections of a split, with all their digits; an image without any has no entry.

    Args:
        detections: by image, in the order of `dataset.samples`.
        dataset: gives ids of images and categories. Where its format has none, a class's id is its index, from 1.
        file: the JSON.
        overwrite: replace a file that exists.

    Raises CannotCreateError for a file that exists, DataError for a NaN and for a class that the data set's
    categories do not have, ValueError where the numbers of detections and images differ.
    """
    if file.exists() and not overwrite:
        raise CannotCreateError("the file exists already", file=file, remedy="Name another file or --overwrite")
    category_ids = _category_ids(dataset)
    rows: list[dict[str, Any]] = []
    for sample, found in _finite(dataset, detections):
        name = sample.image_id
        number = int(name) if name.isdecimal() and name.isascii() else None
        image_id = number if str(number) == name else name
        boxes_xyxy = found.boxes_xyxy.astype(np.float64)
        boxes_xywh = np.hstack([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]])
        columns = zip(found.class_ids.tolist(), boxes_xywh.tolist(), found.scores.tolist(), strict=True)
        for class_id, box_xywh, score in columns:
            category_id = category_ids[class_id]
            if category_id is None:
                message = f"class {dataset.label_map.names[class_id]!r} is no category of the data set"
                raise DataError(
                    message, kind="unknown-class", file=dataset.root, remedy="Evaluate on data with that class"
                )
            rows.append({"image_id": image_id, "category_id": category_id, "bbox": box_xywh, "score": score})
    atomic.write_text(file, json.dumps(rows) + "\n")


def read_coco(file: Path, dataset: Dataset) -> list[Detections]:
    """Read the detections of every image of a split, in the order of `dataset.samples`.

    Args:
        file: the JSON.
        dataset: what the results are for.

    Returns float64 boxes and scores, in each picture best score first, equal scores in the order of the file. Images
    that the file does not name have no detections: see `coverage`.

    Raises DataError for a file that is no such list, and for the first entry with an unknown image or category, a
    box that is not four finite numbers with a width and height of 0 or more, or a score that is no number in 0…1; the
    message gives its position, `[8].bbox`, and how many more there are.
    """
    rows = read_json(file)
    if not isinstance(rows, list):
        remedy = 'COCO results are one list of {"image_id", "category_id", "bbox", "score"}'
        raise DataError("not a list of results", kind="not-coco-results", remedy=remedy, file=file)
    indices = {sample.image_id: index for index, sample in enumerate(dataset.samples)}
    classes = {number: class_id for class_id, number in enumerate(_category_ids(dataset)) if number is not None}
    checked = [_checked(row, indices, classes) for row in rows]
    faulty = [(index, fault) for index, fault in enumerate(checked) if isinstance(fault, str)]
    if faulty:
        index, fault = faulty[0]
        kinds = Counter(text.split()[0] for _, text in faulty)
        more = f" ({len(faulty)} such entries: {', '.join(f'{count} in {field}' for field, count in kinds.items())})"
        raise DataError(
            f"[{index}].{fault}{more if len(faulty) > 1 else ''}",
            kind="bad-result",
            remedy="Evaluate the results on the data that they were made for, or mend them",
            file=file,
        )
    return _by_image(np.array(checked, np.float64).reshape(-1, 7), dataset)


def coverage_warning(found: Sequence[Detections], dataset: Dataset) -> str | None:
    """Return a warning for results that name only some of the images; None where they name all.

    A file of COCO results cannot name an image in which nothing was found, so this is a warning and no error.
    """
    silent = [sample.image_id for sample, result in zip(dataset.samples, found, strict=True) if not len(result)]
    if not silent:
        return None
    some = ", ".join(silent[:SHOWN_IDS]) + (", …" if len(silent) > SHOWN_IDS else "")
    return f"the results name {len(dataset) - len(silent)} of {len(dataset)} images; nothing in {some}"


def _category_ids(dataset: Dataset) -> Sequence[int | None]:
    return dataset.category_ids or range(1, len(dataset.label_map) + 1)


def _checked(row: Any, indices: dict[str, int], classes: dict[int, int]) -> tuple[float, ...] | str:
    """Return index, class id, corners and score of an entry, or what is wrong with it, its field first."""
    if not isinstance(row, dict):
        return f"{shown(row)} is not an object"
    image_id, category_id, score = row.get("image_id"), row.get("category_id"), row.get("score")
    index = indices.get(str(image_id)) if is_id(image_id) else None
    if index is None:
        return f"image_id {shown(image_id)} is not in the split"
    class_id = classes.get(category_id) if type(category_id) is int else None
    if class_id is None:
        return f"category_id {shown(category_id)} is no category of the data set"
    box = number_list(row.get("bbox"), 4)
    if box is None or box[2] < 0 or box[3] < 0:
        return f"bbox {shown(row.get('bbox'))} is not x, y and a width and height of 0 or more"
    if not is_number(score) or not 0 <= score <= 1:
        return f"score {shown(score)} is no number from 0 to 1"
    x, y, width, height = box
    return (float(index), float(class_id), x, y, x + width, y + height, float(score))


# ---- Both


def _finite(dataset: Dataset, detections: Sequence[Detections]) -> Iterator[tuple[Sample, Detections]]:
    """Yield the images with their detections. Raises DataError for a NaN, ValueError where the counts differ."""
    for sample, found in zip(dataset.samples, detections, strict=True):
        if not (np.isfinite(found.scores).all() and np.isfinite(found.boxes_xyxy).all()):
            raise DataError(
                f"a detection in image {sample.image_id!r} has a score or box that is not finite",
                kind="not-finite",
                remedy="Find out where the NaN comes from, most often weights that diverged",
            )
        yield sample, found


def _by_image(table: Float[ndarray, "N 7"], dataset: Dataset) -> list[Detections]:
    """Divide rows of image index, class id, x1, y1, x2, y2, score by image; best score first, then as in the table."""
    images: Int[ndarray, " N"] = table[:, 0].astype(np.int64)
    class_ids = table[:, 1].astype(np.int64)
    order = np.lexsort((-table[:, 6], images))
    starts = np.searchsorted(images[order], np.arange(len(dataset) + 1))
    return [
        Detections(
            table[chosen, 2:6],
            table[chosen, 6],
            class_ids[chosen],
            dataset.label_map.names_of(class_ids[chosen]),
            sample.size_hw or (0, 0),
        )
        for sample, chosen in zip(
            dataset.samples, (order[start:stop] for start, stop in itertools.pairwise(starts)), strict=True
        )
    ]

"""Detections as the VOC devkit's result files: write ours, read anybody's.

A results folder has one text file a class, `comp3_det_<split>_<class>.txt` (trained on VOC's own pictures alone) or
`comp4_…` (on any pictures), with a line `image_id confidence left top right bottom` for each detection. Corners are
1-based and inclusive, so a continuous box (x1, y1, x2, y2) is written as x1 + 1, y1 + 1, x2, y2 and comes back the same
way. It is the form in which detectors of other programs can be judged by ours, and ours by the devkit or VOC's server.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Literal

import numpy as np

from singleshot.errors import CannotCreateError, DataError, InputMissingError, nearest
from singleshot.storage import atomic
from singleshot.structures import Dataset, Detections

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
    """The files of a split's classes in a folder, in the order of the class ids, whether they are there or not."""
    return [folder / file_name(dataset.split, name, competition=competition) for name in dataset.label_map.names]


def write(
    detections: Sequence[Detections],
    dataset: Dataset,
    folder: Path,
    *,
    competition: Competition = "comp4",
    overwrite: bool = False,
) -> list[Path]:
    """Write one file a class, an empty one too, and return their paths in the order of the class ids.

    Args:
        detections: by picture, in the order of `dataset.samples`. Boxes may reach outside the picture: they are
            neither clipped nor refused. A picture without detections has no line.
        dataset: gives the split, the ids of the pictures and the class names; it needs no annotations.
        folder: made where it is missing.
        competition: the first part of the files' names.
        overwrite: replace files that are there already.

    Scores and coordinates are written with all their digits: `read` gives the very same numbers back, and so the same
    AP.

    Raises DataError for an image id with a blank in it and for a NaN, CannotCreateError for a file that is there,
    ValueError where detections and pictures do not pair off, and what `atomic.write` does.
    """
    paths = paths_in(folder, dataset, competition=competition)
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise CannotCreateError("the file is there already", file=there[0], remedy="Name another folder or --overwrite")
    lines: list[list[str]] = [[] for _ in paths]
    for sample, picture in zip(dataset.samples, detections, strict=True):
        image_id = sample.image_id
        if not image_id or any(character.isspace() for character in image_id):
            raise DataError(
                f"the image id {image_id!r} is empty or has a blank in it, which result files cannot hold",
                kind="image-id",
                file=sample.image_path,
                remedy="Rename the picture",
            )
        if not (np.isfinite(picture.scores).all() and np.isfinite(picture.boxes_xyxy).all()):
            raise DataError(
                f"a detection in image {image_id!r} has a score or box that is not finite",
                kind="not-finite",
                remedy="Find out where the NaN comes from, most often weights that diverged",
            )
        # tolist() makes Python floats of the same value, and those print as many digits as they need.
        columns = (picture.class_ids, picture.scores, *picture.boxes_xyxy.T)
        for class_id, score, x1, y1, x2, y2 in zip(*(column.tolist() for column in columns), strict=True):
            lines[class_id].append(f"{image_id} {score!r} {_plus_one(x1)} {_plus_one(y1)} {x2!r} {y2!r}\n")
    for path, text in zip(paths, lines, strict=True):
        atomic.write_text(path, "".join(text))
    return paths


def read(source: Path, dataset: Dataset) -> list[Detections]:
    """The detections of every picture of a split, in the order of `dataset.samples`.

    Args:
        source: a folder with the files of one competition, or one of those files where a folder holds both.
        dataset: what the results are for: split, ids of the pictures, class names. It needs no annotations.

    Returns float64 boxes and scores (another program's order may hang on the last digit), in each picture best score
    first, equal scores in the order of class and line. Pictures without a line have no detections. A picture whose
    size its annotation does not give gets `size_hw` (0, 0).

    Raises InputMissingError where `source` is not there. Raises DataError, with file and line, for a class without a
    file, a file of an unknown class, an unknown image id, and a line that is not an id and five finite numbers with
    right ≥ left − 1 and bottom ≥ top − 1 (a continuous box of no width is legal).
    """
    folder, competition = _locate(source, dataset.split)
    names = dataset.label_map.names
    paths = paths_in(folder, dataset, competition=competition)
    _refuse_unknown_classes(folder, competition, dataset)
    for path in paths:
        if not path.is_file():
            raise DataError(
                "the results of this class are missing",
                kind="class-without-file",
                file=path,
                remedy="The devkit wants a file for every class; make an empty one where nothing was found",
            )
    places = {sample.image_id: place for place, sample in enumerate(dataset.samples)}
    images: list[int] = []
    rows: list[tuple[float, ...]] = []
    counts = []
    for path in paths:
        before = len(rows)
        for number, line in enumerate(_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            image_id, row = _parse(line, path, number)
            if image_id not in places:
                raise DataError(
                    f"image {image_id!r} is not in split {dataset.split!r} of {dataset.root}",
                    kind="unknown-image",
                    file=path,
                    line=number,
                    remedy="Judge the results on the split that they were made for",
                )
            images.append(places[image_id])
            rows.append(row)
        counts.append(len(rows) - before)
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    image_indices, class_ids = np.array(images, dtype=np.int64), np.repeat(np.arange(len(names)), counts)
    order = np.lexsort((-table[:, 0], image_indices))
    starts = np.searchsorted(image_indices[order], np.arange(len(dataset) + 1))
    of_pictures = [order[start:stop] for start, stop in itertools.pairwise(starts)]
    return [
        Detections(
            table[chosen, 1:],
            table[chosen, 0],
            class_ids[chosen],
            dataset.label_map.names_of(class_ids[chosen]),
            sample.size_hw or (0, 0),
        )
        for sample, chosen in zip(dataset.samples, of_pictures, strict=True)
    ]


def _locate(source: Path, split: str) -> tuple[Path, Competition]:
    """The folder and the competition that `source` stands for."""
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
    files = [path.name for path in source.iterdir()]
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
    for path in sorted(folder.iterdir()):
        name = path.name.removeprefix(prefix).removesuffix(".txt")
        if not path.name.startswith(prefix) or name in names:
            continue
        ends = [each for each in names if name.endswith(f"_{each}")]
        splits = [f"{dataset.split}_{name.removesuffix(f'_{end}')}" for end in ends]
        missing = [_missing_of(folder, competition, split, names) for split in splits]
        if None in missing:
            continue
        near = nearest(name, names)
        what = f"class {name!r} is unknown" + (f"; near: {near}" if near else "")
        for end, split, path_missing in zip(ends, splits, missing, strict=True):
            what += f"; nor is it class {end!r} of split {split!r}, which has no {path_missing}"
        raise DataError(
            what,
            kind="unknown-class",
            file=path,
            remedy="Judge against the data that the results were made for, or move the file elsewhere",
        )


def _missing_of(folder: Path, competition: Competition, split: str, names: Sequence[str]) -> str | None:
    """The first file that a split's results lack; None where they are whole."""
    files = (file_name(split, name, competition=competition) for name in names)
    return next((file for file in files if not (folder / file).is_file()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError("not UTF-8 text", kind="not-text", file=path, line=line, remedy="Write it anew") from error


def _parse(line: str, path: Path, number: int) -> tuple[str, tuple[float, ...]]:
    """The image id, and the score and continuous box, of one line."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise _bad_line(_why(line), path, number)
    image_id, confidence, left, top, right, bottom = found.groups()
    row = (float(confidence), _minus_one(left), _minus_one(top), float(right), float(bottom))
    # The devkit asks nothing more of a confidence than an order, so scores below 0 or above 1 are legal here.
    if not all(map(math.isfinite, row)):
        raise _bad_line("a number is too large", path, number)
    _, x1, y1, x2, y2 = row
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


def _bad_line(what: str, path: Path, number: int) -> DataError:
    return DataError(what, kind="bad-line", file=path, line=number, remedy=f"A line is `{' '.join(_COLUMNS)}`")

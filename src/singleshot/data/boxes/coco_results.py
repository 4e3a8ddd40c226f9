"""Detections as COCO's result JSON: write ours, read anybody's.

A file is one list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}` in continuous pixels. Ids
are the data set's own: categories with COCO's gaps, pictures by the number in its `images`. What pycocotools drops or
misjudges in silence (a category that does not exist, a NaN, a negative width) is an error here, with its place in the
list. Format: cocodataset.org, "Results format".
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.data.boxes import json_file
from singleshot.data.boxes.json_values import is_id, is_number, number_list, shown
from singleshot.errors import CannotCreateError, DataError
from singleshot.storage import atomic
from singleshot.structures import Dataset, Detections

SHOWN_IDS = 5


def write(detections: Sequence[Detections], dataset: Dataset, file: Path, *, overwrite: bool = False) -> None:
    """Write the detections of a split, with all their digits; a picture without any has no entry.

    Args:
        detections: by picture, in the order of `dataset.samples`.
        dataset: gives ids of pictures and categories. Where its format has none, a class's id is its place, from 1.
        file: the JSON.
        overwrite: replace a file that is there.

    Raises CannotCreateError for a file that is there, DataError for a NaN and for a class that the data set's
    categories do not have, ValueError where detections and pictures do not pair off.
    """
    if file.exists() and not overwrite:
        raise CannotCreateError("the file is there already", file=file, remedy="Name another file or --overwrite")
    category_ids = _category_ids(dataset)
    rows: list[dict[str, Any]] = []
    for sample, picture in zip(dataset.samples, detections, strict=True):
        if not (np.isfinite(picture.scores).all() and np.isfinite(picture.boxes_xyxy).all()):
            raise DataError(
                f"a detection in image {sample.image_id!r} has a score or box that is not finite",
                kind="not-finite",
                remedy="Find out where the NaN comes from, most often weights that diverged",
            )
        image_id = _as_number(sample.image_id)
        boxes_xyxy = picture.boxes_xyxy.astype(np.float64)
        boxes_xywh = np.hstack([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]])
        columns = zip(picture.class_ids.tolist(), boxes_xywh.tolist(), picture.scores.tolist(), strict=True)
        for class_id, box_xywh, score in columns:
            category_id = category_ids[class_id]
            if category_id is None:
                what = f"class {dataset.label_map.names[class_id]!r} is no category of the data set"
                raise DataError(what, kind="unknown-class", file=dataset.root, remedy="Judge on data with that class")
            rows.append({"image_id": image_id, "category_id": category_id, "bbox": box_xywh, "score": score})
    atomic.write_text(file, json.dumps(rows) + "\n")


def read(file: Path, dataset: Dataset) -> list[Detections]:
    """The detections of every picture of a split, in the order of `dataset.samples`.

    Args:
        file: the JSON.
        dataset: what the results are for.

    Returns float64 boxes and scores, in each picture best score first, equal scores in the order of the file. Pictures
    that the file does not name have no detections: see `coverage`.

    Raises DataError for a file that is no such list, and for the first entry with an unknown picture or category, a
    box that is not four finite numbers with a width and height of 0 or more, or a score that is no number in 0…1; the
    message gives its place, `[8].bbox`, and how many more there are.
    """
    rows = json_file.read(file)
    if not isinstance(rows, list):
        remedy = 'COCO results are one list of {"image_id", "category_id", "bbox", "score"}'
        raise DataError("not a list of results", kind="not-coco-results", remedy=remedy, file=file)
    places = {sample.image_id: place for place, sample in enumerate(dataset.samples)}
    classes = {number: class_id for class_id, number in enumerate(_category_ids(dataset)) if number is not None}
    checked = [_checked(row, places, classes) for row in rows]
    faulty = [(place, fault) for place, fault in enumerate(checked) if isinstance(fault, str)]
    if faulty:
        place, fault = faulty[0]
        kinds = Counter(text.split()[0] for _, text in faulty)
        more = f" ({len(faulty)} such entries: {', '.join(f'{count} in {field}' for field, count in kinds.items())})"
        raise DataError(
            f"[{place}].{fault}{more if len(faulty) > 1 else ''}",
            kind="bad-result",
            remedy="Judge the results on the data that they were made for, or mend them",
            file=file,
        )
    table = np.array(checked, np.float64).reshape(-1, 7)
    images, class_ids = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
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


def coverage_warning(found: Sequence[Detections], dataset: Dataset) -> str | None:
    """What to tell a user whose results name only some of the pictures; None where they name all.

    A file of COCO results cannot name a picture in which nothing was found, so this is a warning and no error.
    """
    silent = [sample.image_id for sample, result in zip(dataset.samples, found, strict=True) if not len(result)]
    if not silent:
        return None
    some = ", ".join(silent[:SHOWN_IDS]) + (", …" if len(silent) > SHOWN_IDS else "")
    return f"the results name {len(dataset) - len(silent)} of {len(dataset)} pictures; nothing in {some}"


def _category_ids(dataset: Dataset) -> Sequence[int | None]:
    return dataset.category_ids or range(1, len(dataset.label_map) + 1)


def _as_number(image_id: str) -> int | str:
    return int(image_id) if image_id.isdecimal() and image_id.isascii() and str(int(image_id)) == image_id else image_id


def _checked(row: Any, places: dict[str, int], classes: dict[int, int]) -> tuple[float, ...] | str:
    """Place, class id, corners and score of an entry, or what is wrong with it, its field first."""
    if not isinstance(row, dict):
        return f"{shown(row)} is not an object"
    image_id, category_id, score = row.get("image_id"), row.get("category_id"), row.get("score")
    place = places.get(str(image_id)) if is_id(image_id) else None
    if place is None:
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
    return (float(place), float(class_id), x, y, x + width, y + height, float(score))

"""A data set in COCO's format: `annotations/instances_<split>.json` beside a folder of pictures for each split.

The inverse of `coco.read`: boxes as `[x, y, width, height]` in continuous pixels, in full precision. Ids count from 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.boxes import area
from singleshot.data.convert_plan import Conversion, has_mask_areas, set_up, split_of
from singleshot.structures import Dataset


def write(datasets: Sequence[Dataset], folder: Path, conversion: Conversion) -> None:
    """Write all splits into an empty folder; what COCO cannot hold is said in `conversion.notes`.

    A difficult box that is no crowd gets `"ignore": 1`, as in the VOC files that COCO's authors published; COCO's own
    judge does not look at it.
    """
    set_up(folder, "annotations", *(split_of(dataset) for dataset in datasets))
    categories = [{"id": place, "name": name} for place, name in enumerate(datasets[0].label_map.names, start=1)]
    images: dict[str, list[dict[str, Any]]] = {split_of(dataset): [] for dataset in datasets}
    annotations: dict[str, list[dict[str, Any]]] = {split_of(dataset): [] for dataset in datasets}
    difficult = outlines = 0
    for item in conversion.items(datasets, one_folder=False):
        sample, here = item.sample, annotations[item.split]
        image_id = len(images[item.split]) + 1
        height, width = item.size_hw
        images[item.split].append({"id": image_id, "file_name": item.file_name, "width": width, "height": height})
        outlines += has_mask_areas(sample)
        crowd = np.zeros(len(sample.boxes_xyxy), np.bool_) if sample.crowd is None else sample.crowd
        areas = area(sample.boxes_xyxy) if sample.areas is None else sample.areas
        rows = zip(
            sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), areas.tolist(), crowd, sample.difficult, strict=True
        )
        for (x1, y1, x2, y2), class_id, pixels, is_crowd, hard in rows:
            row = {
                "id": len(here) + 1,
                "image_id": image_id,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": pixels,
                "iscrowd": int(is_crowd),
            }
            if hard and not is_crowd:
                row["ignore"] = 1
                difficult += 1
            here.append(row)
        conversion.copy(item, folder / item.split / item.file_name)
    for split, rows in annotations.items():
        content = {"images": images[split], "annotations": rows, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    what = 'marked "ignore": 1, which COCO\'s judge does not know: they count as ordinary there'
    conversion.note(difficult, "difficult box is", "difficult boxes are", what)
    conversion.note(
        outlines, "picture's outlines are", "pictures' outlines are", "lost: boxes and areas only are written"
    )

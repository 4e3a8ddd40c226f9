"""A data set as a Pascal VOC folder: `JPEGImages`, `Annotations`, `ImageSets/Main`.

The inverse of `voc.read`: corners go back to 1-based and inclusive numbers. What the layout cannot say is returned as
sentences, for the user to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.data.convert_plan import Conversion, Item, counted, has_mask_areas, set_up, split_of
from singleshot.structures import Dataset


def write(datasets: Sequence[Dataset], folder: Path, conversion: Conversion) -> None:
    """Write all splits into an empty folder; what VOC cannot hold is said in `conversion.notes`.

    A box no more than a pixel wide or high is left out: its inclusive corners would be equal, which means empty to a
    reader (`voc_objects`).
    """
    set_up(folder, "JPEGImages", "Annotations", "ImageSets/Main")
    thin = crowds = areas = 0
    used = np.zeros(len(datasets[0].label_map), np.int64)
    for item in conversion.items(datasets, one_folder=True):
        sample, kept = item.sample, _can_be_written(item)
        thin += int((~kept).sum())
        crowds += 0 if sample.crowd is None else int((sample.crowd & kept).sum())
        areas += has_mask_areas(sample)
        used += np.bincount(sample.class_ids[kept], minlength=len(used))
        names = [datasets[0].label_map.names[class_id] for class_id in sample.class_ids[kept].tolist()]
        text = annotation_xml(
            item.file_name, item.size_hw, sample.boxes_xyxy[kept], names, difficult=sample.difficult[kept]
        )
        (folder / "Annotations" / f"{item.stem}.xml").write_text(text, encoding="utf-8")
        conversion.copy(item, folder / "JPEGImages" / item.file_name)
    for dataset in datasets:
        stems = "".join(f"{sample.image_path.stem}\n" for sample in dataset.samples)
        # File names are bytes on Linux, and come back as the bytes they were.
        split_list = folder / "ImageSets" / "Main" / f"{split_of(dataset)}.txt"
        split_list.write_bytes(stems.encode("utf-8", "surrogateescape"))
    absent = [name for name, count in zip(datasets[0].label_map.names, used.tolist(), strict=True) if not count]
    conversion.note(thin, "box is", "boxes are", "no more than a pixel wide or high, which VOC cannot say: left out")
    conversion.note(crowds, "crowd is", "crowds are", "written as difficult: VOC knows no crowds")
    if absent:
        conversion.notes.append(f"VOC has no list of classes: {', '.join(absent)} have no object and are lost")
    if list(datasets[0].label_map.names) != sorted(datasets[0].label_map.names):
        conversion.notes.append("VOC has no order of classes: a reader sorts them by name, so their ids change")
    if areas:
        carriers = counted(areas, "picture", "pictures")
        conversion.notes.append(f"outlines and their areas (in {carriers}) are lost: VOC has boxes only")


def _can_be_written(item: Item) -> np.ndarray:
    """(N,) whether inclusive corners can say each box: more than a pixel each way."""
    sides = item.sample.boxes_xyxy[:, 2:] - item.sample.boxes_xyxy[:, :2]
    return np.asarray((sides > 1).all(axis=1))

"""A data set in YOLO's format: `data.yaml`, `images/<split>/*` and `labels/<split>/*.txt`.

The inverse of `yolo.read`: centres and sizes as fractions of the picture, with digits enough for a millionth of a
pixel. A picture without objects gets an empty file of labels, so that it is seen to be meant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from singleshot import boxes
from singleshot.data.convert_plan import Conversion, has_mask_areas, set_up, split_of
from singleshot.errors import UsageError
from singleshot.structures import Dataset

SPLITS = ("train", "val", "test")


def write(datasets: Sequence[Dataset], folder: Path, conversion: Conversion) -> None:
    """Write all splits into an empty folder; what YOLO cannot hold is said in `conversion.notes`.

    Raises UsageError for a split that is not train, val or test: `data.yaml` has no place for another.
    """
    splits = [split_of(dataset) for dataset in datasets]
    strange = [split for split in splits if split not in SPLITS]
    if strange:
        what = f"YOLO knows the splits train, val and test, not {', '.join(strange)}"
        raise UsageError(what, remedy="Choose some of them by --split")
    set_up(folder, *(f"{part}/{split}" for part in ("images", "labels") for split in splits))
    difficult = crowds = areas = 0
    for item in conversion.items(datasets, one_folder=False):
        sample, (height, width) = item.sample, item.size_hw
        rows = boxes.xyxy_to_cxcywh(boxes.scale(sample.boxes_xyxy, (1 / height, 1 / width))).tolist()
        lines = [
            " ".join([str(class_id), *(f"{number:.12g}" for number in row)])
            for class_id, row in zip(sample.class_ids.tolist(), rows, strict=True)
        ]
        text = "".join(f"{line}\n" for line in lines)
        (folder / "labels" / item.split / f"{item.stem}.txt").write_text(text, encoding="utf-8")
        conversion.copy(item, folder / "images" / item.split / item.file_name)
        crowd = int(sample.crowd.sum()) if sample.crowd is not None else 0
        crowds += crowd
        difficult += int(sample.difficult.sum()) - crowd
        areas += has_mask_areas(sample)
    # JSON's strings are YAML's: a class called `no` or `1` stays text. Its escapes are not: they cut an emoji in two.
    names = "".join(
        f"  {place}: {json.dumps(name, ensure_ascii=False)}\n" for place, name in enumerate(datasets[0].label_map.names)
    )
    places = "".join(f"{split}: images/{split}\n" for split in splits)
    (folder / "data.yaml").write_text(f"{places}names:\n{names}", encoding="utf-8")
    conversion.note(difficult, "difficult box is", "difficult boxes are", "ordinary now: YOLO knows no difficult ones")
    conversion.note(crowds, "crowd is an", "crowds are", "ordinary boxes now: YOLO knows no crowds")
    conversion.note(areas, "picture's outlines are", "pictures' outlines are", "lost: boxes only are written")

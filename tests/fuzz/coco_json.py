"""COCO's instances files."""

from __future__ import annotations

import json
from pathlib import Path

from singleshot.data.boxes import coco
from tests.fuzz.harness import Target, main
from tests.fuzz.laws import check_dataset

GOOD = {
    "info": {"year": 2026},
    "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 2.5, 9, 8],
            "area": 72,
            "iscrowd": 0,
            "segmentation": [],
        },
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 2, 9, 8], "iscrowd": 1},
        {
            "id": 3,
            "image_id": 1,
            "category_id": 3,
            "bbox": [0, 0, 5, 5],
            "segmentation": {"counts": [0, 2400], "size": [40, 60]},
        },
        {"id": 4, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "segmentation": [[1, 1, 5, 1, 5, 5]]},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}
PIECES = (
    b'"images" "annotations" "categories" "id" "bbox" "image_id" "category_id" "segmentation" "counts" "size" '
    b'"iscrowd" "area" "width" "height" "file_name" null true false NaN Infinity -1 1e400 0 [] {} [ ] { } , : "" '
    b'"../a" "a\\u0000" [[[[[[[[ 99999999999999999999 0.5 \xff \xef\xbb\xbf'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    file = scratch / "instances_train.json"
    file.write_bytes(data)
    return check_dataset(coco.read(file, "train", with_images=False))


TARGET = Target("coco_json", [json.dumps(GOOD).encode(), json.dumps(GOOD, indent=1).encode()], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from singleshot.data.boxes import coco_writer
from singleshot.data.convert_plan import Conversion
from singleshot.structures import Dataset, LabelMap, Sample


def test_the_json_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[1.0, 2.0, 11.0, 22.5]])
    sample = Sample("a", tmp_path / "a.png", (30, 40), rows, np.array([1]), np.array([True]))
    data = Dataset(tmp_path, "voc", "val", LabelMap(("cat", "dog")), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    coco_writer.write([data], out, Conversion())
    assert json.loads((out / "annotations" / "instances_val.json").read_text()) == {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [1.0, 2.0, 10.0, 20.5],
                "area": 205.0,
                "iscrowd": 0,
                "ignore": 1,
            }
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    assert (out / "val" / "a.png").is_file()

"""Other programs' results: the devkit's comp4 files (after a `T` line) and COCO's result JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot.data.boxes import results
from singleshot.structures import Dataset, LabelMap, Sample
from tests.fuzz.harness import Target, main

DATASET = Dataset(
    Path("data"),
    "voc",
    "test",
    LabelMap(("cat",)),
    [
        Sample(name, Path(f"{name}.jpg"), (40, 60), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))
        for name in ("1", "a b")
    ],
    category_ids=(3,),
)
JSON = (
    b'[{"image_id": 1, "category_id": 3, "bbox": [1, 2.5, 9, 8], "score": 0.5}, {"image_id": "a b", "category_id": 3, '
)
JSON += b'"bbox": [0, 0, 0, 0], "score": 1}]'
PIECES = (
    b'"image_id" "category_id" "bbox" "score" NaN Infinity null true -1 1e400 0 1.5 [] {} [ ] { } , : "1" nan inf 1_0 '
    b"0x1 \xd9\xa3 \xff \xef\xbb\xbf \x00 a"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """One record a picture, best score first; boxes are finite and not inverted."""
    if data[:2] == b"T\n":
        (scratch / "comp4_det_test_cat.txt").write_bytes(data[2:])
        found = results.read_voc(scratch, DATASET)
    else:
        (scratch / "results.json").write_bytes(data)
        found = results.read_coco(scratch / "results.json", DATASET)
    assert len(found) == 2
    for result in found:
        assert np.isfinite(result.boxes_xyxy).all() and np.isfinite(result.scores).all()
        assert (result.boxes_xyxy[:, 2:] >= result.boxes_xyxy[:, :2]).all()
        assert (np.diff(result.scores) <= 0).all()
    return f"{data[:2] == b'T' + bytes([10])} {min(sum(map(len, found)), 9)} detections"


TEXT = b"T\n1 0.5 1 2 10 12.5\na b 0.25 3 4 5 6\r\n1 1e-3 1 1 60 40\n"
TARGET = Target("results", [TEXT, JSON, b"[]", b"T\n"], [*PIECES, b" ", b"\n"], run)

if __name__ == "__main__":
    main(TARGET)

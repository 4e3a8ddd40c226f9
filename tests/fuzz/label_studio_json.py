"""Label Studio's export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from singleshot.data.boxes import label_studio
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset


def _region(kind: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": 60, "original_height": 40, "image_rotation": 0}
    return {**size, "id": kind, "type": kind, "value": {**value, kind: ["cat"]}}


REGIONS = [
    _region("rectanglelabels", x=10, y=20.5, width=50, height=25, rotation=30),
    _region("polygonlabels", points=[[10, 10], [50, 20], [30, 75]]),
    _region("ellipselabels", x=50, y=50, radiusX=10, radiusY=30, rotation=0),
    _region("brushlabels", rle=[1, 2, 3]),
]
TASK = {"id": 1, "data": {"image": "/data/upload/1/0f3a9c1e-a.png"}, "annotations": [{"result": REGIONS}]}
SHORT = {"image": "a.png", "label": [{**REGIONS[0]["value"], "original_width": 60, "original_height": 40}]}
PIECES = (
    b'"data" "image" "annotations" "result" "value" "type" "rectanglelabels" "points" "radiusX" "rotation" "labels" '
    b'"was_cancelled" "ground_truth" null true NaN -1 1e400 1e149 0 [] {} [ ] { } , : "" "a\\u0000" "%00.png" "a.png" '
    b"[[[[[[[[ 99999999999999999999 0.5 \xff \xef\xbb\xbf"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    file = scratch / "export.json"
    file.write_bytes(data)
    return check_dataset(label_studio.read(file, "all", allow_unlabelled=True))


TARGET = Target("label_studio_json", [json.dumps([TASK]).encode(), json.dumps([SHORT]).encode()], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

"""LabelMe's files."""

from __future__ import annotations

import json
from pathlib import Path

from singleshot.data.boxes import labelme
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

GOOD = {
    "version": "5.4.1",
    "flags": {},
    "shapes": [
        {"label": "cat", "points": [[1, 2], [30.5, 20]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 2], [3, 4], [9, 1]], "shape_type": "polygon"},
        {"label": "dog", "points": [[20, 20], [23, 24]], "shape_type": "circle"},
        {"label": "dog", "points": [[20, 20]], "shape_type": "point"},
    ],
    "imagePath": "a.png",
    "imageData": None,
    "imageHeight": 40,
    "imageWidth": 60,
}
PIECES = (
    b'"shapes" "label" "points" "shape_type" "rectangle" "circle" "polygon" "imageHeight" "imageWidth" null true NaN '
    b'-1 1e400 1e149 0 [] {} [ ] { } , : "" "a\\u0000" " cat" [[[[[[[[ 99999999999999999999 0.5 \xff \xef\xbb\xbf'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    (scratch / "a.json").write_bytes(data)
    return check_dataset(labelme.read(scratch, "all"))


TARGET = Target("labelme_json", [json.dumps(GOOD).encode(), json.dumps(GOOD, indent=1).encode()], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

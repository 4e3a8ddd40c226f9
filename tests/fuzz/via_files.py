"""VIA's projects, and its CSV files: what begins like JSON is given as that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from singleshot.data.boxes import via
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset


def _region(name: str, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": {"name": name, **shape}, "region_attributes": {"type": "cat"}}


REGIONS = [
    _region("rect", x=1, y=2, width=30, height=20.5),
    _region("polygon", all_points_x=[1, 20, 9], all_points_y=[3, 4, 30]),
    _region("circle", cx=20, cy=20, r=5),
    _region("ellipse", cx=20, cy=20, rx=5, ry=9, theta=0.5),
    _region("point", cx=1, cy=1),
]
TABLE = {"a.png5": {"filename": "a.png", "size": 5, "regions": REGIONS, "file_attributes": {}}}
OLD = {"a.png5": {"filename": "a.png", "regions": {"0": REGIONS[0] | {"region_attributes": {"type": {"cat": True}}}}}}
HEADER = b"filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
ROW = b'a.png,5,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":30,""height"":20}","{""type"":""cat""}"\n'
PIECES = (
    b'"_via_img_metadata" "filename" "regions" "shape_attributes" "region_attributes" "name" "rect" "polygon" '
    b'"ellipse" "all_points_x" "theta" "type" null true NaN -1 1e400 1e149 0 [] {} [ ] { } , : "" """ "a\\u0000" '
    b'{"cat":true} '
    b"[[[[[[[[ 99999999999999999999 0.5 \r \n \xff \xef\xbb\xbf"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    file = scratch / ("via.json" if data.lstrip()[:1] in (b"{", b"[") else "via.csv")
    file.write_bytes(data)
    return check_dataset(via.read(file, "all"))


SEEDS = [json.dumps({"_via_img_metadata": TABLE}).encode(), json.dumps(OLD).encode(), HEADER + ROW]
TARGET = Target("via_files", SEEDS, PIECES, run)

if __name__ == "__main__":
    main(TARGET)

"""`streets.json`, from which the drawn streets' masks have their classes."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.masks import folders as mask_folders
from tests.fuzz.harness import Target, main

PIECES = b'"mask" : , [ ] { } "road" "" null true 1e9 NaN "\\u0000" "\\ud800" [[[[[[[[ \xff \xef\xbb\xbf \n'.split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """Classes with names, of a split whose only picture is missing."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (scratch / part).mkdir(parents=True, exist_ok=True)
    (scratch / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (scratch / "streets.json").write_bytes(data)
    found = mask_folders.read(scratch, "train")
    assert all(name.strip() for name in found.label_map.names) and len(found.faults) == 1
    return f"{min(len(found.label_map), 9)} classes"


TARGET = Target("streets_json", [b'{"mask": ["road", "car"], "seed": 0}', b"[]", b""], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

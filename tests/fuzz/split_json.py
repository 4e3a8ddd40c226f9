"""Files of splits."""

from __future__ import annotations

from pathlib import Path

from singleshot.data import split_file
from tests.fuzz.harness import Target, main

GOOD = (
    b'{"singleshot_split": 1, "data": "cards", "by": "group", "seed": 0, "shares": {"val": 0.15},'
    b' "splits": {"train": ["a.jpg", "x/b.jpg"], "val": ["c.jpg"]}}'
)
PIECES = (
    b'"splits" "shares" "sha256" "by" "seed" "train" "a.jpg" {} [] null 1 -1 NaN 1e400 "\\ud800" [ ] { } , :'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """No image is in two splits, and what is read is written the same."""
    file = scratch / "split.json"
    file.write_bytes(data)
    found = split_file.read(file)
    images = [image for names in found.splits.values() for image in names]
    assert len(set(images)) == len(images)
    found.write(scratch / "again.json")
    assert split_file.read(scratch / "again.json") == found
    return f"read {len(found.splits)}"


TARGET = Target("split_json", [GOOD], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

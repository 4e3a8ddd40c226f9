"""KITTI's object labels."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import kitti_objects
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

GOOD = (
    b"Car 0.00 0 -1.58 1.01 2.33 30.12 20.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
    b"DontCare -1 -1 -10 5.0 6.0 9.0 9.5 -1 -1 -1 -1000 -1000 -1000 -10\n"
    b"Pedestrian 0.5 1 0.2 20 5 25 38 1 1 1 1 1 1 1 0.98\n"
)
PIECES = b"Car DontCare -1 0 1e99 nan inf 1_0 \xd9\xa1 60.00 40 . - \t \r \n \x00 \x0b \x85 \xff \xef\xbb\xbf".split(
    b" "
)


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    (scratch / "a.txt").write_bytes(data)
    return check_dataset(kitti_objects.read(scratch, "all"))


TARGET = Target("kitti_labels", [GOOD], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

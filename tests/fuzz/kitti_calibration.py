"""KITTI road's calibration files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot.data.masks import kitti_road
from tests.fuzz.harness import Target, main

GOOD = b"P2: 100 0 200 0 0 100 50 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_cam_to_road: 1 0 0 0 0 1 0 -1.5 0 0 1 0\n"
PIECES = b"P2: |R0_rect: |Tr_cam_to_road: |nan|inf|1e308|-1e308|1e-300|0 |1 |0x1|1_0|:|\n|\r|\xff|\x00".split(b"|")


def run(data: bytes, scratch: Path) -> str:
    """A calibration that is read gives a look-up inside the picture, whatever its numbers."""
    file = scratch / "c.txt"
    file.write_bytes(data)
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = kitti_road.homography(kitti_road.read_calibration(file))
        rows, columns, seen = kitti_road.birds_eye_pixels(matrix, (30, 40))
    assert ((rows >= 0) & (rows < 30) & (columns >= 0) & (columns < 40)).all()
    return f"seen {seen.any()}"


TARGET = Target("kitti_calibration", [GOOD, b""], PIECES, run)

if __name__ == "__main__":
    main(TARGET)

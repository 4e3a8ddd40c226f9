"""A picture of some rows of a review's page, for the documentation.

    python -m tools.review_crops review/review.html --rows 1 2 6 5 32 17 --out docs/images/bccd-review.jpg

Takes the crops as the page of `singleshot data review` shows them and puts them side by side, three in a line, in the
order that is given.
"""

from __future__ import annotations

import argparse
import base64
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

CELL_HW, COLUMNS, GAP = (200, 240), 3, 8
_SHOT = re.compile(r"<img src='data:image/jpeg;base64,(?P<data>[^']+)' alt='(?P<rank>\d+)\. ")


def crops(page: str) -> dict[int, ndarray]:
    """Return the crops of a page by their rank, as (H, W, 3) uint8 BGR. Empty where the page lists nothing.

    Raises ValueError for a crop that is not a JPEG.
    """
    found = {}
    for shot in _SHOT.finditer(page):
        image = cv2.imdecode(np.frombuffer(base64.b64decode(shot["data"]), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"the crop of row {shot['rank']} is no JPEG")
        found[int(shot["rank"])] = image
    return found


def side_by_side(parts: Sequence[ndarray]) -> ndarray:
    """Return images on white, each as large as its cell allows, as (H, W, 3) uint8."""
    height, width = CELL_HW
    lines = -(-len(parts) // COLUMNS)
    sheet = np.full((lines * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, part in enumerate(parts):
        share = min(height / part.shape[0], width / part.shape[1])
        small = cv2.resize(part, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)[:height, :width]
        top = place // COLUMNS * (height + GAP) + (height - small.shape[0]) // 2
        left = place % COLUMNS * (width + GAP) + (width - small.shape[1]) // 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="review.html")
    parser.add_argument("--rows", type=int, nargs="+", required=True, help="ranks, in the order of the picture")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    found = crops(options.page.read_text(encoding="utf-8"))
    absent = [rank for rank in options.rows if rank not in found]
    if absent:
        parser.error(f"{options.page} has no crop of row {absent[0]}")
    encoded, jpeg = cv2.imencode(
        ".jpg", side_by_side([found[rank] for rank in options.rows]), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    if not encoded:
        raise OSError("the picture could not be encoded")
    options.out.write_bytes(jpeg.tobytes())


if __name__ == "__main__":
    main()

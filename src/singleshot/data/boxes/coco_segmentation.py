"""COCO's `segmentation` fields, checked and never drawn: a detector needs boxes, and drawing is open to attack.

The C code that usually unpacks them divides by zero at a size of 0, and works for minutes on a polygon a hundred
million pixels wide. Here polygons and run lengths are only counted: whether their numbers are numbers, and whether
the runs cover the image. The result replaces the field, so a large file's polygons never fill the memory.

Format: cocoapi, `common/maskApi.c` (`rleFrString`) and `PythonAPI/pycocotools/coco.py` (`annToRLE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LARGEST_COORDINATE = 1e6
EMPTY = ""
"""Stands for a field that is null or {}: some exporters write that for an object without an outline."""
OUTLINE = "outline"
"""Stands for well-formed polygons."""
MAX_RUNS = 10_000_000


@dataclass(frozen=True)
class Runs:
    """Run lengths, summed up.

    Args:
        size_hw: the image's size as the field has it.
        pixels: the sum of the runs.
    """

    size_hw: tuple[int, int]
    pixels: int


def checked(segmentation: Any) -> Runs | str | None:
    """Check a field: return the sum of its runs, or what is wrong with it, or None for well-formed polygons.

    >>> checked([[10, 10, 20, 10, 20, 20]]) is None
    True
    >>> checked({"size": [2, 3], "counts": [4, 2]})
    Runs(size_hw=(2, 3), pixels=6)
    >>> checked([[10, 10, None, 10]])
    'a polygon holds something else than numbers'
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation)
    if isinstance(segmentation, dict):
        return _runs(segmentation)
    return "neither a list of polygons nor run lengths"


def _polygons(polygons: list[Any]) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            return "a polygon is not a list"
        if len(polygon) % 2:
            return f"a polygon of {len(polygon)} numbers, which are not pairs"
        try:  # min and max compare all of them at C's speed, and fail for anything but numbers
            low, high = min(polygon, default=0), max(polygon, default=0)
            far = low < -LARGEST_COORDINATE or high > LARGEST_COORDINATE
        except TypeError:
            return "a polygon holds something else than numbers"
        if far:
            return f"a polygon reaches farther than {LARGEST_COORDINATE:.0f} pixels"
    return None


def _runs(field: dict[str, Any]) -> Runs | str:
    size, counts = field.get("size"), field.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and 0 < side <= 10**6 for side in size)
    ):
        return "run lengths without a size of two whole numbers above 0"
    if isinstance(counts, str):
        unpacked = _unpacked(counts)
        if unpacked is None:
            return "run lengths in a text that is none of COCO's"
        counts = unpacked
    if not isinstance(counts, list) or len(counts) > MAX_RUNS:
        return "run lengths that are no list"
    if not all(type(run) is int and run >= 0 for run in counts):
        return "a run length that is not a whole number of 0 or more"
    return Runs((size[0], size[1]), sum(counts))


def _unpacked(text: str) -> list[int] | None:
    """COCO's packed run lengths: five bits a character, a sixth for more; from the fourth run on, differences."""
    runs: list[int] = []
    value, shift = 0, 0
    if len(text) > MAX_RUNS:
        return None
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return None if shift else runs

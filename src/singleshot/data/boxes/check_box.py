"""The one rule for boxes: a reader turns its corners into continuous edges and asks here what is wrong with them.

Formats differ in two numbers only. VOC's corners are *inclusive* pixels, so by the letter a box with xmin = xmax is
one pixel wide; nobody draws one pixel, though: equal corners are what a click leaves behind (BCCD has two such boxes),
and tools with continuous corners write them for empty boxes. As edges such a box is one pixel wide, so under the rule
`INCLUSIVE` one pixel is no size. COCO and YOLO round their numbers, so a box may reach over the image's edge by the
rounding and is clipped without a fault.

Inclusive corners: the VOC2007 development kit (`VOCevaldet.m` adds 1 to every side).
"""

from __future__ import annotations

import math
from typing import NamedTuple

USABLE = ("clipped-box", "swapped-box")
"""The kinds of fault whose box is used nevertheless."""
LEFT_OUT = ("not-a-number", "inverted-box", "zero-size-box", "outside-box")
"""The kinds of fault whose box never reaches a sample."""
UNKNOWN_SIZE_HW = (2**30, 2**30)
"""For an image of unknown size: no box reaches over its right or lower edge."""


class BoxRule(NamedTuple):
    """What a format calls a box.

    Args:
        smallest_side_px: a box with a side of this length has no size; one with a shorter side is inverted.
        rounding_px: a box may reach over the image's edge by this much without a fault.
    """

    smallest_side_px: float
    rounding_px: float


INCLUSIVE = BoxRule(smallest_side_px=1.0, rounding_px=0.0)
"""Pascal VOC."""
CONTINUOUS = BoxRule(smallest_side_px=0.0, rounding_px=0.02)
"""COCO, whose boxes are written with two decimals, and YOLO, whose fractions have six or so."""


class BoxFault(NamedTuple):
    """A kind of fault (see `data.faults`), and what is wrong, to follow the name of the box in a message."""

    kind: str
    message: str


def check_box(
    box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int], rule: BoxRule = CONTINUOUS
) -> BoxFault | None:
    """Return the first fault of a box, or None for a good one.

    Args:
        box_xyxy: edges in continuous, 0-based pixels, in any order, finite or not.
        size_hw: height and width of the image; `UNKNOWN_SIZE_HW` if nobody knows.
        rule: the format's rule.

    Returns:
        A fault of the kind `not-a-number`, `inverted-box` or `zero-size-box` (fatal), `outside-box` (a warning; the
        box cannot be used), or `clipped-box` (a warning; it can).

    >>> check_box((9.0, 4.0, 10.0, 20.0), (40, 60), INCLUSIVE)
    BoxFault(kind='zero-size-box', message='has zero width')
    >>> check_box((9.0, 4.0, 10.0, 20.0), (40, 60)) is None
    True
    """
    x1, y1, x2, y2 = box_xyxy
    height, width = size_hw
    # Subtracted as the reader subtracted it from the first corner: so equal corners are equal after rounding, too.
    right, bottom = x2 - rule.smallest_side_px, y2 - rule.smallest_side_px
    if 0 <= x1 < right and 0 <= y1 < bottom and x2 <= width and y2 <= height:
        return None
    if not all(map(math.isfinite, box_xyxy)):
        return BoxFault("not-a-number", "is not finite")
    if right < x1 or bottom < y1:
        return BoxFault("inverted-box", "is inverted: its second corner lies before its first")
    if right == x1 or bottom == y1:
        sides = " and ".join(side for side, zero in (("width", right == x1), ("height", bottom == y1)) if zero)
        return BoxFault("zero-size-box", f"has zero {sides}")
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return BoxFault("outside-box", f"lies outside the {width}×{height} image and is left out")
    if min(x1, y1) < -rule.rounding_px or x2 > width + rule.rounding_px or y2 > height + rule.rounding_px:
        return BoxFault("clipped-box", f"reaches over the edge of the {width}×{height} image and is clipped")
    return None

"""What can be wrong with a box in continuous pixels: one rule for the formats whose corners are continuous.

COCO's and YOLO's numbers are edges and not pixel indices, so a box of no width is empty and is never a pixel. (VOC's
corners are inclusive and have a rule of their own.) A box that reaches over the edge by less than its writer's
rounding is clipped without a word; anything else that has to be changed or left out is named.
"""

from __future__ import annotations

import math
from pathlib import Path

from singleshot.errors import Fault, Severity

ROUNDING_PX = 0.02
"""COCO's boxes are written with two decimals, YOLO's fractions with six or so."""
KEPT = ("clipped-box",)
"""The kinds whose box is used nevertheless, clipped."""
LEFT_OUT = ("not-a-number", "inverted-box", "zero-size-box", "outside-box")
"""The kinds whose box never reaches a sample."""


def fault_of(
    box_xyxy: tuple[float, float, float, float],
    size_hw: tuple[int, int],
    shown: str,
    file: Path,
    line: int | None = None,
) -> Fault | None:
    """The first fault of a box; None for a good one.

    Args:
        box_xyxy: continuous pixels, in any order, finite or not.
        size_hw: height and width of the picture.
        shown: the box as its file has it, for the message.
        file: where it stands.
        line: its line there; None for a format without lines.

    Returns:
        A fault of the kind `not-a-number`, `inverted-box` or `zero-size-box` (fatal), `outside-box` (a warning; the
        box cannot be used) or `clipped-box` (a warning; it can).
    """
    x1, y1, x2, y2 = box_xyxy
    height, width = size_hw
    kind, what = "", ""
    if not all(map(math.isfinite, box_xyxy)):
        kind, what = "not-a-number", "is not finite. Correct or delete it."
    elif x2 < x1 or y2 < y1:
        kind, what = "inverted-box", "has a negative width or height. Correct or delete it."
    elif x2 == x1 or y2 == y1:
        sides = " and ".join(side for side, zero in (("width", x2 == x1), ("height", y2 == y1)) if zero)
        kind, what = "zero-size-box", f"has zero {sides}. Draw it anew or delete it."
    elif x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        kind, what = "outside-box", f"lies outside the {width}×{height} picture; it is left out. Correct or delete it."
    elif min(x1, y1) < -ROUNDING_PX or x2 > width + ROUNDING_PX or y2 > height + ROUNDING_PX:
        kind, what = "clipped-box", f"reaches over the edge of the {width}×{height} picture; it is clipped. Correct it."
    if not kind:
        return None
    severity: Severity = "warning" if kind in ("outside-box", "clipped-box") else "fatal"
    return Fault(file, line, kind, severity, f"{shown} {what}")

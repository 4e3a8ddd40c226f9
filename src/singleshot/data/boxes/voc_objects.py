"""Which annotated objects can be used, and what is wrong with the others: one rule for reading and for the audit.

VOC's corners are 1-based and *inclusive*, so by the letter a box with xmin = xmax is one pixel wide. Nobody draws one
pixel, though: equal corners are what a click leaves behind (BCCD has two such boxes), and tools whose corners are
continuous write them for empty boxes. They are named as of zero size.

Corners: the VOC2007 development kit (`VOCevaldet.m` adds 1 to every side).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from singleshot.data.boxes.voc_xml import AnnotatedObject
from singleshot.errors import Fault, Severity, nearest

SHOWN_NAMES = 20
KEPT = ("clipped-box", "swapped-box")
"""The kinds whose object is used nevertheless."""


def upright(item: AnnotatedObject) -> AnnotatedObject:
    """The object with its corners in order, for `--fix-boxes`: the smaller number of each pair comes first."""
    xmin, ymin, xmax, ymax = item.corners
    return replace(item, corners=(min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)))


def swapped(item: AnnotatedObject, file: Path) -> Fault:
    """The note that an inverted box was put upright."""
    what = f"{shown(item)} is inverted; its corners are swapped. Correct the file."
    return Fault(file, item.box_line, "swapped-box", "warning", what)


def is_inverted(item: AnnotatedObject) -> bool:
    """Whether the second corner lies left of or above the first."""
    xmin, ymin, xmax, ymax = item.corners
    return xmax < xmin or ymax < ymin


def shown(item: AnnotatedObject) -> str:
    """The box as its file has it, for messages."""
    xmin, ymin, xmax, ymax = item.corners
    return f"box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}) of class {item.name!r}"


def fault_of(item: AnnotatedObject, file: Path, size_hw: tuple[int, int], names: tuple[str, ...]) -> Fault | None:
    """The first fault of an object: its class, then its box. None for a good one.

    Args:
        item: the object, its corners as written.
        file: its annotation.
        size_hw: height and width of the picture.
        names: the classes that there are.

    Returns:
        A fault of the kind `unknown-class`, `inverted-box` or `zero-size-box` (fatal), `outside-box` (a warning; the
        object cannot be used), or `clipped-box` (a warning; it can).
    """
    xmin, ymin, xmax, ymax = item.corners
    height, width = size_hw
    box = shown(item)
    if item.name != item.name.strip():
        what = f"class {item.name!r} has a space at its edge. Delete the space."
        return Fault(file, item.name_line, "unknown-class", "fatal", what)
    if item.name not in names:
        what = f"class {item.name!r} is unknown. {suggestion(item.name, names)}"
        return Fault(file, item.name_line, "unknown-class", "fatal", what)
    if is_inverted(item):
        what = f"{box} is inverted: its second corner lies before its first. Swap them (--fix-boxes) or delete it."
        return Fault(file, item.box_line, "inverted-box", "fatal", what)
    if xmax == xmin or ymax == ymin:
        sides = " and ".join(side for side, zero in (("width", xmax == xmin), ("height", ymax == ymin)) if zero)
        what = f"{box} has zero {sides}. Draw it anew or delete the object."
        return Fault(file, item.box_line, "zero-size-box", "fatal", what)
    kind: str | None = None
    severity: Severity = "warning"
    if xmin - 1 >= width or ymin - 1 >= height or xmax <= 0 or ymax <= 0:
        kind, what = "outside-box", f"lies outside the {width}×{height} picture; it is left out. Correct or delete it."
    elif xmin < 1 or ymin < 1 or xmax > width or ymax > height:
        kind, what = "clipped-box", f"reaches over the edge of the {width}×{height} picture; it is clipped. Correct it."
    else:
        return None
    return Fault(file, item.box_line, kind, severity, f"{box} {what}")


def suggestion(name: str, names: tuple[str, ...]) -> str:
    """The class that was probably meant, or the list of them, as a sentence."""
    near = nearest(name.strip(), names)
    if near is not None:
        return f"Near: {near}."
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"The classes are: {', '.join(names[:SHOWN_NAMES])}{more}."

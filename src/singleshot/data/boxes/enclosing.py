"""The box around a shape that is none: a polygon, a rotated rectangle, an ellipse.

Shapes are in continuous pixels, x to the right and y down, so a positive angle turns clockwise on the screen. A
rectangle or ellipse whose sides are fractions of the image must be in pixels before it is turned: fractions of a wide
image are no similar figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]


def of_points(xs: Sequence[float], ys: Sequence[float]) -> Box:
    """Return the box (x1, y1, x2, y2) around some points, at least one.

    >>> of_points([4.0, 1.0, 9.0], [2.0, 8.0, 3.0])
    (1.0, 2.0, 9.0, 8.0)
    """
    return min(xs), min(ys), max(xs), max(ys)


def of_rectangle(box_xyxy: Box, degrees: float, pivot: tuple[float, float] | None = None) -> Box:
    """Return the box around a rectangle that is turned clockwise.

    Args:
        box_xyxy: the rectangle before it is turned; its corners may be in any order.
        degrees: the angle.
        pivot: the point (x, y) that it is turned about; None for its centre.

    >>> [round(edge, 6) for edge in of_rectangle((0.0, 0.0, 4.0, 2.0), 90.0)]
    [1.0, -1.0, 3.0, 3.0]
    """
    if not degrees % 360:
        return box_xyxy
    x1, y1, x2, y2 = box_xyxy
    at_x, at_y = ((x1 + x2) / 2, (y1 + y2) / 2) if pivot is None else pivot
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x - at_x, y - at_y) for x in (x1, x2) for y in (y1, y2)]
    return of_points(
        [at_x + x * cosine - y * sine for x, y in corners], [at_y + x * sine + y * cosine for x, y in corners]
    )


def of_ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Box:
    """Return the box around an ellipse with this centre and these radii, turned clockwise about the centre.

    >>> [round(edge, 6) for edge in of_ellipse(10.0, 10.0, 5.0, 2.0, 90.0)]
    [8.0, 5.0, 12.0, 15.0]
    """
    width, height = abs(radius_x), abs(radius_y)
    if degrees % 360:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        width, height = math.hypot(width * cosine, height * sine), math.hypot(width * sine, height * cosine)
    return x - width, y - height, x + width, y + height

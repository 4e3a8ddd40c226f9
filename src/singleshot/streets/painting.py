"""Coloured polygons in perspective: a pinhole camera over a flat street, and the light on what is in front of it.

Everything in a drawn street is an `Item`: polygons that are projected once and then painted twice, as numbers onto a
map (which item is visible at each pixel) and as colours onto the image. Because the same polygons serve both, a box or
a mask cannot disagree with the pixels. Metres are x to the right of the camera, y up from the
ground, z away from the camera; colours are RGB, 0 to 255.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8
from numpy import ndarray

Number = int | float  # checkers of annotations at run time do not take an int for a float
Colour = tuple[Number, Number, Number]
Point = tuple[Number, Number] | tuple[Number, Number, Number]

_SHIFT = 4  # OpenCV takes corners as integers; 4 fractional bits place them to a sixteenth of a pixel
CIRCLE = tuple((math.cos(2 * math.pi * i / 14), math.sin(2 * math.pi * i / 14)) for i in range(14))


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera: where a point of the street appears in the image.

    Args:
        focal: focal length in pixels.
        height_m: height of the lens over the ground.
        centre_x: column of the vanishing point.
        horizon_y: row of the horizon.
    """

    focal: float
    height_m: float
    centre_x: float
    horizon_y: float

    def project(self, points_m: Float[ndarray, "*N 3"]) -> Int32[ndarray, "*N 2"]:
        """Project points in metres, z > 0, to pixel corners as OpenCV's drawing functions take them (in sixteenths)."""
        scale = self.focal / points_m[..., 2]
        x = self.centre_x + scale * points_m[..., 0]
        y = self.horizon_y + scale * (self.height_m - points_m[..., 1])
        # OpenCV counts from pixel centres, our frames from pixel edges. Far outside is as good as further outside.
        corners = (np.stack([x, y], axis=-1) - 0.5).clip(-8000, 8000) * (1 << _SHIFT)
        return np.rint(corners).astype(np.int32)

    def depth_of_row(self, y: float) -> float:
        """Return the distance in metres at which the ground is on row y, below the horizon."""
        return self.focal * self.height_m / (y - self.horizon_y)


@dataclass(frozen=True)
class Light:
    """Time of day and weather, as far as they change colours.

    Args:
        sky: colours at the zenith and at the horizon.
        tint: what daylight colours are multiplied with.
        fog: colour that distance fades into.
        fog_density: per metre; a colour at distance z keeps exp(−density·z) of itself.
        glow: strength of halos around lamps, 0 to 1; at 0 street lamps are off.
        shadow: darkness of cast shadows, 0 to 1.
        sun: −1 from the left … 1 from the right: where shadows fall and which walls are bright.
        rain: 0 to 1.
    """

    sky: tuple[Colour, Colour]
    tint: Colour
    fog: Colour
    fog_density: float
    glow: float
    shadow: float
    sun: float
    rain: float

    def shade(self, colour: Colour, depth_m: float, emissive: bool = False) -> Colour:
        """Return the colour that reaches the camera. A light source is dimmed by fog alone, and less."""
        keep = math.exp(-self.fog_density * depth_m)
        if emissive:
            keep = 0.5 + 0.5 * keep
            return tuple(c * keep + f * (1 - keep) for c, f in zip(colour, self.fog, strict=True))  # pyright: ignore[reportReturnType]
        lit = zip(colour, self.tint, self.fog, strict=True)
        return tuple(min(c * t, 255) * keep + f * (1 - keep) for c, t, f in lit)  # pyright: ignore[reportReturnType]


class Shape(NamedTuple):
    """Polygons of one colour; those of one shape must not overlap each other.

    `solid` ones are what the item covers, the others are decoration, shadow or glow on it.
    """

    polygons: Sequence[Int32[ndarray, "V 2"]]
    colour: Colour
    solid: bool = True
    emissive: bool = False
    opacity: float = 1.0


class Halo(NamedTuple):
    """Light around a lamp: centre and radius in pixels, and its colour."""

    x: float
    y: float
    radius: float
    colour: Colour


@dataclass
class Item:
    """Something in the street.

    Args:
        depth_m: distance from the camera; nearer items hide farther ones.
        label: its number in the segmentation mask.
        class_id: its class for detection, or None for scenery.
        shapes: in the order in which they are painted.
        halos: of its lamps.
    """

    depth_m: float
    label: int
    class_id: int | None = None
    shapes: list[Shape] = field(default_factory=list)
    halos: list[Halo] = field(default_factory=list)

    def extent_xyxy(self) -> tuple[float, float, float, float]:
        """Return the box around the solid shapes in pixels, also outside the image."""
        corners = np.concatenate([polygon for shape in self.shapes if shape.solid for polygon in shape.polygons])
        x1, y1 = corners.min(axis=0) / (1 << _SHIFT)
        x2, y2 = corners.max(axis=0) / (1 << _SHIFT)
        return float(x1), float(y1), float(x2), float(y2)

    def number(self, canvas: UInt8[ndarray, "H W"] | Int32[ndarray, "H W"], value: int) -> None:
        """Write `value` where the item covers the image."""
        for shape in self.shapes:
            if shape.solid:
                cv2.fillPoly(canvas, shape.polygons, value, cv2.LINE_8, _SHIFT)

    def paint(self, image: UInt8[ndarray, "H W 3"], light: Light) -> None:
        """Paint the item over the image."""
        for shape in self.shapes:
            colour = light.shade(shape.colour, self.depth_m, shape.emissive)
            if shape.opacity < 1:
                _blend(image, shape.polygons, colour, shape.opacity)
            else:
                cv2.fillPoly(image, shape.polygons, colour, cv2.LINE_AA, _SHIFT)


class Sketch:
    """Collects the polygons of one item around its own foot and projects them together.

    Args:
        camera: that projects it.
        x_m: position to the right of the camera.
        z_m: distance.
        yaw: radians. At 0 its first axis points right and its third axis away; at π/2 the first points away.
        unit_m: what the numbers of the polygons are multiplied with: a figure is drawn in shares of its height.
        base_m: height over the ground.
    """

    def __init__(
        self, camera: Camera, x_m: float, z_m: float, yaw: float = 0.0, *, unit_m: float = 1.0, base_m: float = 0.0
    ) -> None:
        self.camera, self.x_m, self.z_m, self.unit_m, self.base_m = camera, x_m, z_m, unit_m, base_m
        self.cos, self.sin = math.cos(yaw), math.sin(yaw)
        self._points: list[Point] = []
        self._styles: list[tuple[int, Colour, bool, bool, float]] = []
        self._lamps: list[tuple[Number, Number, Number, Number, Colour]] = []

    @property
    def pixels_per_unit(self) -> float:
        """Scale at the distance of the item: details smaller than a pixel need not be drawn."""
        return self.camera.focal * self.unit_m / self.z_m

    def add(
        self,
        points: Iterable[Point],
        colour: Colour,
        *,
        solid: bool = True,
        emissive: bool = False,
        opacity: Number = 1.0,
    ) -> None:
        """Add a polygon; points are (along, up) or (along, up, across)."""
        before = len(self._points)
        self._points.extend(point if len(point) == 3 else (point[0], point[1], 0.0) for point in points)
        self._styles.append((len(self._points) - before, colour, solid, emissive, opacity))

    def rectangle(
        self, left: Number, bottom: Number, right: Number, top: Number, colour: Colour, *, solid: bool = True
    ) -> None:
        """Add an upright rectangle that faces along the third axis."""
        self.add(((left, bottom), (left, top), (right, top), (right, bottom)), colour, solid=solid)

    def ellipse(
        self,
        x: Number,
        y: Number,
        radius_x: Number,
        radius_y: Number,
        colour: Colour,
        *,
        solid: bool = True,
        emissive: bool = False,
    ) -> None:
        """Add an upright ellipse."""
        points = [(x + radius_x * cos, y + radius_y * sin) for cos, sin in CIRCLE]
        self.add(points, colour, solid=solid, emissive=emissive)

    def limb(self, start: Point, end: Point, width_start: float, width_end: float, colour: Colour) -> None:
        """Add a solid bar from start to end: arms, legs, poles, masts."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length / 2, dx / length / 2
        self.add(
            (
                (start[0] + nx * width_start, start[1] + ny * width_start),
                (end[0] + nx * width_end, end[1] + ny * width_end),
                (end[0] - nx * width_end, end[1] - ny * width_end),
                (start[0] - nx * width_start, start[1] - ny * width_start),
            ),
            colour,
        )

    def shadow(self, radius_x: Number, radius_z: float, darkness: float, shift_x: Number = 0.0) -> None:
        """Add a dark ellipse on the ground, under the item."""
        if darkness > 0.02:
            points = [(shift_x + radius_x * cos, 0.0, radius_z * sin) for cos, sin in CIRCLE]
            self.add(points, (14, 14, 20), solid=False, opacity=darkness)

    def lamp(self, x: Number, y: Number, radius: Number, colour: Colour, across: Number = 0.0) -> None:
        """Add a halo of that radius."""
        self._lamps.append((x, y, across, radius, colour))

    def item(self, label: int, class_id: int | None = None, nearer_m: float = 0.0) -> Item:
        """Project what was added. `nearer_m` changes the order of painting, not the appearance."""
        item = Item(self.z_m - nearer_m, label, class_id)
        if self._points:
            corners, start = self._project(self._points), 0
            for count, colour, solid, emissive, opacity in self._styles:
                item.shapes.append(Shape((corners[start : start + count],), colour, solid, emissive, opacity))
                start += count
        for x, y, across, radius, colour in self._lamps:
            ((u, v),) = self._project([(x, y, across)]) / (1 << _SHIFT)
            item.halos.append(Halo(float(u), float(v), radius * self.pixels_per_unit, colour))
        return item

    def _project(self, points: Sequence[Point]) -> Int32[ndarray, "N 2"]:
        along, up, across = np.array(points, dtype=np.float64).T * self.unit_m
        x = self.x_m + along * self.cos - across * self.sin
        z = np.maximum(self.z_m + along * self.sin + across * self.cos, 0.3)
        return self.camera.project(np.stack([x, up + self.base_m, z], axis=-1))


def multiplied(colour: Colour, factor: Number) -> Colour:
    """Return a brighter or darker colour."""
    return (min(colour[0] * factor, 255), min(colour[1] * factor, 255), min(colour[2] * factor, 255))


@cache
def noise_tile() -> UInt8[ndarray, "512 640 3"]:
    """Return the same field of noise every time: mean 128, standard deviation 32, mostly grey with a little colour."""
    rng = np.random.default_rng(12)
    grey, colour = rng.normal(0, 28, (512, 640, 1)), rng.normal(0, 16, (512, 640, 3))
    return np.clip(128 + grey + colour, 0, 255).astype(np.uint8)


def _blend(
    image: UInt8[ndarray, "H W 3"], polygons: Sequence[Int32[ndarray, "V 2"]], colour: Colour, opacity: float
) -> None:
    corners = np.concatenate(polygons)
    height, width = image.shape[:2]
    x1, y1 = np.maximum((corners.min(axis=0) >> _SHIFT) - 1, 0)
    x2, y2 = np.minimum((corners.max(axis=0) >> _SHIFT) + 2, (width, height))
    if x1 >= x2 or y1 >= y2:
        return
    below = image[y1:y2, x1:x2]
    above = below.copy()
    offset = np.array([x1, y1], dtype=np.int32) << _SHIFT
    cv2.fillPoly(above, [polygon - offset for polygon in polygons], colour, cv2.LINE_AA, _SHIFT)
    below[:] = cv2.addWeighted(above, opacity, below, 1 - opacity, 0)

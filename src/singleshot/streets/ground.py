"""A drawn street without anything that stands in it: its plan, the sky, the skyline, the road and its markings.

These are painted straight into the picture, for nothing lies behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.streets.painting import Camera, Colour, Item, Light, Shape, multiplied
from singleshot.streets.traffic import BUILDING, PAVEMENT, ROAD, SKY, VEGETATION

_FAR_M = 140.0


@dataclass(frozen=True)
class Street:
    """The plan of a street, in metres.

    Args:
        along: True where the road leads to the horizon, False where it runs from left to right.
        road: (from, to) in x where it leads to the horizon, else in z.
        pavement: width of the pavements beside it.
        cross: (from, to) in z of a road that crosses the first, or None.
        far: z at which a street that runs from left to right ends at a row of houses.
        green: whether trees and grass line it rather than houses.
    """

    along: bool
    road: tuple[float, float]
    pavement: float
    cross: tuple[float, float] | None
    far: float
    green: bool

    @property
    def walls(self) -> tuple[float, float]:
        """X of the house fronts on both sides of a street that leads to the horizon."""
        setback = 7.0 if self.green else 0.0
        return self.road[0] - self.pavement - setback, self.road[1] + self.pavement + setback


def paint_ground(
    image: UInt8[ndarray, "H W 3"],
    labels: UInt8[ndarray, "H W"],
    rng: np.random.Generator,
    camera: Camera,
    street: Street,
    light: Light,
) -> None:
    """Sky, skyline and ground over the whole picture, and their numbers over the whole mask."""
    _sky(image, labels, rng, camera, light)
    height = image.shape[0]
    near, far = camera.depth_of_row(height + 30.0), _FAR_M
    horizon = round(camera.horizon_y)
    asphalt = multiplied((98, 98, 104), rng.uniform(0.75, 1.15) * (0.8 if light.rain else 1.0))
    stone = multiplied(((168, 162, 152), (178, 168, 160), (150, 148, 146))[rng.integers(3)], rng.uniform(0.9, 1.1))
    kerb = multiplied(stone, 1.2)

    def ground(x1: float, x2: float, z1: float, z2: float, colour: Colour, label: int, opacity: float = 1.0) -> None:
        # Fog on the ground follows its depth, so long stretches are painted in pieces.
        cuts = [z1, *(z for z in slices if z1 < z < z2), z2]
        for a, b in pairwise(cuts):
            corners = camera.project(np.array([(x1, 0, a), (x1, 0, b), (x2, 0, b), (x2, 0, a)], dtype=np.float64))
            item = Item(math.sqrt(a * b), label, shapes=[Shape((corners,), colour, opacity=opacity)])
            item.paint(image, light)
            if opacity == 1.0:
                item.number(labels, label)

    wide = 400.0
    slices = np.geomspace(3.0, 60.0, 20 if light.fog_density > 0.008 else 5)
    if street.along:
        (left, right), pavement = street.road, street.pavement
        side = (multiplied((108, 132, 74), 1.0), VEGETATION) if street.green else (stone, PAVEMENT)
        ground(-wide, wide, near, far, *side)
        ground(left - pavement, right + pavement, near, far, stone, PAVEMENT)
        ground(left - 0.16, right + 0.16, near, far, kerb, PAVEMENT)
        ground(left, right, near, far, asphalt, ROAD)
        middle = (left + right) / 2
        white = (226, 224, 214)
        for z in np.arange(near + rng.uniform(0, 4), 46.0, 4.5):
            ground(middle - 0.08, middle + 0.08, z, z + 2.2, white, ROAD)
        if rng.random() < 0.5:
            for x in (left + 0.25, right - 0.35):
                ground(x, x + 0.1, near, far, white, ROAD)
        crossing = rng.uniform(6, 16)
        if street.cross:
            ground(-wide, wide, *street.cross, asphalt, ROAD)
            crossing = max(street.cross[0] - 3.2, near)
        if rng.random() < 0.6:
            for x in np.arange(left + 0.4, right - 0.4, 1.0):
                ground(x, x + 0.5, crossing, crossing + 2.6, white, ROAD)
    else:
        z1, z2 = street.road
        ground(-wide, wide, near, far, stone, PAVEMENT)
        if street.green:
            ground(-wide, wide, z2 + street.pavement, far, (108, 132, 74), VEGETATION)
        ground(-wide, wide, max(z1 - 0.2, near), z2 + 0.25, kerb, PAVEMENT)
        ground(-wide, wide, max(z1, near), z2, asphalt, ROAD)
        middle = (z1 + z2) / 2
        for x in np.arange(-60 + rng.uniform(0, 5), 60, 4.5):
            ground(x, x + 2.2, middle - 0.1, middle + 0.1, (226, 224, 214), ROAD)
        if rng.random() < 0.5:
            x = rng.uniform(-5, 3)
            for z in np.arange(max(z1, near) + 0.3, z2 - 0.3, 1.1):
                ground(x, x + 3.0, z, z + 0.55, (226, 224, 214), ROAD)
    if light.shadow > 0.25:
        _house_shadows(image, rng, camera, street, light, near)
    below = image[horizon + 1 :]
    if len(below):
        grain = cv2.resize(noise_tile()[: len(below) // 2 + 1, : image.shape[1] // 3], below.shape[1::-1])
        below[:] = cv2.addWeighted(below, 1.0, grain, 0.14, -128 * 0.14)


@cache
def noise_tile() -> UInt8[ndarray, "512 640 3"]:
    """The same field of noise every time: mean 128, standard deviation 32, mostly grey with a little colour."""
    rng = np.random.default_rng(12)
    grey, colour = rng.normal(0, 28, (512, 640, 1)), rng.normal(0, 16, (512, 640, 3))
    return np.clip(128 + grey + colour, 0, 255).astype(np.uint8)


def _sky(
    image: UInt8[ndarray, "H W 3"],
    labels: UInt8[ndarray, "H W"],
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
) -> None:
    height, width = image.shape[:2]
    rows, columns = max(int(camera.horizon_y) // 4 + 2, 4), width // 4
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 1.3
    gradient = np.array(light.sky[0]) * (1 - share) + np.array(light.sky[1]) * share
    small = np.repeat(gradient[:, None].astype(np.uint8), columns, axis=1)
    unit = columns / 100
    if light.glow < 0.8 and light.rain == 0 and rng.random() < 0.7:  # a quarter of the size makes clouds soft
        bright = tuple(min(c * 1.12 + 14, 255) for c in light.sky[1])
        for _ in range(int(rng.integers(2, 6))):
            x, y = rng.uniform(0, columns), rng.uniform(0, rows * 0.75)
            for _ in range(4):
                centre = (int(x + rng.uniform(-9, 9) * unit), int(y + rng.uniform(-1.5, 1.5) * unit))
                axes = (int(rng.uniform(3, 10) * unit) + 1, int(rng.uniform(1, 2.6) * unit) + 1)
                cv2.ellipse(small, centre, axes, 0, 0, 360, bright, -1)
        small = cv2.GaussianBlur(small, (5, 5), 1.2)
    horizon = min(math.ceil(camera.horizon_y) + 2, height)
    image[:horizon] = cv2.resize(small, (width, rows * 4))[:horizon]
    image[horizon:] = light.fog
    labels[:] = SKY
    if light.fog_density < 0.0055 and light.rain == 0 and rng.random() < 0.4:  # sun or moon
        disk = (252, 248, 224) if light.glow < 0.8 else (226, 228, 236)
        centre = int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.45) * camera.horizon_y)
        cv2.circle(image, centre, max(round(rng.uniform(0.02, 0.045) * width), 2), disk, -1, cv2.LINE_AA)
    x, base = -0.02 * width, math.ceil(camera.horizon_y) + 1
    green = rng.random() < 0.4
    distant = light.shade((92, 116, 92) if green else (128, 134, 150), 70.0)
    while x < width:
        step, rise = rng.uniform(0.03, 0.1) * width, rng.uniform(0.02, 0.16) * height
        if green:
            middle, axes = (int(x + step / 2), base), (int(step), int(rise * 0.5) + 2)
            cv2.ellipse(image, middle, axes, 0, 180, 360, distant, -1, cv2.LINE_AA)
            cv2.ellipse(labels, middle, axes, 0, 180, 360, VEGETATION, -1)
        else:
            low, high = (int(x), base), (int(x + step), int(base - rise))
            tone = multiplied(distant, rng.uniform(0.92, 1.06))
            cv2.rectangle(image, low, high, tone, -1)
            cv2.rectangle(labels, low, high, BUILDING, -1)
        x += step * rng.uniform(0.7, 1.3)


def _house_shadows(
    image: UInt8[ndarray, "H W 3"],
    rng: np.random.Generator,
    camera: Camera,
    street: Street,
    light: Light,
    near: float,
) -> None:
    """The houses' shadows over pavement and road, on the side that the sun does not reach."""
    if not street.along:
        return
    left, right = street.walls
    reach = rng.uniform(0.25, 0.75) * (right - left)
    polygons, z = [], near
    while z < 60:
        length = rng.uniform(3, 12)
        x1, x2 = (right - reach, right) if light.sun > 0 else (left, left + reach)
        corners = np.array([(x1, 0, z), (x1, 0, z + length), (x2, 0, z + length), (x2, 0, z)], dtype=np.float64)
        polygons.append(camera.project(corners))
        z += length + (rng.uniform(0.5, 5) if rng.random() < 0.6 else 0.0)
    Item(12.0, ROAD, shapes=[Shape(polygons, (16, 18, 34), opacity=light.shadow * 0.75)]).paint(image, light)

"""The scenery of a drawn street: its plan, sky, skyline, road and markings, and the houses, trees and bushes along it.

Sky and ground are painted straight into the image, because nothing is behind them. Houses and plants are items,
because they can hide what moves behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8
from numpy import ndarray

from singleshot.streets.objects import BUILDING, OTHER, PAVEMENT, ROAD, SKY, VEGETATION
from singleshot.streets.painting import CIRCLE, Camera, Colour, Item, Light, Shape, Sketch, multiplied, noise_tile

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
    """Paint sky, skyline and ground over the whole image, and their numbers over the whole mask."""
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
    """Paint the shadows of the houses over pavement and road, on the side away from the sun."""
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


# --- houses and plants

_FACADES: tuple[Colour, ...] = (
    (196, 128, 100), (222, 196, 158), (168, 156, 150), (206, 176, 176), (150, 100, 84), (188, 196, 204),
    (232, 218, 190), (128, 142, 156), (214, 168, 118), (176, 188, 168),
)  # fmt: skip
_GREENS: tuple[Colour, ...] = (
    (62, 118, 58),
    (84, 138, 62),
    (48, 98, 60),
    (112, 142, 56),
    (176, 122, 46),
    (136, 60, 44),
)
_AWNINGS: tuple[Colour, ...] = ((176, 52, 48), (44, 96, 92), (52, 72, 122), (206, 158, 62), (222, 214, 196))
_SHOP_WINDOW: Colour = (70, 84, 92)
_LIT: tuple[Colour, ...] = ((255, 214, 130), (255, 236, 180), (255, 92, 66), (96, 240, 150))


def houses(rng: np.random.Generator, camera: Camera, street: Street, light: Light) -> list[Item]:
    """Draw the rows of houses along a street."""
    items: list[Item] = []
    if not street.along:
        x = -street.far * 0.75
        while x < street.far * 0.75:
            width, height = rng.uniform(6, 14), rng.uniform(6, 18) * (0.6 if street.green else 1.0)
            if rng.random() < (0.45 if street.green else 0.93):
                items.append(_house(rng, camera, light, x, x + width, street.far, None, height))
            x += width
        return items
    for side, wall in zip((-1, 1), street.walls, strict=True):
        z = rng.uniform(1.0, 3.0)
        while z < 75:
            length, height = rng.uniform(6, 13), rng.uniform(6, 17) * (0.7 if street.green else 1.0)
            crossed = street.cross is not None and z + length > street.cross[0] - 2.5 and z < street.cross[1] + 2.5
            if crossed and street.cross is not None:
                z = street.cross[1] + 2.5
                continue
            if rng.random() < (0.55 if street.green else 0.94):
                edges = (wall, side * 300.0) if side > 0 else (side * 300.0, wall)
                items.append(_house(rng, camera, light, *edges, z, z + length, height))
            z += length
    return items


def _house(
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
    x1: float,
    x2: float,
    z: float,
    depth: float | None,
    height: float,
) -> Item:
    """Draw a house whose front is at z; where it has a depth, the wall along the street is visible."""
    colour = multiplied(_FACADES[rng.integers(len(_FACADES))], rng.uniform(0.8, 1.08))
    item = Item(z, BUILDING)
    share = rng.uniform(0.0, 0.3) if light.glow < 0.3 else rng.uniform(0.25, 0.7)
    floors = max(int(height / rng.uniform(2.7, 3.4)), 1)
    window_height = rng.uniform(0.45, 0.62) / floors
    bottoms = (np.arange(floors) + 0.25) / floors * 0.94
    shop = _AWNINGS[rng.integers(len(_AWNINGS))] if height > 6 and rng.random() < 0.3 else None
    dark = ((86, 104, 126), (66, 78, 96), (120, 140, 158))[rng.integers(3)]

    def wall(start: tuple[float, float], end: tuple[float, float], tone: Colour, windowed: bool = True) -> None:
        """Add a wall between two points (x, z) of the ground, with its windows and a plinth."""
        points = [(*start, 0.0), (*start, height), (*end, height), (*end, 0.0)]
        plain = camera.project(np.array([(x, y, max(z, 0.4)) for x, z, y in points]))
        item.shapes.append(Shape((plain,), tone))
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        if windowed:
            columns = max(int(length / rng.uniform(2.2, 3.2)), 1)
            lefts = (np.arange(columns) + 0.25) / columns
            quads = _windows(camera, start, end, height, lefts, 0.5 / columns, bottoms, window_height)
            shining = rng.random(len(quads)) < share
            item.shapes.append(Shape(list(quads[~shining]), multiplied(dark, tone[0] / 190), solid=False))
            if shining.any():
                lamp = _LIT[int(rng.choice(len(_LIT), p=(0.5, 0.34, 0.09, 0.07)))]
                if light.glow < 0.3:
                    lamp = multiplied(lamp, 0.85)
                item.shapes.append(Shape(list(quads[shining]), lamp, solid=False, emissive=light.glow >= 0.3))
        bands = [(0.0, 0.6, multiplied(tone, 0.7)), (height - 0.35, height, multiplied(tone, 0.8))]
        if windowed and shop is not None:
            bands += [(0.5, 2.5, _SHOP_WINDOW), (2.4, 3.0, shop)]
        for low, high, shade in bands:
            corners = [(*start, low), (*start, high), (*end, high), (*end, low)]
            band = camera.project(np.array([(x, y, max(z, 0.4)) for x, z, y in corners]))
            item.shapes.append(Shape((band,), shade, solid=False))

    if depth is None:
        wall((x1, z), (x2, z), colour)
        return item
    right = x1 > 0
    facing = x1 if right else x2
    bright = 1.0 - 0.22 * light.sun * (1 if right else -1)
    wall((facing, z), (x2 if right else x1, z), multiplied(colour, 0.8), windowed=False)
    wall((facing, z), (facing, depth), multiplied(colour, bright))
    return item


def _windows(
    camera: Camera,
    start: tuple[float, float],
    end: tuple[float, float],
    height: float,
    lefts: Float[ndarray, " C"],
    width: float,
    bottoms: Float[ndarray, " F"],
    window_height: float,
) -> Int32[ndarray, "N 4 2"]:
    """Return the windows of a wall: C columns by F floors, in shares of the wall, as corners in the image."""
    along = np.stack([lefts, lefts, lefts + width, lefts + width], axis=-1)[None]
    up = np.stack([bottoms, bottoms + window_height, bottoms + window_height, bottoms], axis=-1)[:, None] * height
    along, up = np.broadcast_arrays(along, up)
    x = start[0] + along * (end[0] - start[0])
    z = np.maximum(start[1] + along * (end[1] - start[1]), 0.4)
    return camera.project(np.stack([x, up, z], axis=-1)).reshape(-1, 4, 2)


def tree(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> list[Item]:
    """Draw a tree: trunk and crown can hide what is behind them."""
    height, spread = rng.uniform(4.2, 7.5), rng.uniform(1.1, 1.9)
    sketch = Sketch(camera, x_m, z_m)
    green = multiplied(_GREENS[min(int(rng.integers(9)), 5) if rng.random() < 0.5 else 0], rng.uniform(0.8, 1.15))
    sketch.shadow(spread * 0.9, spread * 0.5, light.shadow, -light.sun * 1.2)
    sketch.limb((0.0, 0.0), (rng.uniform(-0.1, 0.1), height * 0.6), 0.3, 0.2, (98, 76, 58))
    blobs = [(rng.uniform(-0.6, 0.6) * spread, height * rng.uniform(0.55, 0.85), spread * rng.uniform(0.5, 0.8))
             for _ in range(5)]  # fmt: skip
    crown = Sketch(camera, x_m, z_m)
    for dy, factor, size in ((0.0, 0.72, 1.0), (0.16, 0.95, 0.8), (0.3, 1.16, 0.5)):
        for x, y, radius in blobs:
            leaves = [(x - 0.2 * light.sun * dy + radius * size * cos * (1 + 0.12 * (i % 2)),
                       y + dy * radius + radius * size * sin * (1 + 0.12 * (i % 2)))
                      for i, (cos, sin) in enumerate(CIRCLE)]  # fmt: skip
            crown.add(leaves, multiplied(green, factor), solid=dy == 0.0)
    return [sketch.item(OTHER), crown.item(VEGETATION, nearer_m=0.01)]


def bush(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> list[Item]:
    """Draw a bush, or a hedge of them in a stone trough."""
    sketch = Sketch(camera, x_m, z_m)
    green = multiplied(_GREENS[int(rng.integers(4))], rng.uniform(0.8, 1.15))
    count = int(rng.integers(1, 4))
    sketch.shadow(0.5 * count, 0.4, 0.3 + 0.2 * light.shadow)
    for i in range(count):
        x = (i - (count - 1) / 2) * 0.7
        sketch.ellipse(x, 0.42, 0.5, 0.45, multiplied(green, 0.8))
        sketch.ellipse(x, 0.52, 0.36, 0.3, green, solid=False)
    items = [sketch.item(VEGETATION)]
    if rng.random() < 0.5:
        trough = Sketch(camera, x_m, z_m)
        trough.rectangle(-0.4 * count, 0.0, 0.4 * count, 0.34, (150, 142, 132))
        items.append(trough.item(OTHER, nearer_m=0.01))
    return items

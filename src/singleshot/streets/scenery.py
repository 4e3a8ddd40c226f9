"""What stands along a drawn street without being traffic: houses, trees, bushes.

They are items and not part of the background, because they can hide what drives behind them.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int32
from numpy import ndarray

from singleshot.streets.ground import Street
from singleshot.streets.painting import CIRCLE, Camera, Colour, Item, Light, Shape, Sketch, multiplied
from singleshot.streets.traffic import BUILDING, OTHER, VEGETATION

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
    """The rows of houses along a street, as items."""
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
    """A house whose front is at z; where it has a depth, it is the wall along the street that is seen."""
    colour = multiplied(_FACADES[rng.integers(len(_FACADES))], rng.uniform(0.8, 1.08))
    item = Item(z, BUILDING)
    share = rng.uniform(0.0, 0.3) if light.glow < 0.3 else rng.uniform(0.25, 0.7)
    floors = max(int(height / rng.uniform(2.7, 3.4)), 1)
    window_height = rng.uniform(0.45, 0.62) / floors
    bottoms = (np.arange(floors) + 0.25) / floors * 0.94
    shop = _AWNINGS[rng.integers(len(_AWNINGS))] if height > 6 and rng.random() < 0.3 else None
    dark = ((86, 104, 126), (66, 78, 96), (120, 140, 158))[rng.integers(3)]

    def wall(start: tuple[float, float], end: tuple[float, float], tone: Colour, windowed: bool = True) -> None:
        """A wall between two points (x, z) of the ground, with its windows and a plinth."""
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
    """The windows of a wall: C columns by F floors, in shares of the wall, as corners in the picture."""
    along = np.stack([lefts, lefts, lefts + width, lefts + width], axis=-1)[None]
    up = np.stack([bottoms, bottoms + window_height, bottoms + window_height, bottoms], axis=-1)[:, None] * height
    along, up = np.broadcast_arrays(along, up)
    x = start[0] + along * (end[0] - start[0])
    z = np.maximum(start[1] + along * (end[1] - start[1]), 0.4)
    return camera.project(np.stack([x, up, z], axis=-1)).reshape(-1, 4, 2)


def tree(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> list[Item]:
    """A tree: its trunk can hide what stands behind it, and so can its crown."""
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
    """A bush, or a hedge of them in a stone trough."""
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

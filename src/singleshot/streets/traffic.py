"""Cars, pedestrians and traffic lights: the three classes that a detector has to find in a drawn street.

A car is a profile (its outline from the side) pulled out to a width, so that one description can be seen from
behind, from the front, from the side and from any angle between. Pedestrians and traffic lights are flat figures
that face the camera. Every function returns an `Item` whose solid shapes are exactly what gets annotated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from singleshot.streets.painting import CIRCLE, Camera, Colour, Item, Light, Point, Sketch, multiplied
from singleshot.streets.people import figure

CLASS_NAMES = ("car", "pedestrian", "traffic light")
CAR, PEDESTRIAN, TRAFFIC_LIGHT = range(3)
OTHER, SKY, BUILDING, ROAD, PAVEMENT, VEGETATION = range(6)
MASK_NAMES = ("other", "sky", "building", "road", "pavement", "vegetation", *CLASS_NAMES)
FIRST_CLASS_LABEL = 6  # detection class c is number 6 + c in the masks

_PAINTS: tuple[Colour, ...] = (
    (200, 32, 36), (28, 72, 168), (232, 232, 228), (52, 54, 60), (150, 154, 160), (240, 178, 30),
    (34, 122, 84), (96, 162, 206), (118, 30, 44), (226, 120, 44), (212, 200, 172), (24, 110, 130),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (198, 48, 52), (40, 78, 150), (236, 200, 70), (60, 140, 96), (232, 228, 218), (72, 64, 70), (176, 92, 150),
    (226, 126, 60), (98, 160, 196), (120, 84, 60), (40, 42, 54), (200, 176, 140),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (44, 52, 82),
    (36, 36, 42),
    (110, 92, 74),
    (70, 92, 130),
    (92, 96, 104),
    (158, 142, 116),
)
_SKINS: tuple[Colour, ...] = ((240, 200, 170), (222, 176, 140), (176, 124, 88), (122, 82, 56), (252, 216, 190))
_HAIRS: tuple[Colour, ...] = ((40, 30, 24), (92, 60, 34), (200, 160, 90), (150, 146, 140), (24, 22, 26), (142, 66, 32))
_ARCH, _TYRE, _HUB = (30, 30, 34), (24, 24, 27), (168, 170, 176)
_LAMPS: tuple[tuple[Colour, Colour], ...] = (  # lit and dark, in the order of a traffic light
    ((255, 58, 44), (84, 26, 24)),
    ((255, 190, 40), (88, 64, 20)),
    ((64, 255, 140), (18, 70, 44)),
)
_HOUSINGS: tuple[Colour, ...] = ((30, 32, 34), (30, 32, 34), (38, 54, 44), (196, 156, 40))


@dataclass(frozen=True)
class Body:
    """A kind of car, in metres.

    Args:
        profile: outline from the rear bumper over the roof to the front bumper, (along, up).
        rear_glass: which stretch of the profile is the rear window, counted from 0.
        windscreen: which stretch is the windscreen.
        side_glass: outline of the side windows.
        width: of the body.
        wheel: radius of a wheel.
    """

    profile: tuple[tuple[float, float], ...]
    rear_glass: int
    windscreen: int
    side_glass: tuple[tuple[float, float], ...]
    width: float
    wheel: float

    @property
    def length(self) -> float:
        """From bumper to bumper."""
        return self.profile[-1][0] - self.profile[0][0]

    @property
    def height(self) -> float:
        """From the ground to the roof."""
        return max(up for _, up in self.profile)


BODIES = (
    Body(  # saloon
        ((-2.25, 0.28), (-2.22, 0.92), (-1.62, 1.0), (-0.98, 1.42), (0.3, 1.45), (1.08, 0.98), (2.1, 0.82),
         (2.25, 0.3)),
        2, 4, ((-1.36, 1.0), (-0.92, 1.34), (0.26, 1.37), (0.86, 1.0)), 1.8, 0.34,
    ),
    Body(  # hatchback
        ((-1.95, 0.28), (-1.98, 0.98), (-1.62, 1.46), (0.2, 1.52), (0.98, 1.02), (1.82, 0.86), (1.98, 0.3)),
        1, 3, ((-1.6, 1.02), (-1.42, 1.38), (0.16, 1.43), (0.76, 1.02)), 1.75, 0.32,
    ),
    Body(  # off-roader
        ((-2.2, 0.38), (-2.24, 1.12), (-1.98, 1.7), (0.4, 1.76), (1.08, 1.16), (2.1, 1.04), (2.22, 0.42)),
        1, 3, ((-1.86, 1.16), (-1.74, 1.6), (0.34, 1.65), (0.86, 1.16)), 1.92, 0.39,
    ),
    Body(  # van
        ((-2.4, 0.32), (-2.44, 1.18), (-2.36, 2.02), (1.15, 2.06), (1.86, 1.2), (2.38, 1.04), (2.46, 0.34)),
        1, 3, ((0.3, 1.24), (0.3, 1.82), (1.08, 1.86), (1.58, 1.24)), 1.95, 0.36,
    ),
)  # fmt: skip


def car(rng: np.random.Generator, camera: Camera, light: Light, body: Body, x_m: float, z_m: float, yaw: float) -> Item:
    """A car on the ground at (x_m, z_m). At yaw 0 it drives to the right, at π/2 away from the camera."""
    paint = multiplied(_PAINTS[rng.integers(len(_PAINTS))], rng.uniform(0.8, 1.1))
    glass: Colour = (58, 74, 92) if light.glow < 0.5 else (34, 40, 58)
    sketch = Sketch(camera, x_m, z_m, yaw)
    half, wheel = body.width / 2, body.wheel
    axles = (body.profile[0][0] + 0.85, body.profile[-1][0] - 0.85)

    def faces(along: float, up: float, across: float, at: Point) -> bool:
        """Whether a face with that outward normal, at that point of the car, looks at the camera."""
        to_x = -(x_m + at[0] * sketch.cos - at[1] * sketch.sin)
        to_z = -(z_m + at[0] * sketch.sin + at[1] * sketch.cos)
        normal_x, normal_z = along * sketch.cos - across * sketch.sin, along * sketch.sin + across * sketch.cos
        return normal_x * to_x + normal_z * to_z + up * (camera.height_m - at[-1]) > 0

    def bar(low: tuple[float, float], high: tuple[float, float], left: float, right: float) -> tuple[Point, ...]:
        return ((*low, left), (*high, left), (*high, right), (*low, right))

    ground = [(body.profile[i][0] * 1.04, 0.0, side * half * 1.12) for i, side in ((0, -1), (-1, -1), (-1, 1), (0, 1))]
    sketch.add(ground, (12, 12, 16), solid=False, opacity=0.55)
    for axle in axles:
        for side in (-1, 1):
            inner, outer = side * (half - 0.24), side * (half - 0.02)
            for end in (axle - wheel * 0.7, axle + wheel * 0.7):
                sketch.add(bar((end, 0.0), (end, wheel * 1.3), inner, outer), (22, 22, 25))

    visible = []
    for i, (low, high) in enumerate(pairwise(body.profile)):
        along, up = low[1] - high[1], high[0] - low[0]
        centre = (low[0] + high[0]) / 2, 0.0, (low[1] + high[1]) / 2
        if faces(along, up, 0.0, centre):
            steep = abs(along) / math.hypot(along, up)
            visible.append((centre[0] * sketch.sin, i, low, high, multiplied(paint, 1.14 - 0.34 * steep)))
    for _, i, low, high, colour in sorted(visible, reverse=True):
        sketch.add(bar(low, high, -half, half), colour)
        if i in (body.rear_glass, body.windscreen):
            inset = half * 0.84
            a = (low[0] * 0.92 + high[0] * 0.08, low[1] * 0.9 + high[1] * 0.1)
            b = (low[0] * 0.12 + high[0] * 0.88, low[1] * 0.12 + high[1] * 0.88)
            sketch.add(bar(a, b, -inset, inset), glass, solid=False)
            sketch.add(bar(a, b, inset * 0.25, inset * 0.6), multiplied(glass, 1.35), solid=False)
    for side in (-1, 1):
        if faces(0.0, 0.0, float(side), (0.0, side * half, 0.8)):
            _side(sketch, body, side * half, multiplied(paint, 0.94), glass, axles)
    if faces(-1.0, 0.0, 0.0, (body.profile[0][0], 0.0, 0.6)):
        _end(sketch, body, body.profile[0], body.profile[1], (228, 36, 34), light, front=False)
    if faces(1.0, 0.0, 0.0, (body.profile[-1][0], 0.0, 0.6)):
        _end(sketch, body, body.profile[-1], body.profile[-2], (255, 246, 214), light, front=True)
    return sketch.item(FIRST_CLASS_LABEL + CAR, CAR)


def _side(sketch: Sketch, body: Body, across: float, paint: Colour, glass: Colour, axles: tuple[float, float]) -> None:
    """Flank, side windows, wheels."""
    sketch.add([(*point, across) for point in body.profile], paint)
    sill = body.profile[0][1]
    flank = ((body.profile[0][0], sill), (body.profile[0][0], sill + 0.16), (body.profile[-1][0], sill + 0.16),
             (body.profile[-1][0], sill))  # fmt: skip
    sketch.add([(*point, across) for point in flank], multiplied(paint, 0.62), solid=False)
    sketch.add([(*point, across) for point in body.side_glass], glass, solid=False)
    if sketch.pixels_per_unit > 9:
        pillar = (body.side_glass[0][0] + body.side_glass[-1][0]) / 2
        door = ((pillar, sill + 0.18), (pillar, body.height * 0.94), (pillar + 0.07, body.height * 0.94),
                (pillar + 0.07, sill + 0.18))  # fmt: skip
        sketch.add([(*point, across) for point in door], multiplied(paint, 0.8), solid=False)
    for axle in axles:
        for factor, lowest, colour in ((1.22, 0.0, _ARCH), (1.0, -1.0, _TYRE), (0.55, -1.0, _HUB)):
            radius = body.wheel * factor
            points = [(axle + radius * cos, body.wheel + radius * max(sin, lowest), across) for cos, sin in CIRCLE]
            sketch.add(points, colour, solid=factor == 1.0)


def _end(
    sketch: Sketch,
    body: Body,
    low: tuple[float, float],
    high: tuple[float, float],
    lamp: Colour,
    light: Light,
    *,
    front: bool,
) -> None:
    """Lamps, number plate, bumper and grille on the rear or the front."""
    half, rise = body.width / 2, high[1] - low[1]
    along = max(low[0], high[0]) if front else min(low[0], high[0])
    y1, y2 = low[1] + rise * 0.52, low[1] + rise * 0.84

    def panel(left: float, bottom: float, right: float, top: float) -> list[Point]:
        return [(along, bottom, left), (along, top, left), (along, top, right), (along, bottom, right)]

    sketch.add(panel(-half, low[1] - 0.02, half, low[1] + rise * 0.22), (44, 45, 50))
    if front:
        sketch.add(panel(-half * 0.45, y1 - 0.06, half * 0.45, y2 - 0.04), (30, 31, 35), solid=False)
    plate = panel(-0.26, low[1] + rise * 0.24, 0.26, low[1] + rise * 0.44)
    sketch.add(plate, (236, 232, 214), solid=False)
    for side in (-1, 1):
        inner, outer = side * half * 0.58, side * half * 0.95
        sketch.add(panel(inner, y1, outer, y2), lamp, solid=False, emissive=light.glow > 0.3)
        if light.glow > 0.3:
            sketch.lamp(along, (y1 + y2) / 2, 0.75 if front else 0.4, lamp, (inner + outer) / 2)


def pedestrian(rng: np.random.Generator, camera: Camera, light: Light, height_m: float, x_m: float, z_m: float) -> Item:
    """A person on the ground at (x_m, z_m): standing, walking or running, seen from some side."""
    sketch = Sketch(camera, x_m, z_m, unit_m=height_m)
    sketch.shadow(0.2, 0.13, 0.3 + 0.25 * light.shadow, -0.1 * light.sun)
    top, legs, bag, skin, hair = (
        colours[rng.integers(len(colours))] for colours in (_CLOTHES, _TROUSERS, _CLOTHES, _SKINS, _HAIRS)
    )
    figure(rng, sketch, top, legs, bag, skin, hair)
    return sketch.item(FIRST_CLASS_LABEL + PEDESTRIAN, PEDESTRIAN)


def traffic_light(
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
    length_m: float,
    base_m: float,
    x_m: float,
    z_m: float,
    *,
    horizontal: bool,
) -> Item:
    """The head of a traffic light, its middle `base_m` over the ground. One of its three lamps is lit."""
    sketch = Sketch(camera, x_m, z_m, unit_m=length_m, base_m=base_m)
    housing = _HOUSINGS[rng.integers(len(_HOUSINGS))]

    def place(along: float, across: float) -> tuple[float, float]:
        """From red to green and across it; red is at the top, or at the left."""
        return (along, across) if horizontal else (across, -along)

    def outline(a: float, b: float, cut: float) -> list[tuple[float, float]]:
        """A rectangle with its corners cut off."""
        corners = ((-a, cut - b), (-a, b - cut), (cut - a, b), (a - cut, b), (a, b - cut), (a, cut - b),
                   (a - cut, -b), (cut - a, -b))  # fmt: skip
        return [place(*corner) for corner in corners]

    if rng.random() < 0.3:
        sketch.add(outline(0.56, 0.28, 0.05), (226, 226, 220))
        sketch.add(outline(0.535, 0.255, 0.05), (24, 25, 27), solid=False)
    sketch.add(outline(0.5, 0.2, 0.08), housing)
    lit = int(rng.choice(3, p=(0.42, 0.14, 0.44)))
    for i, (bright, dark) in enumerate(_LAMPS):
        x, y = place((i - 1) * 0.31, 0.0)
        sketch.ellipse(x, y, 0.152, 0.152, (12, 12, 13), solid=False)
        sketch.ellipse(x, y, 0.132, 0.132, bright if i == lit else dark, solid=False, emissive=i == lit)
        if i == lit:
            sketch.ellipse(x, y, 0.07, 0.07, multiplied(bright, 1.5), solid=False, emissive=True)
            sketch.lamp(x, y, 0.3 + 0.25 * light.glow, bright)
    return sketch.item(FIRST_CLASS_LABEL + TRAFFIC_LIGHT, TRAFFIC_LIGHT, nearer_m=0.05)

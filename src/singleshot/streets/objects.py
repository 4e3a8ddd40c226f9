"""The objects of a drawn street: cars, pedestrians and traffic lights, and things that resemble them.

A detector has to find the first three. A car is a profile (its outline from the side) extruded to a width, so that one
description can be drawn from behind, from the front, from the side and from any angle between. Pedestrians and traffic
lights are flat figures that face the camera. Every function returns an `Item` whose solid shapes are exactly what is
annotated.

The lookalikes have no class and make the sample data difficult: a detector that fires on any dark box with lamps, any
upright figure or any coloured block on the road loses precision on them. Their functions take the foot of the thing in
metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from singleshot.streets.painting import CIRCLE, Camera, Colour, Item, Light, Point, Sketch, multiplied

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
    """Draw a car on the ground at (x_m, z_m). At yaw 0 it drives to the right, at π/2 away from the camera."""
    paint = multiplied(_PAINTS[rng.integers(len(_PAINTS))], rng.uniform(0.8, 1.1))
    glass: Colour = (58, 74, 92) if light.glow < 0.5 else (34, 40, 58)
    sketch = Sketch(camera, x_m, z_m, yaw)
    half, wheel = body.width / 2, body.wheel
    axles = (body.profile[0][0] + 0.85, body.profile[-1][0] - 0.85)

    def faces(along: float, up: float, across: float, at: Point) -> bool:
        """Return whether a face with that outward normal, at that point of the car, is visible to the camera."""
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
    """Add flank, side windows and wheels."""
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
    """Add lamps, number plate, bumper and grille on the rear or the front."""
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
    """Draw a person on the ground at (x_m, z_m): standing, walking or running, from some side."""
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
    """Draw the head of a traffic light, its middle `base_m` over the ground. One of its three lamps is lit."""
    sketch = Sketch(camera, x_m, z_m, unit_m=length_m, base_m=base_m)
    housing = _HOUSINGS[rng.integers(len(_HOUSINGS))]

    def rotated(along: float, across: float) -> tuple[float, float]:
        """Return a point given along red to green and across; red is at the top, or at the left."""
        return (along, across) if horizontal else (across, -along)

    def outline(a: float, b: float, cut: float) -> list[tuple[float, float]]:
        """Return a rectangle with its corners cut off."""
        corners = ((-a, cut - b), (-a, b - cut), (cut - a, b), (a - cut, b), (a, b - cut), (a, cut - b),
                   (a - cut, -b), (cut - a, -b))  # fmt: skip
        return [rotated(*corner) for corner in corners]

    if rng.random() < 0.3:
        sketch.add(outline(0.56, 0.28, 0.05), (226, 226, 220))
        sketch.add(outline(0.535, 0.255, 0.05), (24, 25, 27), solid=False)
    sketch.add(outline(0.5, 0.2, 0.08), housing)
    lit = int(rng.choice(3, p=(0.42, 0.14, 0.44)))
    for i, (bright, dark) in enumerate(_LAMPS):
        x, y = rotated((i - 1) * 0.31, 0.0)
        sketch.ellipse(x, y, 0.152, 0.152, (12, 12, 13), solid=False)
        sketch.ellipse(x, y, 0.132, 0.132, bright if i == lit else dark, solid=False, emissive=i == lit)
        if i == lit:
            sketch.ellipse(x, y, 0.07, 0.07, multiplied(bright, 1.5), solid=False, emissive=True)
            sketch.lamp(x, y, 0.3 + 0.25 * light.glow, bright)
    return sketch.item(FIRST_CLASS_LABEL + TRAFFIC_LIGHT, TRAFFIC_LIGHT, nearer_m=0.05)


def figure(
    rng: np.random.Generator, sketch: Sketch, top: Colour, legs: Colour, bag: Colour, skin: Colour, hair: Colour
) -> None:
    """Add the figure of a person, one unit tall, in those colours."""
    side = 1 if rng.random() < 0.5 else -1
    stride = (0.045, 0.05, 0.11, 0.16)[rng.integers(4)]
    dress, coat, walking = rng.random() < 0.22, rng.random() < 0.3, stride > 0.1
    shoulder, hip, lean = rng.uniform(0.1, 0.125), rng.uniform(0.072, 0.09), stride * 0.15 * side

    for way, shade in ((-1, 0.8), (1, 1.0)):
        cloth = multiplied(skin if dress else legs, shade)
        hip_x, foot_x = way * side * hip * 0.5, way * side * stride
        knee = ((hip_x + foot_x) / 2 + (0.035 * side if walking and way > 0 else 0.0), 0.26)
        sketch.limb((hip_x, 0.5), knee, 0.104, 0.08, cloth)
        sketch.limb(knee, (foot_x, 0.03), 0.08, 0.058, cloth)
        heel, toe = foot_x - 0.03 * side, foot_x + 0.06 * side
        sketch.add(((heel, 0.0), (heel, 0.045), (foot_x + 0.03 * side, 0.04), (toe, 0.0)), multiplied(legs, 0.5))

    def arm(way: int, shade: float) -> None:
        swing = -way * side * stride if walking else 0.0
        elbow = (way * side * (shoulder + 0.018) + swing * 0.5, 0.64)
        hand = (way * side * (shoulder + 0.005) + swing * 1.2, 0.49 + abs(swing) * 0.5)
        sketch.limb((way * side * shoulder * 0.88, 0.8), elbow, 0.056, 0.05, multiplied(top, shade))
        sketch.limb(elbow, hand, 0.05, 0.042, multiplied(top, shade))
        sketch.ellipse(*hand, 0.023, 0.026, skin)

    arm(-1, 0.76)
    hem, flare = (0.27, 1.9) if dress else (0.36, 1.3) if coat else (0.46, 1.0)
    right = ((hip * flare, hem), (hip * 0.95, 0.6), (shoulder, 0.82), (0.05, 0.856))
    outline = (*right, *((-x, y) for x, y in reversed(right)))
    sketch.add([(x + lean * (y > 0.7), y) for x, y in outline], top)
    if coat and sketch.pixels_per_unit > 35:
        sketch.rectangle(-0.008, hem, 0.008, 0.83, multiplied(top, 0.7), solid=False)
    if rng.random() < 0.25:
        back = -side * (shoulder + 0.035)
        sketch.rectangle(min(back, back * 0.25), 0.58, max(back, back * 0.25), 0.8, multiplied(bag, 0.8))
    arm(1, 0.9)

    sketch.rectangle(lean - 0.024, 0.84, lean + 0.024, 0.885, multiplied(skin, 0.86))
    if dress or rng.random() < 0.2:
        sketch.ellipse(lean, 0.905, 0.07, 0.088, hair)
    sketch.ellipse(lean, 0.924, 0.056, 0.07, skin)
    sketch.add([(lean + 0.061 * cos, 0.938 + 0.062 * max(sin, 0.1)) for cos, sin in CIRCLE], hair)
    if rng.random() < 0.15:
        sketch.rectangle(lean - 0.085, 0.955, lean + 0.085, 0.972, multiplied(bag, 0.9))
        sketch.rectangle(lean - 0.055, 0.968, lean + 0.055, 1.015, multiplied(bag, 0.9))


# --- lookalikes

Lookalike = Callable[[np.random.Generator, Camera, Light, float, float], Item]

_STEEL: Colour = (92, 96, 102)
_BRIGHT: tuple[Colour, ...] = (
    (206, 44, 40),
    (36, 92, 176),
    (240, 190, 40),
    (52, 140, 84),
    (226, 118, 40),
    (228, 228, 222),
)


def street_lamp(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a post with an arm, or with globes: a lamp on a post, as a traffic light is."""
    sketch, height = Sketch(camera, x_m, z_m), rng.uniform(4.0, 5.6)
    way, shines = (1 if x_m < 0 else -1), light.glow >= 0.3
    lamp: Colour = (255, 232, 176) if shines else (214, 214, 206)
    sketch.limb((0, 0), (0, height), 0.14, 0.1, _STEEL)
    if rng.random() < 0.5:
        sketch.limb((0, height), (way * 1.1, height + 0.12), 0.09, 0.08, _STEEL)
        sketch.rectangle(min(way * 0.75, way * 1.35), height + 0.02, max(way * 0.75, way * 1.35), height + 0.16, _STEEL)
        sketch.ellipse(way * 1.05, height, 0.26, 0.08, lamp, emissive=shines)
        sketch.lamp(way * 1.05, height - 0.1, 1.3, lamp) if shines else None
    else:
        for i in range(int(rng.integers(1, 4))):
            sketch.ellipse(0, height + 0.12 - 0.42 * i, 0.2, 0.2, lamp, emissive=shines)
        sketch.lamp(0, height, 1.2, lamp) if shines else None
    return sketch.item(OTHER)


def sign(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a round, square or three-cornered traffic sign on a post."""
    sketch, height = Sketch(camera, x_m, z_m), rng.uniform(2.2, 2.9)
    colour, kind = _BRIGHT[rng.integers(len(_BRIGHT))], int(rng.integers(4))
    sketch.limb((0, 0), (0, height), 0.08, 0.08, (150, 152, 156))
    if kind == 0:
        sketch.ellipse(0, height, 0.34, 0.34, colour)
        sketch.ellipse(0, height, 0.24, 0.24, (236, 236, 230), solid=False)
    elif kind == 1:
        sketch.ellipse(0, height, 0.34, 0.34, colour)
        sketch.rectangle(-0.22, height - 0.06, 0.22, height + 0.06, (240, 240, 236), solid=False)
    elif kind == 2:
        sketch.add(((-0.38, height - 0.3), (0, height + 0.36), (0.38, height - 0.3)), (206, 44, 40))
        sketch.add(((-0.22, height - 0.2), (0, height + 0.18), (0.22, height - 0.2)), (240, 238, 228), solid=False)
    else:
        wide = rng.uniform(0.3, 0.9)
        sketch.rectangle(-wide, height - 0.28, wide, height + 0.28, multiplied(colour, 0.8))
        sketch.rectangle(-wide * 0.7, height - 0.06, wide * 0.6, height + 0.06, (240, 240, 236), solid=False)
    return sketch.item(OTHER)


def meter(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a dark upright box on a post, with one display, loudspeaker grilles or a single disk."""
    sketch, base = Sketch(camera, x_m, z_m), rng.uniform(1.0, 2.8)
    box, kind = (_STEEL, (40, 42, 46), (60, 72, 64))[rng.integers(3)], int(rng.integers(3))
    sketch.limb((0, 0), (0, base), 0.08, 0.08, _STEEL)
    sketch.rectangle(-0.19, base, 0.19, base + 0.85, box)
    if kind == 0:
        sketch.rectangle(-0.13, base + 0.5, 0.13, base + 0.76, (150, 190, 176), solid=False)
    elif kind == 1:
        for y in (0.22, 0.62):
            sketch.ellipse(0, base + y, 0.14, 0.14, multiplied(box, 0.55), solid=False)
    else:
        sketch.ellipse(0, base + 0.6, 0.15, 0.15, (236, 234, 226), solid=False)
    return sketch.item(OTHER)


def statue(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a person of stone or bronze on a plinth."""
    stone: Colour = ((178, 176, 170), (104, 132, 118), (120, 96, 70))[rng.integers(3)]
    height, plinth = rng.uniform(1.5, 1.9), rng.uniform(0.6, 1.1)
    base = Sketch(camera, x_m, z_m)
    base.shadow(0.6, 0.4, 0.3)
    base.rectangle(-0.5, 0, 0.5, plinth, (158, 154, 148))
    base.rectangle(-0.58, plinth - 0.12, 0.58, plinth, (180, 176, 168))
    base.rectangle(-0.58, 0, 0.58, 0.14, (138, 134, 130))
    person = Sketch(camera, x_m, z_m, unit_m=height, base_m=plinth)
    figure(rng, person, stone, multiplied(stone, 0.85), stone, multiplied(stone, 1.1), multiplied(stone, 0.8))
    item = base.item(OTHER)
    item.shapes += person.item(OTHER).shapes
    return item


def column(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw an advertising column with posters, or a bare pillar."""
    sketch, half = Sketch(camera, x_m, z_m), rng.uniform(0.25, 0.55)
    height = rng.uniform(1.8, 2.6)
    body: Colour = ((196, 188, 172), (120, 132, 128), (150, 96, 78))[rng.integers(3)]
    sketch.shadow(half * 1.3, half * 0.7, 0.35)
    sketch.rectangle(-half, 0, half, height, body)
    sketch.rectangle(half * 0.45, 0, half, height, multiplied(body, 0.8), solid=False)
    sketch.ellipse(0, height, half * 1.12, half * 0.35, multiplied(body, 0.7))
    if half > 0.38:
        poster = _BRIGHT[rng.integers(len(_BRIGHT))]
        sketch.rectangle(-half * 0.75, height * 0.25, half * 0.3, height * 0.88, poster, solid=False)
        sketch.rectangle(-half * 0.6, height * 0.34, half * 0.15, height * 0.48, (240, 238, 230), solid=False)
        sketch.ellipse(-half * 0.22, height * 0.68, half * 0.3, half * 0.36, multiplied(poster, 0.5), solid=False)
    return sketch.item(OTHER)


def bin_or_box(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a litter bin, a mailbox or a bollard: about as tall as a child."""
    sketch, half, height = Sketch(camera, x_m, z_m), rng.uniform(0.12, 0.32), rng.uniform(0.9, 1.35)
    colour = multiplied(_BRIGHT[rng.integers(len(_BRIGHT))], 0.85) if rng.random() < 0.7 else _STEEL
    sketch.shadow(half * 1.5, half, 0.35)
    sketch.rectangle(-half, 0, half, height, colour)
    sketch.ellipse(0, height, half, half * 0.5, multiplied(colour, 1.1))
    sketch.rectangle(-half * 0.7, height * 0.72, half * 0.7, height * 0.82, multiplied(colour, 0.4), solid=False)
    sketch.rectangle(half * 0.4, 0, half, height, multiplied(colour, 0.75), solid=False)
    return sketch.item(OTHER)


def container(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a skip, a shipping container or a shed: a coloured block about as large as a car, without wheels."""
    sketch = Sketch(camera, x_m, z_m)
    half, height, slope = rng.uniform(1.0, 2.1), rng.uniform(1.2, 2.2), rng.uniform(-0.25, 0.35)
    colour = multiplied(_BRIGHT[rng.integers(len(_BRIGHT))], rng.uniform(0.6, 0.85))
    sketch.shadow(half * 1.15, 0.8, 0.45)
    sketch.add(((-half + max(slope, 0), 0), (-half, height), (half, height), (half - max(slope, 0), 0)), colour)
    sketch.add(((-half, height), (-half * 0.9, height + 0.25), (half * 0.9, height + 0.25), (half, height)),
               multiplied(colour, 0.6))  # fmt: skip
    for x in np.linspace(-half * 0.8, half * 0.8, 7):
        sketch.rectangle(x - 0.05, 0.1, x + 0.05, height * 0.94, multiplied(colour, 0.78), solid=False)
    return sketch.item(OTHER)


def stall(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """Draw a market stall or a bus shelter: striped roof over a counter, glass-like front."""
    sketch, half = Sketch(camera, x_m, z_m), rng.uniform(1.1, 1.7)
    colour, height = _BRIGHT[rng.integers(len(_BRIGHT))], rng.uniform(1.9, 2.3)
    sketch.shadow(half, 0.6, 0.35)
    sketch.rectangle(-half * 0.9, 0, half * 0.9, height * 0.42, (142, 104, 70))
    sketch.rectangle(-half * 0.9, height * 0.42, half * 0.9, height * 0.8, (76, 74, 80))
    for x in np.linspace(-half * 0.7, half * 0.5, 4):
        goods = _BRIGHT[rng.integers(len(_BRIGHT))]
        sketch.rectangle(x, height * 0.42, x + 0.35, height * 0.52, goods, solid=False)
    for i in range(6):
        x1, x2 = -half + i * half / 3, -half + (i + 1) * half / 3
        stripe = ((x1, height * 0.74), (x1 + 0.06, height), (x2 - 0.06, height), (x2, height * 0.74))
        sketch.add(stripe, colour if i % 2 else (238, 234, 224))
    return sketch.item(OTHER)


SMALL: tuple[Lookalike, ...] = (street_lamp, sign, meter, statue, column, bin_or_box)
LARGE: tuple[Lookalike, ...] = (container, stall)

"""Things in a drawn street that are not cars, pedestrians or traffic lights but look a little like them.

They are what makes the sample data worth a figure: a detector that fires on any dark box with lamps, any upright
figure or any coloured block on the road loses precision on these. Every function takes the foot of the thing in
metres and returns one item without a class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from singleshot.streets.painting import Camera, Colour, Item, Light, Sketch, multiplied
from singleshot.streets.people import figure
from singleshot.streets.traffic import OTHER

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
    """A post with an arm, or with globes; like a traffic light it is a lamp on a post."""
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
    """A round, square or three-cornered traffic sign on a post."""
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
    """A dark box on a post, upright like a traffic light, with one display, loudspeaker grilles or a single disk."""
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
    """A person of stone or bronze on a plinth."""
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
    """An advertising column with posters, or a bare pillar."""
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
    """A litter bin, a mailbox or a bollard: about as tall as a child."""
    sketch, half, height = Sketch(camera, x_m, z_m), rng.uniform(0.12, 0.32), rng.uniform(0.9, 1.35)
    colour = multiplied(_BRIGHT[rng.integers(len(_BRIGHT))], 0.85) if rng.random() < 0.7 else _STEEL
    sketch.shadow(half * 1.5, half, 0.35)
    sketch.rectangle(-half, 0, half, height, colour)
    sketch.ellipse(0, height, half, half * 0.5, multiplied(colour, 1.1))
    sketch.rectangle(-half * 0.7, height * 0.72, half * 0.7, height * 0.82, multiplied(colour, 0.4), solid=False)
    sketch.rectangle(half * 0.4, 0, half, height, multiplied(colour, 0.75), solid=False)
    return sketch.item(OTHER)


def container(rng: np.random.Generator, camera: Camera, light: Light, x_m: float, z_m: float) -> Item:
    """A skip, a shipping container or a shed: a coloured block about as large as a car, without wheels."""
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
    """A market stall or a bus shelter: striped roof over a counter, glass-like front."""
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

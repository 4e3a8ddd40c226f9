"""The figure of a person, in many poses and clothes: of a pedestrian in flesh, of a statue in stone."""

from __future__ import annotations

import numpy as np

from singleshot.streets.painting import CIRCLE, Colour, Sketch, multiplied


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

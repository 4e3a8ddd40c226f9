"""Where things stand in a drawn street: the plan of a scene before anyone looks at it.

Sizes are drawn first and distances follow from them, so that every octave of size is about as frequent as the next;
nothing is put where something stands already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from singleshot.streets import lookalikes, scenery, weather
from singleshot.streets.ground import Street
from singleshot.streets.painting import Camera, Item, Light, Sketch
from singleshot.streets.traffic import BODIES, CAR, OTHER, PEDESTRIAN, car, pedestrian, traffic_light

SMALLEST_PX = 16  # longer side of a box in a picture 300 pixels high; in others in proportion
MIN_INSIDE = 0.6


@dataclass
class Plan:
    """What is to be painted. `objects` are the annotated items, each with the posts that hold it."""

    camera: Camera
    street: Street
    light: Light
    size_hw: tuple[int, int]
    objects: list[tuple[Item, list[Item]]] = field(default_factory=list)
    scenery: list[Item] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Occupy a piece of ground, unless something stands there already."""
        if any(abs(x - a) < half_x + c and abs(z - b) < half_z + d for a, b, c, d in self.taken):
            return False
        self.taken.append((x, z, half_x, half_z))
        return True


def empty_street(rng: np.random.Generator, size_hw: tuple[int, int]) -> Plan:
    """A street with its houses, in some light, seen from somewhere."""
    height, width = size_hw
    camera = Camera(
        focal=height * rng.uniform(1.0, 1.2),
        height_m=rng.uniform(1.5, 2.7),
        centre_x=width * rng.uniform(0.3, 0.7),
        horizon_y=height * rng.uniform(0.4, 0.52),
    )
    along, green = bool(rng.random() < 0.68), bool(rng.random() < 0.35)
    if along:
        wide = rng.uniform(6.0, 9.5)
        left = -wide * rng.uniform(0.1, 0.9)
        z = rng.uniform(12, 26)
        cross = (z, z + rng.uniform(6, 9)) if rng.random() < 0.45 else None
        street = Street(True, (left, left + wide), rng.uniform(2.2, 4.0), cross, 0.0, green)
    else:
        near = rng.uniform(5.0, 15.0)
        road = (near, near + rng.uniform(6.0, 8.0))
        street = Street(False, road, 3.0, None, road[1] + rng.uniform(4.0, 16.0), green)
    plan = Plan(camera, street, weather.random_light(rng), size_hw)
    plan.scenery += scenery.houses(rng, camera, street, plan.light)
    return plan


def _size_px(rng: np.random.Generator, plan: Plan, largest: float) -> float:
    """The longer side that an object shall have: every octave is about as likely as the next."""
    smallest = SMALLEST_PX * 1.06
    return smallest * (largest / smallest) ** rng.uniform(0, 1) * plan.size_hw[0] / 300


def place_object(rng: np.random.Generator, plan: Plan) -> None:
    """Try to add a car, a pedestrian or a traffic light somewhere; the street may be too full for it."""
    class_id = int(rng.choice(3, p=(0.38, 0.36, 0.26)))
    posts: list[Item] = []
    if class_id == CAR:
        item = _place_car(rng, plan)
    elif class_id == PEDESTRIAN:
        item = _place_pedestrian(rng, plan)
    else:
        item = place_traffic_light(rng, plan, posts)
    if item is not None and share_inside(item, plan.size_hw) >= MIN_INSIDE:
        plan.objects.append((item, posts))


def _place_car(rng: np.random.Generator, plan: Plan) -> Item | None:
    camera, street = plan.camera, plan.street
    body = BODIES[int(rng.choice(len(BODIES), p=(0.32, 0.28, 0.24, 0.16)))]
    way = 1 if rng.random() < 0.5 else -1
    if not street.along:
        lane = 0.28 if way < 0 else 0.72
        z = street.road[0] + lane * (street.road[1] - street.road[0]) + rng.uniform(-0.3, 0.3)
        yaw = (0.0 if way > 0 else math.pi) + (rng.uniform(-0.5, 0.5) if rng.random() < 0.2 else 0.0)
        x = _x_in_view(rng, plan, z, 0.0)
    elif street.cross is not None and rng.random() < 0.35:
        z = street.cross[0] + (0.28 if way > 0 else 0.72) * (street.cross[1] - street.cross[0])
        x, yaw = _x_in_view(rng, plan, z, 0.0), (0.0 if way > 0 else math.pi)
    else:
        z = camera.focal * body.width * 1.05 / _size_px(rng, plan, 190.0) + body.length / 2
        left, right = street.road
        yaw = way * math.pi / 2
        if rng.random() < 0.35:  # parked at the kerb
            x = right - 1.1 if way > 0 else left + 1.1
        elif rng.random() < 0.2:  # turning
            x, yaw = rng.uniform(left + 1.5, right - 1.5), rng.uniform(-math.pi, math.pi)
        else:
            x = (left + right) / 2 + way * (right - left) * 0.25 + rng.uniform(-0.3, 0.3)
    cos, sin = abs(math.cos(yaw)), abs(math.sin(yaw))
    half_x, half_z = (body.length * a + body.width * b for a, b in ((cos / 2, sin / 2), (sin / 2, cos / 2)))
    if z - half_z < 1.5 or not plan.take(x, z, half_x + 0.2, half_z + 0.3):
        return None
    return car(rng, camera, plan.light, body, x, z, yaw)


def _place_pedestrian(rng: np.random.Generator, plan: Plan) -> Item | None:
    camera, street = plan.camera, plan.street
    height = rng.uniform(1.55, 1.92) if rng.random() < 0.88 else rng.uniform(1.1, 1.4)
    z = camera.focal * height / _size_px(rng, plan, 190.0)
    if not street.along:
        if rng.random() < 0.6:
            z = rng.uniform(street.road[1] + 0.6, street.far - 0.6)
        z = min(z, street.far - 0.6)
    x = _x_in_view(rng, plan, z, 0.06)
    if street.along:
        left, right = street.walls
        if rng.random() < 0.6:
            edge = rng.uniform(0.4, street.pavement - 0.3)
            x = street.road[0] - edge if rng.random() < 0.5 else street.road[1] + edge
        if not left + 0.3 < x < right - 0.3:
            return None
    if not plan.take(x, z, 0.3, 0.3):
        return None
    return pedestrian(rng, camera, plan.light, height, x, z)


def place_traffic_light(rng: np.random.Generator, plan: Plan, posts: list[Item]) -> Item | None:
    """Try to find a place for a traffic light; what holds it is added to `posts`."""
    camera, street = plan.camera, plan.street
    length, horizontal = rng.uniform(0.9, 1.15), bool(rng.random() < 0.25)
    z = camera.focal * length / _size_px(rng, plan, 84.0)
    if not street.along:
        z = min(z, street.far - 1.0)
    highest = camera.height_m + (camera.horizon_y - 3) * z / camera.focal - length * (0.25 if horizontal else 0.56)
    middle = min(rng.uniform(2.6, 4.6), highest)
    if middle < 2.0:
        return None
    arm = 0.0
    if street.along and rng.random() < 0.75:
        right_side = rng.random() < 0.6
        x = street.road[1] + 0.5 if right_side else street.road[0] - 0.5
        if middle > 3.0 and rng.random() < 0.5:
            arm = rng.uniform(1.0, 4.0) * (-1 if right_side else 1)
    else:
        x = _x_in_view(rng, plan, z, 0.05)
        left, right = street.walls if street.along else (-1e3, 1e3)
        if not left + 0.3 < x < right - 0.3:
            return None
    if not plan.take(x, z, 0.35, 0.35):
        return None
    post = Sketch(camera, x, z)
    post.shadow(0.25, 0.15, 0.3)
    post.limb((0, 0), (0, middle + (0.3 if arm else -0.1)), 0.13, 0.1, (84, 88, 94))
    if arm:
        post.limb((0, middle), (arm, middle), 0.1, 0.08, (84, 88, 94))
    posts.append(post.item(OTHER))
    return traffic_light(rng, camera, plan.light, length, middle, x + arm, z, horizontal=horizontal)


def place_scenery(rng: np.random.Generator, plan: Plan) -> None:
    """A tree, a bush or something that looks like one of the classes; it may hide what is behind it."""
    camera, street, light = plan.camera, plan.street, plan.light
    kind, z = rng.random(), 3.5 * (34 / 3.5) ** rng.uniform(0, 1)
    if street.along:
        edge = rng.uniform(0.3, street.pavement - 0.2 + (5.0 if street.green else 0.0))
        x = street.road[0] - edge if rng.random() < 0.5 else street.road[1] + edge
        if street.cross is not None and street.cross[0] - 0.5 < z < street.cross[1] + 0.5:
            return
    else:
        z = min(z, street.far - 1.0)
        if street.road[0] - 0.3 < z < street.road[1] + 0.3:
            z = street.road[1] + 0.8
        x = _x_in_view(rng, plan, z, 0.0)
    if kind < (0.45 if street.green else 0.2):
        if z > 6 and plan.take(x, z, 0.4, 0.4):
            plan.scenery += scenery.tree(rng, camera, light, x, z)
    elif kind < 0.55 if street.green else kind < 0.28:
        if plan.take(x, z, 0.9, 0.4):
            plan.scenery += scenery.bush(rng, camera, light, x, z)
    elif kind < 0.88:
        lookalike = lookalikes.SMALL[rng.integers(len(lookalikes.SMALL))]
        if plan.take(x, z, 0.5, 0.4):
            plan.scenery.append(lookalike(rng, camera, light, x, z))
    elif z > 7 and plan.take(x, z, 2.0, 0.8):
        lookalike = lookalikes.LARGE[rng.integers(len(lookalikes.LARGE))]
        plan.scenery.append(lookalike(rng, camera, light, x, z))


def _x_in_view(rng: np.random.Generator, plan: Plan, z: float, margin: float) -> float:
    """A place at depth z whose column lies in the picture."""
    column = plan.size_hw[1] * rng.uniform(margin, 1 - margin)
    return (column - plan.camera.centre_x) * z / plan.camera.focal


def share_inside(item: Item, size_hw: tuple[int, int]) -> float:
    """Share of the item's own box that lies in the picture."""
    x1, y1, x2, y2 = item.extent_xyxy()
    width, height = min(x2, size_hw[1]) - max(x1, 0.0), min(y2, size_hw[0]) - max(y1, 0.0)
    return max(width, 0.0) * max(height, 0.0) / ((x2 - x1) * (y2 - y1))

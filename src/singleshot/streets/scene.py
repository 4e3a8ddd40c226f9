"""One drawn street scene: the position of everything in it, what is visible of each object, and the image.

`scene` first plans (a street, a light, items at distances), then numbers the items from far to near on a map to
measure how much of each stays visible, removes every object that is hidden too far, too small or too large, and only
then paints. Boxes and masks come from that map, not from the plan: they are around what is visible. Sizes are chosen
first and distances follow from them, so that every octave of size is about as frequent as the next; nothing is put
where something else is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8
from numpy import ndarray

from singleshot.streets import objects, scenery, weather
from singleshot.streets.objects import BODIES, CAR, OTHER, PEDESTRIAN, car, pedestrian, traffic_light
from singleshot.streets.painting import Camera, Item, Light, Sketch
from singleshot.streets.scenery import Street, paint_ground

SMALLEST_PX = 16  # longer side of a box in an image 300 pixels high; in others in proportion
MIN_INSIDE = 0.6


@dataclass
class Plan:
    """The content of a scene before painting; `objects` are the annotated items, each with the posts that carry it."""

    camera: Camera
    street: Street
    light: Light
    size_hw: tuple[int, int]
    objects: list[tuple[Item, list[Item]]] = field(default_factory=list)
    scenery: list[Item] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Occupy a piece of ground. Returns False, and does nothing, where another item is."""
        if any(abs(x - a) < half_x + c and abs(z - b) < half_z + d for a, b, c, d in self.taken):
            return False
        self.taken.append((x, z, half_x, half_z))
        return True


def empty_street(rng: np.random.Generator, size_hw: tuple[int, int]) -> Plan:
    """Draw a street with its houses, a light and a camera."""
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
    """Draw the longer side of an object: every octave is about as likely as the next."""
    smallest = SMALLEST_PX * 1.06
    return smallest * (largest / smallest) ** rng.uniform(0, 1) * plan.size_hw[0] / 300


def place_object(rng: np.random.Generator, plan: Plan) -> None:
    """Try to add a car, a pedestrian or a traffic light somewhere; the street may be too full for it."""
    class_id = int(rng.choice(3, p=(0.38, 0.36, 0.26)))
    item, posts = None, []
    if class_id == CAR:
        item = _place_car(rng, plan)
    elif class_id == PEDESTRIAN:
        item = _place_pedestrian(rng, plan)
    else:
        item, posts = place_traffic_light(rng, plan)
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


def place_traffic_light(rng: np.random.Generator, plan: Plan) -> tuple[Item | None, list[Item]]:
    """Try to add a traffic light. Returns it and the posts that carry it, or None and none where there is no room."""
    camera, street = plan.camera, plan.street
    length, horizontal = rng.uniform(0.9, 1.15), bool(rng.random() < 0.25)
    z = camera.focal * length / _size_px(rng, plan, 84.0)
    if not street.along:
        z = min(z, street.far - 1.0)
    highest = camera.height_m + (camera.horizon_y - 3) * z / camera.focal - length * (0.25 if horizontal else 0.56)
    middle = min(rng.uniform(2.6, 4.6), highest)
    if middle < 2.0:
        return None, []
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
            return None, []
    if not plan.take(x, z, 0.35, 0.35):
        return None, []
    post = Sketch(camera, x, z)
    post.shadow(0.25, 0.15, 0.3)
    post.limb((0, 0), (0, middle + (0.3 if arm else -0.1)), 0.13, 0.1, (84, 88, 94))
    if arm:
        post.limb((0, middle), (arm, middle), 0.1, 0.08, (84, 88, 94))
    item = traffic_light(rng, camera, plan.light, length, middle, x + arm, z, horizontal=horizontal)
    return item, [post.item(OTHER)]


def place_scenery(rng: np.random.Generator, plan: Plan) -> None:
    """Try to add a tree, a bush or a lookalike of one of the classes; it may hide what is behind it."""
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
        lookalike = objects.SMALL[rng.integers(len(objects.SMALL))]
        if plan.take(x, z, 0.5, 0.4):
            plan.scenery.append(lookalike(rng, camera, light, x, z))
    elif z > 7 and plan.take(x, z, 2.0, 0.8):
        lookalike = objects.LARGE[rng.integers(len(objects.LARGE))]
        plan.scenery.append(lookalike(rng, camera, light, x, z))


def _x_in_view(rng: np.random.Generator, plan: Plan, z: float, margin: float) -> float:
    """Draw an x at depth z whose column is in the image."""
    column = plan.size_hw[1] * rng.uniform(margin, 1 - margin)
    return (column - plan.camera.centre_x) * z / plan.camera.focal


def share_inside(item: Item, size_hw: tuple[int, int]) -> float:
    """Return the share of the item's own box that is in the image."""
    x1, y1, x2, y2 = item.extent_xyxy()
    width, height = min(x2, size_hw[1]) - max(x1, 0.0), min(y2, size_hw[0]) - max(y1, 0.0)
    return max(width, 0.0) * max(height, 0.0) / ((x2 - x1) * (y2 - y1))


# --- visibility and painting

SPLITS = ("train", "val", "test")
SIDES_PX = (SMALLEST_PX, 200)  # longer side of a box in an image 300 pixels high; in others in proportion
MAX_HIDDEN = 0.4
_COUNT_SHARES = (0.045, 0.055, 0.09, 0.12, 0.14, 0.15, 0.14, 0.11, 0.07, 0.05, 0.03)  # of 0, 1, … 10 objects


@dataclass(frozen=True)
class Scene:
    """A drawn image and its annotation.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) whole pixels, around the visible part of each object. N is 0 in a street without traffic.
        class_ids: (N,) indices into `objects.CLASS_NAMES`.
        occlusion: (N,) share of the object's area in the image that something nearer hides, 0 to `MAX_HIDDEN`.
        truncated: (N,) whether the edge of the image cuts the object off.
        mask: (H, W) indices into `objects.MASK_NAMES`.
    """

    image: UInt8[ndarray, "H W 3"]
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    occlusion: Float[ndarray, " N"]
    truncated: Bool[ndarray, " N"]
    mask: UInt8[ndarray, "H W"]


@dataclass(frozen=True)
class Visibility:
    """How one object appears on the map.

    Args:
        box_xyxy: around the visible part.
        occlusion: the share of its area in the image that something nearer hides.
        truncated: whether the edge of the image cuts it off.
        annotated: whether it is neither hidden too far nor too small or too large for an annotation.
    """

    box_xyxy: tuple[int, int, int, int]
    occlusion: float
    truncated: bool
    annotated: bool


def scene(seed: int, split: str, index: int, *, size_hw: tuple[int, int] = (300, 400)) -> Scene:
    """Draw image `index` of a split. It depends on these arguments alone: the same ones give the same pixels.

    Args:
        seed: of the data set, 0 or more.
        split: one of `SPLITS`.
        index: from 0.
        size_hw: of the image. Everything scales with its height.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    plan = empty_street(rng, size_hw)
    count = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES))
    for _ in range(count * 5):
        if len(plan.objects) >= count * 1.35:
            break
        place_object(rng, plan)
    for _ in range(int(rng.integers(3, 9)) + 3 * plan.street.green):
        place_scenery(rng, plan)

    visible, ids = visibilities(plan)
    keep = [i for i, each in enumerate(visible) if each is not None and each.annotated][:count]
    if len(keep) < len(plan.objects):
        plan.objects = [plan.objects[i] for i in keep]
        visible, ids = visibilities(plan)
    found = [each for each in visible if each is not None]
    image, mask = paint(rng, plan, ids)
    return Scene(
        image,
        np.array([each.box_xyxy for each in found], dtype=np.float32).reshape(-1, 4),
        np.array([item.class_id for item, _ in plan.objects], dtype=np.int64),
        np.array([each.occlusion for each in found], dtype=np.float32),
        np.array([each.truncated for each in found], dtype=np.bool_),
        mask,
    )


def _in_order(plan: Plan) -> list[tuple[Item, int]]:
    """Return all items from far to near, each with the number of its object, −1 for scenery."""
    items = [(item, -1) for item in plan.scenery]
    for number, (item, posts) in enumerate(plan.objects):
        items += [(item, number), *((post, -1) for post in posts)]
    return sorted(items, key=lambda pair: -pair[0].depth_m)


def visibilities(plan: Plan) -> tuple[list[Visibility | None], Int32[ndarray, "H W"]]:
    """Return how each object appears, None where nothing of it is visible; and the map of the visible items.

    The map contains 1 + the index in `_in_order`, 0 for the background. No reason to omit an object can result from
    omitting others: an object that is annotated among many is annotated among fewer.
    """
    ids = np.zeros(plan.size_hw, dtype=np.int32)  # a wide image has more than 255 items
    found: list[Visibility | None] = [None] * len(plan.objects)
    height, width = plan.size_hw
    smallest, largest = (side * height / 300 for side in SIDES_PX)
    areas: dict[int, tuple[int, int, int, int, int, int]] = {}
    for index, (item, number) in enumerate(_in_order(plan), start=1):
        item.number(ids, index)
        if number >= 0:
            x1, y1, x2, y2 = item.extent_xyxy()
            window = max(int(x1) - 2, 0), max(int(y1) - 2, 0), min(int(x2) + 3, width), min(int(y2) + 3, height)
            left, top, right, bottom = window
            area = int(np.count_nonzero(ids[top:bottom, left:right] == index))
            areas[number] = (index, area, *window)
    for number, (index, area, left, top, right, bottom) in areas.items():
        visible = (ids[top:bottom, left:right] == index).view(np.uint8)
        x, y, box_width, box_height = cv2.boundingRect(visible)
        hidden = 1 - np.count_nonzero(visible) / max(area, 1)
        # The window is 5 pixels wider than the whole object, which must not be too large, visible or not.
        fits = max(right - left, bottom - top) <= largest and max(box_width, box_height) >= smallest
        if box_width:
            box = left + x, top + y, left + x + box_width, top + y + box_height
            truncated = share_inside(plan.objects[number][0], plan.size_hw) < 0.98
            found[number] = Visibility(box, hidden, truncated, bool(fits and hidden <= MAX_HIDDEN))
    return found, ids


def paint(
    rng: np.random.Generator, plan: Plan, ids: Int32[ndarray, "H W"], frame_rng: np.random.Generator | None = None
) -> tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]:
    """Return the image and its mask. In a video, `frame_rng` draws what differs in each frame: rain and noise."""
    image = np.empty((*plan.size_hw, 3), dtype=np.uint8)
    ground = np.empty(plan.size_hw, dtype=np.uint8)
    paint_ground(image, ground, rng, plan.camera, plan.street, plan.light)
    items = _in_order(plan)
    labels = np.zeros(len(items) + 1, dtype=np.uint8)
    halos = []
    for index, (item, _) in enumerate(items, start=1):
        labels[index] = item.label
        item.paint(image, plan.light)
        # A lamp shines if the pixel at its centre is its own: nothing nearer hides it.
        for halo in item.halos:
            column, row = int(halo.x), int(halo.y)
            if 0 <= column < plan.size_hw[1] and 0 <= row < plan.size_hw[0] and ids[row, column] == index:
                halos.append(halo)
    mask = np.where(ids > 0, labels[ids], ground)
    return weather.develop(image, rng, plan.light, halos, plan.camera.horizon_y, frame_rng), mask

"""One drawn street scene: what stands where, what of it can be seen, and the picture.

`scene` first plans (a street, a light, items at distances), then numbers the items from far to near on a map to learn
how much of each stays visible, leaves out every object that is hidden too far, too small or too large, and only then
paints. Boxes and masks come from that map, not from the plan: they are around what can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8
from numpy import ndarray

from singleshot.streets import weather
from singleshot.streets.ground import paint_ground
from singleshot.streets.painting import Item
from singleshot.streets.plan import SMALLEST_PX, Plan, empty_street, place_object, place_scenery, share_inside

SPLITS = ("train", "val", "test")
SIDES_PX = (SMALLEST_PX, 200)  # longer side of a box in a picture 300 pixels high; in others in proportion
MAX_HIDDEN = 0.4
_COUNT_SHARES = (0.045, 0.055, 0.09, 0.12, 0.14, 0.15, 0.14, 0.11, 0.07, 0.05, 0.03)  # of 0, 1, … 10 objects


@dataclass(frozen=True)
class Scene:
    """A drawn picture and the truth about it.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) whole pixels, around what can be seen of each object. N is 0 in a street without traffic.
        class_ids: (N,) places in `street_traffic.CLASS_NAMES`.
        occlusion: (N,) share of the object's area in the picture that something nearer hides, 0 to `MAX_HIDDEN`.
        truncated: (N,) whether the edge of the picture cuts the object off.
        mask: (H, W) places in `street_traffic.MASK_NAMES`.
    """

    image: UInt8[ndarray, "H W 3"]
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    occlusion: Float[ndarray, " N"]
    truncated: Bool[ndarray, " N"]
    mask: UInt8[ndarray, "H W"]


@dataclass(frozen=True)
class Seen:
    """How one object appears on the map.

    Args:
        box_xyxy: around what can be seen of it.
        occlusion: the share of its area in the picture that something nearer hides.
        truncated: whether the edge of the picture cuts it off.
        fit: whether it is neither hidden too far nor too small or too large to be annotated.
    """

    box_xyxy: tuple[int, int, int, int]
    occlusion: float
    truncated: bool
    fit: bool


def scene(seed: int, split: str, index: int, *, size_hw: tuple[int, int] = (300, 400)) -> Scene:
    """Draw picture `index` of a split. It depends on these arguments alone: the same ones give the same pixels.

    Args:
        seed: of the data set, 0 or more.
        split: one of `SPLITS`.
        index: from 0.
        size_hw: of the picture. Everything grows with its height.
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

    seen, ids = look(plan)
    keep = [i for i, sight in enumerate(seen) if sight is not None and sight.fit][:count]
    if len(keep) < len(plan.objects):
        plan.objects = [plan.objects[i] for i in keep]
        seen, ids = look(plan)
    found = [sight for sight in seen if sight is not None]
    image, mask = paint(rng, plan, ids)
    return Scene(
        image,
        np.array([sight.box_xyxy for sight in found], dtype=np.float32).reshape(-1, 4),
        np.array([item.class_id for item, _ in plan.objects], dtype=np.int64),
        np.array([sight.occlusion for sight in found], dtype=np.float32),
        np.array([sight.truncated for sight in found], dtype=np.bool_),
        mask,
    )


def _in_order(plan: Plan) -> list[tuple[Item, int]]:
    """All items from far to near, each with the number of its object, −1 for scenery."""
    items = [(item, -1) for item in plan.scenery]
    for number, (item, posts) in enumerate(plan.objects):
        items += [(item, number), *((post, -1) for post in posts)]
    return sorted(items, key=lambda pair: -pair[0].depth_m)


def look(plan: Plan) -> tuple[list[Seen | None], Int32[ndarray, "H W"]]:
    """How each object is seen, None where nothing of it is; and the map of what is seen where.

    The map holds 1 + the place in `_in_order`, 0 for the background. Every reason to leave an object out is one that
    leaving out others cannot bring about: who was fit among many is fit among fewer.
    """
    ids = np.zeros(plan.size_hw, dtype=np.int32)  # a wide picture has more than 255 items
    seen: list[Seen | None] = [None] * len(plan.objects)
    height, width = plan.size_hw
    smallest, largest = (side * height / 300 for side in SIDES_PX)
    areas: dict[int, tuple[int, int, int, int, int, int]] = {}
    for place, (item, number) in enumerate(_in_order(plan), start=1):
        item.number(ids, place)
        if number >= 0:
            x1, y1, x2, y2 = item.extent_xyxy()
            window = max(int(x1) - 2, 0), max(int(y1) - 2, 0), min(int(x2) + 3, width), min(int(y2) + 3, height)
            left, top, right, bottom = window
            area = int(np.count_nonzero(ids[top:bottom, left:right] == place))
            areas[number] = (place, area, *window)
    for number, (place, area, left, top, right, bottom) in areas.items():
        visible = (ids[top:bottom, left:right] == place).view(np.uint8)
        x, y, box_width, box_height = cv2.boundingRect(visible)
        hidden = 1 - np.count_nonzero(visible) / max(area, 1)
        # The window is 5 pixels wider than the whole object: that, and not what is seen of it, must not be too large.
        fits = max(right - left, bottom - top) <= largest and max(box_width, box_height) >= smallest
        if box_width:
            box = left + x, top + y, left + x + box_width, top + y + box_height
            truncated = share_inside(plan.objects[number][0], plan.size_hw) < 0.98
            seen[number] = Seen(box, hidden, truncated, bool(fits and hidden <= MAX_HIDDEN))
    return seen, ids


def paint(
    rng: np.random.Generator, plan: Plan, ids: Int32[ndarray, "H W"], frame_rng: np.random.Generator | None = None
) -> tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]:
    """The picture and its mask. In a video, `frame_rng` draws what is another in each frame: rain and noise."""
    image = np.empty((*plan.size_hw, 3), dtype=np.uint8)
    ground = np.empty(plan.size_hw, dtype=np.uint8)
    paint_ground(image, ground, rng, plan.camera, plan.street, plan.light)
    items = _in_order(plan)
    labels = np.zeros(len(items) + 1, dtype=np.uint8)
    halos = []
    for place, (item, _) in enumerate(items, start=1):
        labels[place] = item.label
        item.paint(image, plan.light)
        # A lamp shines if the pixel at its middle is its own: nothing nearer stands before it.
        for halo in item.halos:
            column, row = int(halo.x), int(halo.y)
            if 0 <= column < plan.size_hw[1] and 0 <= row < plan.size_hw[0] and ids[row, column] == place:
                halos.append(halo)
    mask = np.where(ids > 0, labels[ids], ground)
    return weather.develop(image, rng, plan.light, halos, plan.camera.horizon_y, frame_rng), mask

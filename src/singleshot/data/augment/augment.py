"""SSD's augmentation: one training picture and its boxes → another that shows the same objects differently.

    draw_plan    random numbers, size, boxes → a Plan: all that will be done, and nothing done yet
    apply_to_image, apply_to_boxes    the Plan → pixels, boxes (and masks, which share the geometry)

The order is the reference's (Caffe branch `ssd`: `annotated_data_layer.cpp`, `data_transformer.cpp`): distort
colours, expand, crop, resize by a random interpolation, mirror. It accounts for 19 points of mAP: 77.4 with it and
58.1 without (ssd.pytorch's measurement on VOC2007). Work is skipped where that changes no pixel: colours are
distorted in the visible part only, and expansion, crop, resize and mirror are one step that makes no canvas.

One departure: `nearest` takes the source pixel under the centre of the new one (INTER_NEAREST_EXACT). OpenCV's plain
INTER_NEAREST takes the one under its upper left corner, which moves the picture against its boxes by up to half a
pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.config import Range
from singleshot.data.augment.photometric import Distortion, DistortionOptions, distort, draw_distortion
from singleshot.data.augment.resample import Interpolation, resample
from singleshot.data.augment.sampling import Window, WindowOptions, draw_window
from singleshot.errors import ConfigError
from singleshot.preprocess import inner_size_hw, pad
from singleshot.structures import VOID

NO_BOXES = np.zeros((0, 4))


@dataclass(frozen=True)
class Augmentation(DistortionOptions, WindowOptions, name="augmentation"):
    """All options of augmentation in one flat record; the defaults are the Caffe reference.

    Those of colours are explained in `DistortionOptions`, those of the window in `WindowOptions`.
    """

    clip_boxes: bool = True
    """Clip kept boxes at the crop (the reference), or let them reach outside it (the 2017 post)."""
    mirror_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that left and right are exchanged."""
    flip_probability: Annotated[float, Range(0, 1)] = 0.0
    """Probability that top and bottom are exchanged, for images without an up, such as microscopy."""
    turn_probability: Annotated[float, Range(0, 1)] = 0.0
    """Probability that the image is turned by one, two or three quarter turns."""
    mosaic_probability: Annotated[float, Range(0, 1)] = 0.0
    """Probability that an image is put together with three others, see `mosaic`; for images with boxes. It is off in
    the last tenth of a run."""
    interpolations: tuple[Interpolation, ...] = get_args(Interpolation)
    """The ways to resize, one of which is chosen at random."""
    mean_rgb: Annotated[tuple[int, int, int], Range(0, 255)] = (123, 117, 104)
    """The colour around an expanded image, 0 … 255."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.interpolations:
            known = ", ".join(get_args(Interpolation))
            raise ConfigError("augmentation.interpolations is empty", remedy=f"Give one or more of {known}")


CAFFE = Augmentation()
"""What trained the published SSD."""

POST_2017 = Augmentation(channel_order_probability=0.5, clip_boxes=False)
"""The post's recipe: channels in random order half of the time, boxes left as they reach outside the crop."""

NONE = Augmentation(
    brightness_probability=0.0,
    contrast_probability=0.0,
    saturation_probability=0.0,
    hue_probability=0.0,
    expand_probability=0.0,
    samplers=(),
    mirror_probability=0.0,
    interpolations=("linear",),
)
"""Only the resize: what validation sees."""


@dataclass(frozen=True)
class Plan:
    """Everything that will be done to one picture.

    Args:
        distortion: what happens to its colours.
        window: the part that is kept, in pixels of the picture; outside the picture is the mean colour.
        mirror: exchange left and right, after the resize.
        flip: exchange top and bottom, after that.
        quarter_turns: then turn counter-clockwise so many times, 0 … 3.
        interpolation: how to resize.
    """

    distortion: Distortion
    window: Window
    mirror: bool
    flip: bool
    quarter_turns: int
    interpolation: Interpolation

    @property
    def window_hw(self) -> tuple[int, int]:
        """Height and width of the window."""
        left, top, right, bottom = self.window
        return bottom - top, right - left


class Augmented(NamedTuple):
    """A new training image and its annotation.

    Args:
        image_rgb: (h, w, 3) uint8.
        boxes_xyxy: (M, 4) float32 pixels of the new image, in the order in which they were given.
        rows: (M,) their rows in the boxes that were given.
        mask: (h, w) uint8; None where none was given.
    """

    image_rgb: UInt8[ndarray, "h w 3"]
    boxes_xyxy: Float[ndarray, "M 4"]
    rows: Int[ndarray, " M"]
    mask: UInt8[ndarray, "h w"] | None


def augment(
    image_rgb: UInt8[ndarray, "H W 3"],
    boxes_xyxy: Float[ndarray, "N 4"] = NO_BOXES,
    mask: UInt8[ndarray, "H W"] | None = None,
    *,
    augmentation: Augmentation,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    fill_rgb: tuple[int, int, int] | None = None,
) -> Augmented:
    """Makes an image of `size_hw` from this one, with the boxes whose centres are still in it, and its mask.

    Args:
        image_rgb: the image, at least one pixel large.
        boxes_xyxy: pixels of the image, continuous. N may be 0; samplers that ask for an overlap with a box never
            succeed then.
        mask: class ids and `VOID`.
        augmentation: the probabilities; `NONE` only resizes.
        size_hw: of the new image, as the network takes it.
        rng: the source of all randomness; the result is a function of it and the other arguments.
        fill_rgb: None stretches the window to the size. A colour keeps its proportions, as `preprocess` letterboxes,
            and fills the margin; a mask is void there.

    M is 0 where no box's centre is left in the crop.
    """
    plan = draw_plan(rng, (image_rgb.shape[0], image_rgb.shape[1]), boxes_xyxy, augmentation)
    inner_hw = size_hw if fill_rgb is None else inner_size_hw(_turned(plan.window_hw, plan), size_hw, "letterbox")
    image = apply_to_image(image_rgb, plan, inner_hw, augmentation.mean_rgb)
    new_xyxy, rows = apply_to_boxes(boxes_xyxy, plan, inner_hw, clip=augmentation.clip_boxes)
    new_mask = None if mask is None else pad_mask(apply_to_mask(mask, plan, inner_hw), size_hw)
    return Augmented(image if fill_rgb is None else pad(image, size_hw, fill_rgb), new_xyxy, rows, new_mask)


def draw_plan(
    rng: np.random.Generator, picture_hw: tuple[int, int], boxes_xyxy: Float[ndarray, "N 4"], augmentation: Augmentation
) -> Plan:
    """What to do to a picture of that size with those boxes (its own pixels; N may be 0)."""
    distortion = draw_distortion(rng, augmentation)
    mirror, flip, turn = rng.random(3)
    quarter_turns = int(rng.integers(1, 4))
    choice = int(rng.integers(len(augmentation.interpolations)))
    return Plan(
        distortion=distortion,
        # The last draw, because the count of numbers that it takes depends on the boxes.
        window=draw_window(rng, picture_hw, boxes_xyxy, augmentation),
        mirror=bool(mirror < augmentation.mirror_probability),
        flip=bool(flip < augmentation.flip_probability),
        quarter_turns=quarter_turns if turn < augmentation.turn_probability else 0,
        interpolation=augmentation.interpolations[choice],
    )


def apply_to_image(
    image_rgb: UInt8[ndarray, "H W 3"], plan: Plan, size_hw: tuple[int, int], mean_rgb: tuple[int, int, int]
) -> UInt8[ndarray, "h w 3"]:
    """The planned picture at `size_hw`, contiguous; never a view of the one that was given."""
    left, top, right, bottom = plan.window
    picture_height, picture_width = image_rgb.shape[:2]
    seen_left, seen_right = max(left, 0), min(right, picture_width)
    seen_top, seen_bottom = max(top, 0), min(bottom, picture_height)
    if seen_left >= seen_right or seen_top >= seen_bottom:
        return np.full((*size_hw, 3), mean_rgb, dtype=np.uint8)
    image = resample(
        distort(image_rgb[seen_top:seen_bottom, seen_left:seen_right], plan.distortion),
        (left - seen_left, top - seen_top, right - seen_left, bottom - seen_top),
        _turned(size_hw, plan),
        interpolation=plan.interpolation,
        outside_rgb=mean_rgb,
        mirror=plan.mirror,
        flip=plan.flip,
    )
    return image if plan.quarter_turns == 0 else np.ascontiguousarray(np.rot90(image, plan.quarter_turns))


def apply_to_boxes(
    boxes_xyxy: Float[ndarray, "N 4"], plan: Plan, size_hw: tuple[int, int], *, clip: bool
) -> tuple[Float[ndarray, "M 4"], Int[ndarray, " M"]]:
    """The boxes whose centres are in the window, as float32 pixels of the planned picture, and their rows.

    A centre on the edge is inside, as in the reference. With `clip` boxes end at the picture's edges.
    """
    left, top, right, bottom = plan.window
    window_whwh = np.array([right - left, bottom - top, right - left, bottom - top])
    inside_xyxy = boxes_xyxy - np.array([left, top, left, top], dtype=np.float64)
    twice_centres = inside_xyxy[:, :2] + inside_xyxy[:, 2:]
    kept = np.flatnonzero(((twice_centres >= 0) & (twice_centres <= 2 * window_whwh[:2])).all(axis=1))
    inside_xyxy = inside_xyxy[kept]
    if clip:
        inside_xyxy = inside_xyxy.clip(0, window_whwh)

    # One row of four numbers at a time: on so few boxes a call costs more than its arithmetic.
    height, width = _turned(size_hw, plan)
    new_xyxy = inside_xyxy * (np.array([width, height, width, height]) / window_whwh)
    if plan.mirror:
        new_xyxy = (np.array([width, 0, width, 0]) + new_xyxy * (-1, 1, -1, 1))[:, (2, 1, 0, 3)]
    if plan.flip:
        new_xyxy = (np.array([0, height, 0, height]) + new_xyxy * (1, -1, 1, -1))[:, (0, 3, 2, 1)]
    for _ in range(plan.quarter_turns):
        # Counter-clockwise: (x, y) comes to (y, width − x).
        new_xyxy = (np.array([width, 0, width, 0]) + new_xyxy * (-1, 1, -1, 1))[:, (1, 2, 3, 0)]
        height, width = width, height
    new_xyxy = new_xyxy.astype(np.float32)
    # A sliver in float64 may have no area in float32, and a box without area has no logarithm to train on.
    real = (new_xyxy[:, 2:] > new_xyxy[:, :2]).all(axis=1)
    return new_xyxy[real], kept[real]


def apply_to_mask(mask: UInt8[ndarray, "H W"], plan: Plan, size_hw: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """The planned mask at `size_hw`, contiguous. Each pixel takes the source pixel under its centre."""
    height, width = mask.shape
    left, top, right, bottom = plan.window
    seen = mask[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    if not seen.size:
        return np.full(size_hw, VOID, dtype=np.uint8)
    borders = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(borders):
        seen = np.asarray(cv2.copyMakeBorder(seen, *borders, borderType=cv2.BORDER_CONSTANT, value=(VOID,)))
    turned_hw = (size_hw[1], size_hw[0]) if plan.quarter_turns % 2 else size_hw
    new = resize_mask(seen, turned_hw)[:: -1 if plan.flip else 1, :: -1 if plan.mirror else 1]
    return np.ascontiguousarray(np.rot90(new, plan.quarter_turns))


def resize_mask(mask: UInt8[ndarray, "H W"], size_hw: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """The mask at another size by nearest neighbour, so that no class appears that was not there."""
    if mask.shape == tuple(size_hw):
        return mask
    resized = cv2.resize(mask, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.uint8)


def pad_mask(mask: UInt8[ndarray, "h w"], size_hw: tuple[int, int]) -> UInt8[ndarray, "H W"]:
    """The mask at the upper left of one of `size_hw`, the rest void; itself if it fills it."""
    if mask.shape == tuple(size_hw):
        return mask
    padded = np.full(size_hw, VOID, dtype=np.uint8)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded


def _turned(size_hw: tuple[int, int], plan: Plan) -> tuple[int, int]:
    """The size after the quarter turns of a picture that had this one before; and before, of one that has it after."""
    height, width = size_hw
    return (width, height) if plan.quarter_turns % 2 else (height, width)

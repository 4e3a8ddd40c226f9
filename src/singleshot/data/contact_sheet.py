"""Contact sheets: many pictures with their boxes on one page, or one picture under every augmentation.

Wrong boxes, swapped classes and an augmentation that turns objects upside down are seen in seconds and found in no
figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.boxes import scale
from singleshot.classes import colours
from singleshot.data.augment.augment import NONE, Augmentation, augment
from singleshot.data.augment.sampling import CropSampler
from singleshot.drawing import caption, draw_boxes
from singleshot.images import read_image
from singleshot.structures import Dataset

_GAP = 6
_PAPER = (245, 245, 245)
_STEPS = ("brightness", "contrast", "saturation", "hue", "channel_order", "expand", "mirror", "flip", "turn")
"""The steps of an augmentation that have odds of their own."""


@dataclass(frozen=True)
class Tile:
    """A picture of a sheet.

    Args:
        image: (H, W, 3) uint8 RGB, boxes drawn in.
        text: what stands above it.
    """

    image: UInt8[ndarray, "H W 3"]
    text: str


def of_pictures(dataset: Dataset, places: Sequence[int], *, tile_px: int = 320) -> list[Tile]:
    """Some pictures of a split with their boxes; difficult ones are marked by a question mark.

    Raises DataError, InputMissingError where a picture cannot be read.
    """
    tiles = []
    for place in places:
        sample = dataset.samples[place]
        image = read_image(sample.image_path)
        small, boxes_xyxy = _fitted(image, sample.boxes_xyxy, tile_px)
        names = [
            f"{dataset.label_map.names[class_id]}{' ?' if hard else ''}"
            for class_id, hard in zip(sample.class_ids.tolist(), sample.difficult.tolist(), strict=True)
        ]
        text = f"{sample.image_id}  {image.shape[1]}x{image.shape[0]}, {len(names)} objects"
        tiles.append(Tile(_drawn(small, boxes_xyxy, names, sample.class_ids), text))
    return tiles


def of_augmentations(
    dataset: Dataset,
    place: int,
    augmentation: Augmentation,
    *,
    size_hw: tuple[int, int],
    fill_rgb: tuple[int, int, int] | None = None,
    seed: int = 0,
    tries: int = 3,
) -> list[Tile]:
    """A row of pictures for each augmentation: the picture as it is judged, then some as it is trained on.

    Each step that may be taken comes alone and always, then all come together by their odds.

    Args:
        dataset: the split.
        place: of the picture in it.
        augmentation: whose ranges are shown. A step that it never takes is left out.
        size_hw: the network's input.
        fill_rgb: see `augment.augment`.
        seed: of what is drawn.
        tries: how often each is shown, after the picture as it is judged.
    """
    sample = dataset.samples[place]
    image = read_image(sample.image_path)
    steps = [*_singles(augmentation), ("all together", augmentation), ("all together", augmentation)]
    tiles = []
    for row, (name, step) in enumerate(steps):
        for number in range(tries + 1):
            new, new_xyxy, class_ids, _ = augment(
                image,
                sample.boxes_xyxy,
                sample.class_ids,
                augmentation=step if number else NONE,
                size_hw=size_hw,
                rng=np.random.default_rng((seed, row, number)),
                fill_rgb=fill_rgb,
            )
            # Labels hide small objects; those of the first picture serve the whole row by their colours.
            names = [dataset.label_map.names[class_id] if not number else "" for class_id in class_ids.tolist()]
            drawn = _drawn(new, new_xyxy.astype(np.float64), names, class_ids)
            tiles.append(Tile(drawn, name if number else "as judged"))
    return tiles


def sheet(tiles: Sequence[Tile], *, columns: int) -> UInt8[ndarray, "H W 3"]:
    """The tiles row by row on one page, each with its text above. At least one tile."""
    high = max(tile.image.shape[0] for tile in tiles)
    wide = max(tile.image.shape[1] for tile in tiles)
    strips = [caption(tile.text, wide) for tile in tiles]
    strip = strips[0].shape[0]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    step_y, step_x = strip + high + _GAP, wide + _GAP
    page = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), _PAPER, np.uint8)
    for place, (tile, text) in enumerate(zip(tiles, strips, strict=True)):
        top, left = _GAP + place // columns * step_y, _GAP + place % columns * step_x
        page[top : top + strip, left : left + wide] = text
        height, width = tile.image.shape[:2]
        page[top + strip : top + strip + height, left : left + width] = tile.image
    return page


def _singles(augmentation: Augmentation) -> list[tuple[str, Augmentation]]:
    """Each step that the augmentation may take, alone and always."""
    found = []
    never = {f"{name}_probability": 0.0 for name in _STEPS}
    for name, field in zip(_STEPS, never, strict=True):
        if getattr(augmentation, field) > 0:
            odds = never | {field: 1.0}
            single = replace(augmentation, **odds, samplers=(), interpolations=("linear",))
            found.append((name.replace("_", " "), single))
    for sampler in augmentation.samplers:
        if sampler.scale != (1.0, 1.0):
            single = replace(augmentation, **never, samplers=(sampler,), interpolations=("linear",))
            found.append((_sampler_name(sampler), single))
    return found


def _sampler_name(sampler: CropSampler) -> str:
    return "free crop" if sampler.is_free else f"crop, IoU {sampler.iou_range[0]:g} to {sampler.iou_range[1]:g}"


def _fitted(
    image: UInt8[ndarray, "H W 3"], boxes_xyxy: Float[ndarray, "N 4"], side: int
) -> tuple[UInt8[ndarray, "h w 3"], Float[ndarray, "N 4"]]:
    """The picture and its boxes, shrunk so that the longer side is at most `side`."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return image, boxes_xyxy
    new_hw = max(1, round(height * factor)), max(1, round(width * factor))
    small = cv2.resize(image, new_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale(boxes_xyxy, (new_hw[0] / height, new_hw[1] / width))


def _drawn(
    image: UInt8[ndarray, "H W 3"], boxes_xyxy: Float[ndarray, "N 4"], names: list[str], class_ids: Int[ndarray, " N"]
) -> UInt8[ndarray, "H W 3"]:
    palette = colours(int(class_ids.max()) + 1 if len(class_ids) else 0)
    return draw_boxes(image, boxes_xyxy, names, palette[class_ids])

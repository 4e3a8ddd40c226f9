"""Contact sheets: many images with their boxes on one page, or one image under every augmentation.

Wrong boxes, swapped classes and an augmentation that turns objects upside down are obvious on them and appear in no
statistic.
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
from singleshot.drawing import caption, draw_boxes
from singleshot.images import read_image
from singleshot.structures import Dataset

_GAP = 6
_BACKGROUND = (245, 245, 245)
_STEPS = ("brightness", "contrast", "saturation", "hue", "channel_order", "expand", "mirror", "flip", "turn")
"""The steps of an augmentation that have a probability of their own."""


@dataclass(frozen=True)
class Tile:
    """An image of a sheet.

    Args:
        image: (H, W, 3) uint8 RGB, with its boxes drawn.
        text: its caption.
    """

    image: UInt8[ndarray, "H W 3"]
    text: str


def image_tiles(dataset: Dataset, indices: Sequence[int], *, tile_px: int = 320) -> list[Tile]:
    """Return some images of a split with their boxes; a question mark marks difficult ones.

    Args:
        dataset: the split.
        indices: of the images in it.
        tile_px: the longer side of a tile; smaller images keep their size.

    Raises:
        DataError, InputMissingError: an image cannot be read.
    """
    tiles = []
    for index in indices:
        sample = dataset.samples[index]
        image = read_image(sample.image_path)
        small, boxes_xyxy = _shrunk(image, sample.boxes_xyxy, tile_px)
        names = [
            f"{dataset.label_map.names[class_id]}{' ?' if hard else ''}"
            for class_id, hard in zip(sample.class_ids.tolist(), sample.difficult.tolist(), strict=True)
        ]
        text = f"{sample.image_id}  {image.shape[1]}x{image.shape[0]}, {len(names)} objects"
        tiles.append(Tile(_with_boxes(small, boxes_xyxy, names, sample.class_ids), text))
    return tiles


def augmentation_tiles(
    dataset: Dataset,
    index: int,
    augmentation: Augmentation,
    *,
    size_hw: tuple[int, int],
    fill_rgb: tuple[int, int, int] | None = None,
    seed: int = 0,
    tries: int = 3,
) -> list[Tile]:
    """Return a row of tiles for each augmentation: the image as it is evaluated, then as it is trained on.

    Each step is first applied alone and always, then all are applied together by their probabilities.

    Args:
        dataset: the split.
        index: of the image in it.
        augmentation: its ranges are used. A step of probability 0 is left out.
        size_hw: the network's input.
        fill_rgb: see `augment.augment`.
        seed: of the random numbers.
        tries: tiles in a row, after the image as it is evaluated.
    """
    sample = dataset.samples[index]
    image = read_image(sample.image_path)
    steps = [*_singles(augmentation), ("all together", augmentation), ("all together", augmentation)]
    tiles = []
    for row, (name, step) in enumerate(steps):
        for number in range(tries + 1):
            new = augment(
                image,
                sample.boxes_xyxy,
                augmentation=step if number else NONE,
                size_hw=size_hw,
                rng=np.random.default_rng((seed, row, number)),
                fill_rgb=fill_rgb,
            )
            # Labels hide small objects, so only the first image of a row has them; colours identify the classes.
            class_ids = sample.class_ids[new.rows]
            names = [dataset.label_map.names[class_id] if not number else "" for class_id in class_ids.tolist()]
            drawn = _with_boxes(new.image_rgb, new.boxes_xyxy.astype(np.float64), names, class_ids)
            tiles.append(Tile(drawn, name if number else "as evaluated"))
    return tiles


def sheet(tiles: Sequence[Tile], *, columns: int) -> UInt8[ndarray, "H W 3"]:
    """Return the tiles row by row on one page, each with its caption above. At least one tile is required."""
    high = max(tile.image.shape[0] for tile in tiles)
    wide = max(tile.image.shape[1] for tile in tiles)
    strips = [caption(tile.text, wide) for tile in tiles]
    strip = strips[0].shape[0]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    step_y, step_x = strip + high + _GAP, wide + _GAP
    page = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), _BACKGROUND, np.uint8)
    for index, (tile, text) in enumerate(zip(tiles, strips, strict=True)):
        top, left = _GAP + index // columns * step_y, _GAP + index % columns * step_x
        page[top : top + strip, left : left + wide] = text
        height, width = tile.image.shape[:2]
        page[top + strip : top + strip + height, left : left + width] = tile.image
    return page


def _singles(augmentation: Augmentation) -> list[tuple[str, Augmentation]]:
    """Return each step that the augmentation may apply, alone and with probability 1."""
    found = []
    never = {f"{name}_probability": 0.0 for name in _STEPS}
    for name, field in zip(_STEPS, never, strict=True):
        if getattr(augmentation, field) > 0:
            probabilities = never | {field: 1.0}
            single = replace(augmentation, **probabilities, samplers=(), interpolations=("linear",))
            found.append((name.replace("_", " "), single))
    for sampler in augmentation.samplers:
        if sampler.scale != (1.0, 1.0):
            single = replace(augmentation, **never, samplers=(sampler,), interpolations=("linear",))
            low, high = sampler.iou_range
            found.append(("free crop" if sampler.is_free else f"crop, IoU {low:g} to {high:g}", single))
    return found


def _shrunk(
    image: UInt8[ndarray, "H W 3"], boxes_xyxy: Float[ndarray, "N 4"], side: int
) -> tuple[UInt8[ndarray, "h w 3"], Float[ndarray, "N 4"]]:
    """Return the image and its boxes, shrunk so that the longer side is at most `side`."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return image, boxes_xyxy
    new_hw = max(1, round(height * factor)), max(1, round(width * factor))
    small = cv2.resize(image, new_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale(boxes_xyxy, (new_hw[0] / height, new_hw[1] / width))


def _with_boxes(
    image: UInt8[ndarray, "H W 3"], boxes_xyxy: Float[ndarray, "N 4"], names: list[str], class_ids: Int[ndarray, " N"]
) -> UInt8[ndarray, "H W 3"]:
    palette = colours(int(class_ids.max()) + 1 if len(class_ids) else 0)
    return draw_boxes(image, boxes_xyxy, names, palette[class_ids])

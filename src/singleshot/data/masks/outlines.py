"""LabelMe's outlines as masks: which layout that is, and the class of every pixel of one image.

A pixel has the class of a shape if its centre lies inside, by the even-odd rule; a centre on a left or upper edge
belongs to it, one on a right or lower edge does not, so that two polygons with a common edge share no pixel and leave
none out. (labelme's own export draws the outline too: its masks are half a pixel larger on every side.) Later shapes
lie over earlier ones. What no shape covers is the class `_background_`, and shapes called `__ignore__` are void, as
labelme's own scripts have it. Polygons, rectangles and circles are drawn. A shape that is a mask itself, a PNG inside
the JSON, is not decoded: its rectangle is void, since neither its class nor the background would be true of it. Other
shapes are counted in a note.

Masks are drawn from the JSON whenever they are needed; nothing is written. The layout is only taken where masks are
wanted: for a detector the same folder has boxes (`boxes.labelme`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from singleshot.data.boxes import labelme
from singleshot.data.boxes.fields import is_text, number_list, read_json
from singleshot.errors import DataError
from singleshot.images import pixel_limit
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode

LAYOUT = "labelme_masks"
BACKGROUND, IGNORED = "_background_", "__ignore__"
MAX_CLASSES = 254


def read(root: Path | str, split: str) -> Dataset:
    """Read one split of a folder of images and LabelMe's JSON as masks, in the order of the images' paths.

    Args:
        root: the folder.
        split: `train`, `val` or `test`, where folders have such names; `all` for images in no such folder.

    Returns:
        Samples whose mask is their JSON. The classes are `_background_` and all others, sorted. Faults are those of
        `labelme.read`.

    Raises:
        InputMissingError, DataError: as `labelme.read`; DataError for more than 254 classes (`too-many-classes`).
    """
    found = labelme.read(root, split)
    names = (BACKGROUND, *(name for name in found.label_map.names if name not in (BACKGROUND, IGNORED)))
    if len(names) > MAX_CLASSES:
        message = f"{len(names)} classes are more than the {MAX_CLASSES} of a mask"
        raise DataError(message, kind="too-many-classes", remedy="Give fewer names", file=Path(root))
    none = (np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    samples = tuple(
        replace(
            sample,
            boxes_xyxy=none[0],
            class_ids=none[1],
            difficult=none[2],
            crowd=None,
            mask_path=sample.annotation_path,
            box_places=None,
        )
        for sample in found.samples
    )
    values = tuple(value if value < len(names) else VOID if value == VOID else UNKNOWN for value in range(256))
    return replace(
        found,
        layout=LAYOUT,
        label_map=LabelMap(names),
        samples=samples,
        mask_code=MaskCode(values, names=names),
        outlines=0,
    )


def draw(file: Path, code: MaskCode) -> UInt8[ndarray, "H W"]:
    """Return the class id of every pixel of the image that a JSON file of LabelMe annotates.

    Raises:
        DataError: it has no size or no shapes, a shape cannot be drawn (`bad-box`), or is of a class that the data set
            does not have (`unknown-mask-value`); and what `fields.read_json` raises.
    """
    content = read_json(file, max_bytes=labelme.MAX_BYTES)
    height, width = size_hw(content, file)
    mask = np.full((height, width), code.values[0], np.uint8)
    shapes: Any = content.get("shapes")
    for index, shape in enumerate(shapes if isinstance(shapes, list) else []):
        kind: Any = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
        if not isinstance(kind, str) or kind not in labelme.LEAST_POINTS or not is_text(shape.get("label")):
            continue  # the reader has named it
        rows: Any = shape.get("points")
        points: list[tuple[float, ...] | None]
        points = [number_list(row, 2) for row in rows] if isinstance(rows, list) else []
        numbers = [(point[0], point[1]) for point in points if point is not None]
        if len(numbers) != len(points) or len(numbers) < labelme.LEAST_POINTS[kind]:
            message = f"shapes[{index}].points is no {kind}"
            raise DataError(message, kind="bad-box", remedy="Draw it anew or delete it", file=file)
        name = str(shape["label"])
        if name != IGNORED and name not in code.names:
            message = f"shapes[{index}] is of class {name!r}, which the data set does not have"
            raise DataError(message, kind="unknown-mask-value", remedy="Correct it", file=file)
        class_id = VOID if name == IGNORED else code.values[code.names.index(name)]
        (x1, y1), (x2, y2) = numbers[0], numbers[1]
        if kind == "circle":
            inside = circle((height, width), (x1, y1), math.hypot(x2 - x1, y2 - y1))
        elif kind in ("rectangle", "mask"):
            if kind == "mask":
                x1, x2, y1, y2 = min(x1, x2), max(x1, x2) + 1, min(y1, y2), max(y1, y2) + 1
                class_id = VOID
            inside = polygon((height, width), [(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
        else:
            inside = polygon((height, width), numbers)
        mask[inside] = class_id
    return mask


def size_hw(content: Any, file: Path) -> tuple[int, int]:
    """Return height and width as a JSON file of LabelMe has them.

    Raises DataError where it has none (`bad-field`), or they are above `images.pixel_limit` (`too-large-mask`).
    """
    fields = content if isinstance(content, dict) else {}
    height, width = fields.get("imageHeight"), fields.get("imageWidth")
    if not (type(height) is int and type(width) is int and 0 < height < 10**6 and 0 < width < 10**6):
        message = "no imageHeight and imageWidth of whole pixels"
        raise DataError(message, kind="bad-field", remedy="Save it anew in LabelMe", file=file)
    if height * width > (limit := pixel_limit()):
        message = f"{width}×{height} pixels are more than the {limit / 1e6:g} million that are read"
        raise DataError(message, kind="too-large-mask", remedy="Correct its size, or raise --max-pixels", file=file)
    return height, width


def polygon(size_hw: tuple[int, int], points_xy: Sequence[tuple[float, float]]) -> Bool[ndarray, "H W"]:
    """Return which pixel centres lie inside a polygon, by the even-odd rule.

    Args:
        size_hw: height and width of the image; the polygon may reach out of it.
        points_xy: its corners in continuous pixels.

    >>> polygon((3, 4), [(1.0, 0.0), (3.0, 0.0), (3.0, 2.0), (1.0, 2.0)]).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = size_hw
    # Each edge that crosses a row's line of centres changes inside and outside from its column to the right.
    crossings = np.zeros((height, width + 1), np.uint8)
    for (x1, y1), (x2, y2) in zip(points_xy, [*points_xy[1:], points_xy[0]], strict=True):
        upper, lower = min(y1, y2), max(y1, y2)
        first, last = (min(max(math.ceil(y - 0.5), 0), height) for y in (upper, lower))
        rows = np.arange(first, last)
        if not len(rows):
            continue
        xs = x1 + (rows + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
        columns = np.clip(np.ceil(xs - 0.5), 0, width).astype(np.int64)
        crossings[rows, columns] ^= 1
    return np.bitwise_xor.accumulate(crossings, axis=1)[:, :width].astype(np.bool_)


def circle(size_hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Bool[ndarray, "H W"]:
    """Return which pixel centres lie inside a circle or on it.

    >>> circle((3, 3), (1.5, 1.5), 1.0).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    ys, xs = (np.arange(side) + 0.5 - at for side, at in zip(size_hw, reversed(centre_xy), strict=True))
    return xs[None, :] ** 2 + ys[:, None] ** 2 <= radius**2

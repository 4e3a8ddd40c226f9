"""Which objects the default boxes can reach: the best IoU of every ground truth with any of them.

An object that overlaps no default box by half is trained on its single best box or, by some rules, not at all, and
nothing in a loss curve tells. The 2017 author of an SSD gave up traffic lights for this reason. So it is measured,
before anything is trained.

All default boxes of one shape lie on a grid. Of these the one whose centre is nearest overlaps most: along each axis
the common length falls with the distance of the centres. So one comparison a shape gives what a table of all boxes
would, and five million objects take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot import boxes
from singleshot.detection.anchors import Clip, FeatureMap
from singleshot.preprocess import Preprocess, boxes_to_input
from singleshot.structures import Sample

_CHUNK = 1 << 16  # objects compared at once: bounds the memory of a table with one column a shape


def truths_at_input(
    samples: Sequence[Sample], preprocess: Preprocess
) -> tuple[Float[ndarray, "N 4"], Int[ndarray, " N"]]:
    """All boxes of some pictures in pixels of the network's input, and their class ids. N may be 0.

    A picture whose annotation does not say its size is left out, and so are crowds, which are never learned from.
    Difficult boxes count: they are trained on.
    """
    rows, ids = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
    for sample in samples:
        if sample.size_hw is not None and len(sample.boxes_xyxy):
            kept = slice(None) if sample.crowd is None else ~sample.crowd
            rows.append(boxes_to_input(sample.boxes_xyxy[kept].astype(np.float64), sample.size_hw, preprocess))
            ids.append(sample.class_ids[kept])
    return np.concatenate(rows), np.concatenate(ids)


def best_iou(
    boxes_xyxy: Float[ndarray, "N 4"],
    maps: Sequence[FeatureMap],
    input_size_hw: tuple[int, int],
    clip: Clip = "none",
) -> Float[ndarray, "N K"]:
    """Every box's best IoU with the default boxes of each of the K maps, 0…1. Boxes are pixels of the input.

    What `anchors.anchors_cxcywh` and `boxes.pairwise_iou` give, without the table of all pairs. (N, 0) for no maps.
    """
    found = np.zeros((len(boxes_xyxy), len(maps)))
    for start in range(0, len(boxes_xyxy), _CHUNK):
        rows = slice(start, start + _CHUNK)
        truths = boxes.xyxy_to_cxcywh(boxes_xyxy[rows].astype(np.float64))
        for place, row in enumerate(maps):
            offsets = nearest_offsets(truths[:, :2], row, input_size_hw, clip)
            found[rows, place] = iou_of_shapes(offsets, truths[:, 2:], shapes_wh(row, input_size_hw, clip)).max(axis=1)
    return found


def nearest_offsets(
    centres_xy: Float[ndarray, "N 2"], row: FeatureMap, input_size_hw: tuple[int, int], clip: Clip = "none"
) -> Float[ndarray, "N 2"]:
    """How far each centre is from the nearest centre of a default box of that map, in x and in y, 0 or more."""
    columns = []
    for axis, (cells, length) in enumerate(zip(row.size_hw[::-1], input_size_hw[::-1], strict=True)):
        grid = (np.arange(cells) + 0.5) * (length / cells if row.step is None else row.step)
        if clip == "all":
            grid = np.minimum(grid, length)
        right = np.searchsorted(grid, centres_xy[:, axis]).clip(0, cells - 1)
        left = (right - 1).clip(0)
        distances = [np.abs(grid[place] - centres_xy[:, axis]) for place in (left, right)]
        columns.append(np.minimum(*distances))
    return np.stack(columns, axis=1)


def shapes_wh(row: FeatureMap, input_size_hw: tuple[int, int], clip: Clip = "none") -> Float[ndarray, "S 2"]:
    """Width and height of a map's default boxes in pixels of the input, after `clip`."""
    shapes = np.array(row.shapes_wh)
    return shapes if clip == "none" else np.minimum(shapes, input_size_hw[::-1])


def iou_of_shapes(
    offsets: Float[ndarray, "N 2"], sizes_wh: Float[ndarray, "N 2"], shapes: Float[ndarray, "S 2"]
) -> Float[ndarray, "N S"]:
    """IoU of N boxes with S others whose centres are `offsets` away.

    >>> iou_of_shapes(np.array([[0.0, 0.0], [5.0, 0.0]]), np.full((2, 2), 10.0), np.array([[10.0, 10.0]]))
    array([[1.        ],
           [0.33333333]])
    """
    half_sum = (sizes_wh[:, None] + shapes[None]) / 2
    smaller = np.minimum(sizes_wh[:, None], shapes[None])
    common = np.minimum(half_sum - offsets[:, None], smaller).clip(0).prod(axis=2)
    union = sizes_wh.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common
    return common / union.clip(1e-12)

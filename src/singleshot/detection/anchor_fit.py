"""Default boxes that fit a data set: sizes and ratios found by a search over what they would reach.

The grid and the number of boxes in a cell stay as the network has them, so a fitted detector costs the same. What
moves are each map's two sizes and its ratios, one at a time, as long as more objects are reached. The search begins
twice: with the network's own boxes, of which maps that no object uses keep theirs, and with sizes spread over the
data's, which have to be clearly better. A coarse map's boxes never become small beside its cells: nine small boxes in
a picture reach an object by luck. Nor can the search put a box where the grid has no cell: objects smaller than the
first map's cells are reached by a larger input or a finer first map only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot import boxes
from singleshot.detection.anchor_reach import best_iou, iou_of_shapes, nearest_offsets, shapes_wh
from singleshot.detection.anchors import Clip, FeatureMap

RATIOS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_FACTORS = (0.6, 0.75, 0.87, 0.94, 0.98, 1.02, 1.06, 1.15, 1.33, 1.67)
_LEAST_CELLS = 1.5  # smallest side, in cells of the map; the first map, which has no finer one before it, may go lower
_LEAST_CELLS_FIRST = 0.5
_MOST_OBJECTS = 4000
_MOST_SWEEPS = 12
_LEAST_GAIN = 1e-4
_SOFTNESS = 0.04


@dataclass(frozen=True)
class _Grid:
    """The objects as one map sees them: distances to the nearest centre, and their sizes; and the least side there."""

    offsets: Float[ndarray, "N 2"]
    sizes_wh: Float[ndarray, "N 2"]
    input_size_hw: tuple[int, int]
    clip: Clip
    least: float

    def best(self, row: FeatureMap) -> Float[ndarray, " N"]:
        """Each object's best IoU with the boxes of that row."""
        return iou_of_shapes(self.offsets, self.sizes_wh, shapes_wh(row, self.input_size_hw, self.clip)).max(axis=1)


def fit_anchors(
    boxes_xyxy: Float[ndarray, "N 4"],
    maps: Sequence[FeatureMap],
    input_size_hw: tuple[int, int],
    *,
    clip: Clip = "none",
    iou_threshold: float = 0.5,
) -> tuple[FeatureMap, ...]:
    """Rows with the cells and the counts of `maps`, whose boxes reach more of these objects.

    Args:
        boxes_xyxy: ground truths in pixels of the input. Of more than some thousands, evenly spaced ones are used.
        maps: the rows to start from.
        input_size_hw: of the network.
        clip: see `anchors.anchors_cxcywh`.
        iou_threshold: what counts as reached.

    The same arguments give the same rows. No objects give `maps` back, and so does a search that gains nothing.
    """
    if len(boxes_xyxy) == 0:
        return tuple(maps)
    places = np.unique(np.linspace(0, len(boxes_xyxy) - 1, min(_MOST_OBJECTS, len(boxes_xyxy))).astype(int))
    truths = boxes.xyxy_to_cxcywh(boxes_xyxy[places].astype(np.float64))
    grids = [
        _Grid(
            nearest_offsets(truths[:, :2], row, input_size_hw, clip),
            truths[:, 2:],
            input_size_hw,
            clip,
            _least(row, input_size_hw, first=place == 0),
        )
        for place, row in enumerate(maps)
    ]
    sides = np.sqrt(truths[:, 2:].prod(axis=1))
    starts = [tuple(maps), _by_quantiles(maps, grids, sides)]
    climbed = [_climb(start, grids, iou_threshold) for start in starts]
    # The second start forgets sizes that this data lacks and others may have: it must be clearly better.
    best = climbed[1][0] if climbed[1][1] > climbed[0][1] + 0.01 else climbed[0][0]
    rows = tuple(_rounded(row) for row in best)
    old, new = (
        reached(boxes_xyxy, each, input_size_hw, clip=clip, iou_threshold=iou_threshold) for each in (maps, rows)
    )
    return rows if new > old else tuple(maps)


def reached(
    boxes_xyxy: Float[ndarray, "N 4"],
    maps: Sequence[FeatureMap],
    input_size_hw: tuple[int, int],
    *,
    clip: Clip = "none",
    iou_threshold: float = 0.5,
) -> float:
    """The share of the objects that overlap some default box by at least `iou_threshold`; 1.0 for no objects."""
    if len(boxes_xyxy) == 0:
        return 1.0
    return float((best_iou(boxes_xyxy, maps, input_size_hw, clip).max(axis=1) >= iou_threshold).mean())


def _score(best: Float[ndarray, " N"], iou_threshold: float) -> float:
    """The share reached, softened so that a small step shows a direction, and a little for overlap as such."""
    soft = 1 / (1 + np.exp(-(best - iou_threshold) / _SOFTNESS))
    return float(soft.mean() + 0.1 * best.mean())


def _climb(
    rows: tuple[FeatureMap, ...], grids: Sequence[_Grid], iou_threshold: float
) -> tuple[tuple[FeatureMap, ...], float]:
    """Move one number at a time, always to its best value, until a whole sweep gains nothing."""
    table = np.stack([grid.best(row) for grid, row in zip(grids, rows, strict=True)], axis=1)
    score, current = _score(table.max(axis=1), iou_threshold), list(rows)
    for _ in range(_MOST_SWEEPS):
        before = score
        for place, grid in enumerate(grids):
            others = np.delete(table, place, axis=1).max(axis=1, initial=0.0)
            for move in _moves(current[place], grid.least):
                column = grid.best(move)
                gained = _score(np.maximum(others, column), iou_threshold)
                if gained > score + _LEAST_GAIN:
                    score, current[place], table[:, place] = gained, move, column
        if score - before < _LEAST_GAIN:
            break
    return tuple(current), score


def _least(row: FeatureMap, input_size_hw: tuple[int, int], *, first: bool) -> float:
    (height, width), (rows, columns) = input_size_hw, row.size_hw
    cell = math.sqrt(height * width / (rows * columns))
    return min((_LEAST_CELLS_FIRST if first else _LEAST_CELLS) * cell, row.min_size)


def _moves(row: FeatureMap, least: float) -> Iterator[FeatureMap]:
    """The row with one of its numbers changed."""
    most = row.max_size
    for factor in _FACTORS:
        low = max(row.min_size * factor, least)
        if most is None:
            yield replace(row, min_size=low)
            continue
        yield replace(row, min_size=low, max_size=max(most, low))
        yield replace(row, max_size=max(most * factor, row.min_size))
        yield replace(row, min_size=low, max_size=max(most * factor, low))
    for place in range(len(row.ratios)):
        for ratio in RATIOS:
            if ratio not in row.ratios:
                yield replace(row, ratios=(*row.ratios[:place], ratio, *row.ratios[place + 1 :]))


def _by_quantiles(
    maps: Sequence[FeatureMap], grids: Sequence[_Grid], sides: Float[ndarray, " N"]
) -> tuple[FeatureMap, ...]:
    """The rows with a ladder of sizes along the objects' own."""
    ladder = np.quantile(sides, np.linspace(0.02, 0.98, len(maps) + 1)).tolist()
    rows = []
    for row, grid, (low, high) in zip(maps, grids, pairwise(ladder), strict=True):
        low = max(low, grid.least)
        rows.append(replace(row, min_size=low, max_size=None if row.max_size is None else max(low, high)))
    return tuple(rows)


def _rounded(row: FeatureMap) -> FeatureMap:
    """A tenth of a pixel is all that a person wants to read; ratios in ascending order."""
    low = round(row.min_size, 1)
    high = None if row.max_size is None else max(low, round(row.max_size, 1))
    return replace(row, min_size=low, max_size=high, ratios=tuple(sorted(row.ratios)))

"""Tiled detection for large images: detect in overlapping tiles and in the whole image, then merge.

A network that shrinks a 4K image to 300 pixels cannot detect objects that are 30 pixels wide. Tiles overlap, so that an
object at the edge of one tile is whole in its neighbour; the whole image is processed too, for objects larger than a
tile. Of the boxes that end at a tile's inner edge, those inside a complete box of their class are dropped as parts of
it. NMS does the rest. (After SAHI: Akyon et al., ICIP 2022.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.boxes import area, pairwise_intersection
from singleshot.detection.postprocess import nms
from singleshot.errors import UsageError
from singleshot.structures import Detections

NMS_IOU = 0.45
PART_OF = 0.6
"""A cut box with more than this share of its area in a complete one is a part of it."""
EDGE_PX = 2.0
"""A box that ends within this distance of a tile's edge was cut by it."""
MOST_TILES = 5000

Detect = Callable[[list[UInt8[ndarray, "_ _ 3"]]], list[Detections]]


@dataclass(frozen=True)
class Tiling:
    """How images are divided into tiles.

    Args:
        size_hw: height and width of a tile in pixels.
        overlap: the fraction of a tile that its neighbour covers too, 0 to 0.9.

    Raises:
        UsageError: a size below 1 or an overlap beyond its range.
    """

    size_hw: tuple[int, int]
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1 or not 0 <= self.overlap <= 0.9:
            what = f"tiles of {self.size_hw[0]}×{self.size_hw[1]} that overlap by {self.overlap:g}"
            raise UsageError(what, remedy="Give a size of 1 pixel or more and an overlap of 0 to 0.9")


def tile_boxes(picture_hw: tuple[int, int], tiling: Tiling) -> Int[ndarray, "T 4"]:
    """Return the corners of evenly spaced tiles, row by row; one tile for an image that is not larger than a tile.

    >>> tile_boxes((100, 250), Tiling((100, 100), overlap=0.25)).tolist()
    [[0, 0, 100, 100], [75, 0, 175, 100], [150, 0, 250, 100]]
    """
    starts = []
    for side, tile in zip(picture_hw, tiling.size_hw, strict=True):
        step = max(1.0, tile * (1 - tiling.overlap))
        count = 1 + int(np.ceil(max(0, side - tile) / step))
        starts.append(np.rint(np.linspace(0, max(0, side - tile), count)).astype(np.int64))
    if len(starts[0]) * len(starts[1]) > MOST_TILES:
        what = f"{len(starts[0]) * len(starts[1])} tiles for one picture of {picture_hw[0]}×{picture_hw[1]}"
        raise UsageError(what, remedy="Choose larger tiles")
    y, x = (each.ravel() for each in np.meshgrid(*starts, indexing="ij"))
    height, width = (min(side, tile) for side, tile in zip(picture_hw, tiling.size_hw, strict=True))
    return np.stack([x, y, x + width, y + height], axis=1)


def detect_tiled(detect: Detect, image: UInt8[ndarray, "H W 3"], tiling: Tiling) -> Detections:
    """Detect in an image and in its tiles, and return the merged detections in pixels of the image.

    Args:
        detect: returns the detections of each of a list of images.
        image: (H, W, 3) uint8 RGB.
        tiling: size and overlap of the tiles.
    """
    picture_hw = (int(image.shape[0]), int(image.shape[1]))
    tiles = tile_boxes(picture_hw, tiling)
    if len(tiles) == 1:
        return detect([image])[0]
    parts = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in tiles.tolist()]  # views: copies of all would be two images more
    whole, *found = detect([image, *parts])
    return merged(whole, found, tiles)


def merged(whole: Detections, found: Sequence[Detections], tiles: Int[ndarray, "T 4"]) -> Detections:
    """Merge the detections of an image and of its T tiles, each in its own pixels; best score first.

    Args:
        whole: the detections of the whole image.
        found: the detections of each tile.
        tiles: (T, 4) corners of the tiles in the image.
    """
    shifted = [each.boxes_xyxy + np.tile(tile[:2], 2) for each, tile in zip(found, tiles, strict=True)]
    cuts = [_cut(boxes, tile, whole.size_hw) for boxes, tile in zip(shifted, tiles, strict=True)]
    boxes = np.concatenate([whole.boxes_xyxy, *shifted]).astype(np.float32)
    cut = np.concatenate([np.zeros(len(whole), np.bool_), *cuts])
    scores = np.concatenate([whole.scores, *(each.scores for each in found)])
    class_ids = np.concatenate([whole.class_ids, *(each.class_ids for each in found)])
    names = np.concatenate([whole.class_names, *(each.class_names for each in found)])
    kept: list[ndarray] = []
    for class_id in np.unique(class_ids):
        here = np.flatnonzero((class_ids == class_id) & ~cut)
        here = here[nms(boxes[here], scores[here], NMS_IOU)]
        parts = np.flatnonzero((class_ids == class_id) & cut)
        inside = pairwise_intersection(boxes[parts], boxes[here]) > PART_OF * area(boxes[parts])[:, None]
        both = np.concatenate([here, parts[~inside.any(axis=1)]])
        kept.append(both[nms(boxes[both], scores[both], NMS_IOU)])
    rows = np.concatenate([np.zeros(0, np.int64), *kept])
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return Detections(boxes[rows], scores[rows], class_ids[rows], names[rows], whole.size_hw)


def _cut(
    boxes_xyxy: Float[ndarray, "N 4"], tile: Int[ndarray, "4"], picture_hw: tuple[int, int]
) -> Bool[ndarray, " N"]:
    """Return for each box whether it ends at an edge of its tile that is not the image's edge too."""
    edges = np.array([0, 0, picture_hw[1], picture_hw[0]])
    inner = tile != edges
    near = np.abs(boxes_xyxy - tile) <= EDGE_PX
    beyond = np.concatenate([boxes_xyxy[:, :2] < tile[:2], boxes_xyxy[:, 2:] > tile[2:]], axis=1)
    return ((near | beyond) & inner).any(axis=1)

"""Default boxes: the boxes at fixed places that the network's answers are relative to.

Each feature map is one row of numbers. Every cell of a map carries the same few shapes at its centre, so how many
boxes there are, and how many channels a head needs, follows from the rows and is written down nowhere else.
Weights only make sense with the very boxes and the very order that they were trained with: map, row of cells,
column, shape. Sizes follow Caffe's PriorBox layer (Liu et al. 2016, section 2.2 and its code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from singleshot import boxes

Clip = Literal["none", "sizes", "all"]
# The device is named: a network that is being laid out on the meta device still has real default boxes.
_PLACE = {"dtype": torch.float64, "device": torch.device("cpu")}


@dataclass(frozen=True)
class FeatureMap:
    """The default boxes of one feature map. Lengths are pixels of the network's input.

    Args:
        size_hw: rows and columns of the map.
        step: distance between the centres of neighbouring cells; the first centre is at half a step. None divides
            the input evenly, which differs where the map was rounded up (300 / 38 is 7.89 and not 8).
        min_size: side of the smaller square; the other shapes have its area.
        max_size: the larger square has the side √(min_size·max_size); None leaves it out.
        ratios: width to height of the other shapes, above 1; each comes with its inverse.
        order: of the shapes in a cell. `caffe`: the square, the larger square, then each ratio and its inverse;
            `2017`: the square, all ratios, all inverses, the larger square.
    """

    size_hw: tuple[int, int]
    step: float | None
    min_size: float
    max_size: float | None
    ratios: tuple[float, ...]
    order: Literal["caffe", "2017"] = "caffe"

    @property
    def shapes_wh(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each box of a cell, in the order of the boxes.

        >>> FeatureMap((1, 1), 300.0, 36.0, 64.0, (4.0,)).shapes_wh
        ((36.0, 36.0), (48.0, 48.0), (72.0, 18.0), (18.0, 72.0))
        """
        larger = [] if self.max_size is None else [math.sqrt(self.min_size * self.max_size)]
        squares = [(side, side) for side in (self.min_size, *larger)]
        wide = [(self.min_size * math.sqrt(ratio), self.min_size / math.sqrt(ratio)) for ratio in self.ratios]
        tall = [(height, width) for width, height in wide]
        if self.order == "2017":
            return (squares[0], *wide, *tall, *squares[1:])
        return (*squares, *(shape for pair in zip(wide, tall, strict=True) for shape in pair))

    @property
    def boxes_per_cell(self) -> int:
        """How many boxes one cell carries.

        >>> FeatureMap((38, 38), 8.0, 30.0, 60.0, (2.0,)).boxes_per_cell
        4
        """
        return 1 + (self.max_size is not None) + 2 * len(self.ratios)

    @property
    def boxes(self) -> int:
        """How many boxes the whole map carries."""
        return self.size_hw[0] * self.size_hw[1] * self.boxes_per_cell


def anchors_cxcywh(
    maps: Sequence[FeatureMap], input_size_hw: tuple[int, int], clip: Clip = "none"
) -> Float[Tensor, "A 4"]:
    """All default boxes as (cx, cy, w, h) in fractions of the network's input, float32.

    They are computed in double precision and rounded once. Boxes near the edge reach outside 0…1.

    Args:
        maps: one row a feature map, in the order of the network's maps.
        input_size_hw: height and width of the network's input in pixels.
        clip: limits that some networks were trained with. `sizes`: width and height to 1, which changes the shape
            of boxes larger than the input (torchvision); `all`: the centre too, which moves the last ones of a map
            whose cells reach over the edge (ssd.pytorch and its descendants). Neither cuts corners off.

    Returns:
        (A, 4) in the order map, row, column, shape; (0, 4) for no maps.
    """
    rows = [_map_anchors(feature_map, input_size_hw) for feature_map in maps]
    anchors = torch.cat([torch.zeros(0, 4, **_PLACE), *rows])
    if clip != "none":
        first = 2 if clip == "sizes" else 0
        anchors[:, first:] = anchors[:, first:].clamp(0, 1)
    return anchors.float()


def anchors_xyxy(
    maps: Sequence[FeatureMap], input_size_hw: tuple[int, int], clip: Clip = "none"
) -> Float[Tensor, "A 4"]:
    """The same boxes as corners (x1, y1, x2, y2). `clip` acts before, on (cx, cy, w, h); see `anchors_cxcywh`."""
    return boxes.cxcywh_to_xyxy(anchors_cxcywh(maps, input_size_hw, clip))


def _map_anchors(feature_map: FeatureMap, input_size_hw: tuple[int, int]) -> Float[Tensor, "N 4"]:
    rows, columns = feature_map.size_hw
    height, width = input_size_hw
    step_y, step_x = (height / rows, width / columns) if feature_map.step is None else (feature_map.step,) * 2
    centre_y = (torch.arange(rows, **_PLACE) + 0.5) * step_y / height
    centre_x = (torch.arange(columns, **_PLACE) + 0.5) * step_x / width
    shapes = torch.tensor(feature_map.shapes_wh, **_PLACE) / torch.tensor([width, height], **_PLACE)
    cells = torch.cartesian_prod(centre_y, centre_x).flip(-1)
    count = feature_map.boxes_per_cell
    return torch.cat([cells.repeat_interleave(count, 0), shapes.repeat(rows * columns, 1)], dim=1)

"""Anchors: the boxes at fixed positions that the network's predictions are relative to (default boxes in the paper).

Each feature map has one `AnchorLevel`. Every cell of a map has the same few shapes at its centre, so how many anchors
there are, and how many channels a head needs, follows from the levels and is written nowhere else. Weights only fit
the very anchors and the very order that they were trained with: level, row of cells, column, shape. Sizes follow
Caffe's PriorBox layer (Liu et al. 2016, section 2.2 and its code).

`AnchorPreset` is a published or our own set of levels, before a network says how many cells its maps have. Sources:
`examples/ssd/ssd_pascal.py` and `ssd_coco.py` of the reference (its 512 levels from three agreeing ports), the posts
of 2017 and the code of 2018 of a TensorFlow re-implementation, torchvision's documentation, and MediaPipe's
`calculators/tflite/ssd_anchors_calculator.cc`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from singleshot import boxes
from singleshot.config import ADDED

Clip = Literal["none", "sizes", "all"]
ShapeOrder = Literal["caffe", "2017"]
# The device is explicit: a network that is built on the meta device still has real anchors.
_FLOAT64 = {"dtype": torch.float64, "device": torch.device("cpu")}


@dataclass(frozen=True, kw_only=True)
class AnchorLevel:
    """The anchors of one feature map. Lengths are pixels of the network's input.

    Args:
        size_hw: rows and columns of the map.
        step: distance between the centres of neighbouring cells; the first centre is at half a step. None divides
            the input evenly, which differs where the map was rounded up (300 / 38 is 7.89 and not 8).
        min_size: side of the smaller square; the other shapes have its area.
        max_size: the larger square has the side √(min_size·max_size); None leaves it out.
        ratios: width to height of the other shapes, above 1; each comes with its inverse.
        order: of the shapes in a cell. `caffe`: the square, the larger square, then each ratio and its inverse;
            `2017`: the square, all ratios, all inverses, the larger square.
        shapes: width and height of each shape, where a level lists them. Sizes and ratios then say roughly what they
            are, and are where a fit of other anchors begins.
    """

    size_hw: tuple[int, int]
    step: float | None
    min_size: float
    max_size: float | None
    ratios: tuple[float, ...]
    order: ShapeOrder = "caffe"
    shapes: tuple[tuple[float, float], ...] = field(default=(), metadata=ADDED)

    @property
    def shapes_wh(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor of a cell, in the order of the anchors.

        >>> AnchorLevel(size_hw=(1, 1), step=300.0, min_size=36.0, max_size=64.0, ratios=(4.0,)).shapes_wh
        ((36.0, 36.0), (48.0, 48.0), (72.0, 18.0), (18.0, 72.0))
        """
        if self.shapes:
            return self.shapes
        larger = [] if self.max_size is None else [math.sqrt(self.min_size * self.max_size)]
        squares = [(side, side) for side in (self.min_size, *larger)]
        wide = [(self.min_size * math.sqrt(ratio), self.min_size / math.sqrt(ratio)) for ratio in self.ratios]
        tall = [(height, width) for width, height in wide]
        if self.order == "2017":
            return (squares[0], *wide, *tall, *squares[1:])
        return (*squares, *(shape for pair in zip(wide, tall, strict=True) for shape in pair))

    @property
    def anchors_per_cell(self) -> int:
        """Number of anchors of one cell.

        >>> AnchorLevel(size_hw=(38, 38), step=8.0, min_size=30.0, max_size=60.0, ratios=(2.0,)).anchors_per_cell
        4
        """
        return len(self.shapes) or 1 + (self.max_size is not None) + 2 * len(self.ratios)

    @property
    def num_anchors(self) -> int:
        """Number of anchors of the whole map."""
        return self.size_hw[0] * self.size_hw[1] * self.anchors_per_cell


def anchors_cxcywh(
    levels: Sequence[AnchorLevel], input_size_hw: tuple[int, int], clip: Clip = "none"
) -> Float[Tensor, "A 4"]:
    """Return all anchors as (cx, cy, w, h) in fractions of the network's input, float32.

    They are computed in double precision and rounded once. Anchors near the edge reach outside 0…1.

    Args:
        levels: one for each feature map, in the order of the network's maps.
        input_size_hw: height and width of the network's input in pixels.
        clip: limits that some networks were trained with. `sizes`: width and height to 1, which changes the shape
            of anchors larger than the input (torchvision); `all`: the centre too, which moves the last ones of a map
            whose cells reach over the edge (ssd.pytorch and its descendants). Neither cuts corners off.

    Returns:
        (A, 4) in the order level, row, column, shape; (0, 4) for no levels.
    """
    anchors = torch.cat([torch.zeros(0, 4, **_FLOAT64), *(_level_anchors(level, input_size_hw) for level in levels)])
    if clip != "none":
        first = 2 if clip == "sizes" else 0
        anchors[:, first:] = anchors[:, first:].clamp(0, 1)
    return anchors.float()


def anchors_xyxy(
    levels: Sequence[AnchorLevel], input_size_hw: tuple[int, int], clip: Clip = "none"
) -> Float[Tensor, "A 4"]:
    """Return the same as corners (x1, y1, x2, y2). `clip` acts before, on (cx, cy, w, h); see `anchors_cxcywh`."""
    return boxes.cxcywh_to_xyxy(anchors_cxcywh(levels, input_size_hw, clip))


def _level_anchors(level: AnchorLevel, input_size_hw: tuple[int, int]) -> Float[Tensor, "N 4"]:
    rows, columns = level.size_hw
    height, width = input_size_hw
    step_y, step_x = (height / rows, width / columns) if level.step is None else (level.step,) * 2
    centre_y = (torch.arange(rows, **_FLOAT64) + 0.5) * step_y / height
    centre_x = (torch.arange(columns, **_FLOAT64) + 0.5) * step_x / width
    shapes = torch.tensor(level.shapes_wh, **_FLOAT64) / torch.tensor([width, height], **_FLOAT64)
    cells = torch.cartesian_prod(centre_y, centre_x).flip(-1)
    return torch.cat([cells.repeat_interleave(level.anchors_per_cell, 0), shapes.repeat(rows * columns, 1)], dim=1)


@dataclass(frozen=True, kw_only=True)
class AnchorPreset:
    """Anchors for a square input, before the network says how many cells each map has.

    Sizes are listed once, as a ladder: a level's larger size is the next level's smaller one.

    Args:
        side: height and width in pixels of the input that the numbers are for.
        sizes: smaller size of each level in pixels, and after them the larger size of the last level.
        ratios: of each level; see `AnchorLevel`.
        steps: of each level in pixels; empty if centres divide the input evenly.
        last_square: whether the last level has its larger square. If not, `sizes` ends with the last level's own size.
        order: of the shapes in a cell; see `AnchorLevel`.
        clip: see `anchors_cxcywh`.
        shapes: of each level, where they are listed (`AnchorLevel`); empty where they follow from sizes and ratios.
    """

    side: int
    sizes: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...] = ()
    last_square: bool = True
    order: ShapeOrder = "caffe"
    clip: Clip = "none"
    shapes: tuple[tuple[tuple[float, float], ...], ...] = ()

    def levels(
        self, map_sizes_hw: Sequence[tuple[int, int]], input_size_hw: tuple[int, int]
    ) -> tuple[AnchorLevel, ...]:
        """Return the levels for a network with maps of these sizes. Raises ValueError for another number of maps.

        For another input than the preset's own, anchors keep their share of the image: lengths grow by the root of
        the ratio of areas, squares in pixels stay squares in pixels, and centres divide the input evenly.
        """
        own_size = input_size_hw == (self.side, self.side)
        growth = 1.0 if own_size else math.sqrt(input_size_hw[0] * input_size_hw[1]) / self.side
        count = len(self.ratios)
        low = [size * growth for size in self.sizes[:count]]
        high = [*(size * growth for size in self.sizes[1:]), *([] if self.last_square else [None])]
        steps = self.steps if self.steps and own_size else (None,) * count
        levels = tuple(
            AnchorLevel(
                size_hw=size_hw, step=step, min_size=min_size, max_size=max_size, ratios=ratios, order=self.order
            )
            for size_hw, step, min_size, max_size, ratios in zip(
                map_sizes_hw, steps, low, high, self.ratios, strict=True
            )
        )
        if not self.shapes:
            return levels
        return tuple(
            replace(
                level,
                shapes=tuple((width * growth, height * growth) for width, height in shapes),
                max_size=level.max_size if len(shapes) % 2 == 0 else None,  # the number of shapes that a fit keeps
            )
            for level, shapes in zip(levels, self.shapes, strict=True)
        )


def _truncated(preset: AnchorPreset) -> AnchorPreset:
    """Round sizes down, as the reference's layer does, which stores them as integers."""
    return replace(preset, sizes=tuple(float(int(size)) for size in preset.sizes))


def _scaled(side: int, scales: Sequence[float]) -> tuple[float, ...]:
    """Return sizes that were published as fractions of the input."""
    return tuple(scale * side for scale in scales)


def _linear(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * index / (count - 1) for index in range(count))


def _mediapipe(side: int) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the shapes of MediaPipe's `ssd_anchors_calculator` with `reduce_boxes_in_lowest_layer`, six maps.

    The first map has three shapes, a square of a tenth of the input and two of another size. The others have a square,
    two pairs, and a larger square last. The fifth ratio is .3333 and not a third.
    """
    scales = (*_linear(0.2, 0.95, 6), 1.0)
    rows: list[list[tuple[float, float]]] = [[(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]]
    for low, high in itertools.pairwise(scales[1:]):
        rows.append([*((low, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)), (math.sqrt(low * high), 1.0)])
    return tuple(
        tuple((side * scale * math.sqrt(ratio), side * scale / math.sqrt(ratio)) for scale, ratio in row)
        for row in rows
    )


_TWO, _THREE = (2.0,), (2.0, 3.0)
_RATIOS_300 = (_TWO, _THREE, _THREE, _THREE, _TWO, _TWO)
_RATIOS_512 = (_TWO, _THREE, _THREE, _THREE, _THREE, _TWO, _TWO)

VOC_300 = AnchorPreset(
    side=300,
    sizes=(30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    ratios=_RATIOS_300,
    steps=(8.0, 16.0, 32.0, 64.0, 100.0, 300.0),
)
COCO_300 = replace(VOC_300, sizes=(21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0))
VOC_512_FLOAT = AnchorPreset(
    side=512,
    sizes=(35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    ratios=_RATIOS_512,
    steps=(8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0),
)
VOC_512 = _truncated(VOC_512_FLOAT)
COCO_512 = _truncated(replace(VOC_512_FLOAT, sizes=(20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72)))
TORCHVISION_300 = replace(VOC_300, sizes=_scaled(300, (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)), clip="sizes")
LITE_320 = AnchorPreset(side=320, sizes=_scaled(320, (*_linear(0.2, 0.95, 6), 1.0)), ratios=(_THREE,) * 6, clip="sizes")
FINE_320 = AnchorPreset(side=320, sizes=(16.0, 32.0, 64.0, 112.0, 160.0, 224.0, 288.0), ratios=(_THREE,) * 6)
POST_300 = AnchorPreset(
    side=300, sizes=_scaled(300, _linear(0.1, 0.95, 6)), ratios=(_THREE,) * 6, last_square=False, order="2017"
)
POST_512 = AnchorPreset(
    side=512, sizes=_scaled(512, _linear(0.07, 0.95, 7)), ratios=(_THREE,) * 7, last_square=False, order="2017"
)
LATER_300 = AnchorPreset(
    side=300, sizes=_scaled(300, (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075)), ratios=_RATIOS_300, order="2017"
)
LATER_512 = AnchorPreset(
    side=512, sizes=_scaled(512, (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)), ratios=_RATIOS_512, order="2017"
)
MEDIAPIPE_300 = AnchorPreset(
    side=300,
    sizes=_scaled(300, (*_linear(0.2, 0.95, 6), 1.0)),
    ratios=(_TWO, *(_THREE,) * 5),
    shapes=_mediapipe(300),
)

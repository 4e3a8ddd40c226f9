"""Random crops: SSD's expansion and batch samplers, drawn as one window of the image.

Expansion places the image at a random position on a larger canvas of the mean colour (small objects); a batch sampler
then crops that canvas (large and truncated objects). Together they are one window in pixels of the image, which may
reach outside it. So neither canvas nor crop is built here: the caller reads each pixel once (`resample`).

The distribution is the reference's (Caffe branch `ssd`, `sampler.cpp`, `im_transforms.cpp`; paper, section 2.2),
computed in a cheaper way. All trials of a sampler are drawn at once, and the first that satisfies it is taken. The
reference runs every sampler and picks one of the successful ones at random; here the samplers are shuffled and the
first that succeeds is taken, which gives each successful one the same probability.
Windows have whole pixels, and a constraint is tested on the final window (the reference tests the real-valued one
and then truncates), so that the overlap holds for the actual pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.config import AtLeast, Config, Ordered, Range
from singleshot.errors import ConfigError

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the image; below 0 and beyond its size is the mean colour."""


@dataclass(frozen=True)
class CropSampler(Config, name="augmentation.samplers"):
    """One kind of crop. A crop satisfies it if its IoU with *any one* box is in min_iou … max_iou.

    Args:
        min_iou: the lowest IoU, or None for no lower bound.
        max_iou: the highest IoU, or None for no upper bound.
        scale: range of the geometric mean of the crop's sides, as fractions of the canvas's sides.
        aspect_ratio: range of width fraction over height fraction; narrowed for large scales so that the crop fits.

    Without bounds every crop satisfies it, also in an image without boxes, where no bound can be met.
    """

    min_iou: Annotated[float, Range(0, 1)] | None = None
    max_iou: Annotated[float, Range(0, 1)] | None = None
    scale: Annotated[tuple[float, float], Ordered(1e-3, 1)] = (0.3, 1.0)
    aspect_ratio: Annotated[tuple[float, float], Ordered(1e-3)] = (0.5, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iou_range[0] > self.iou_range[1]:
            message = f"{self._name}: min_iou, max_iou are {self.iou_range}"
            raise ConfigError(message, remedy="Give a max_iou of min_iou or more")

    @property
    def iou_range(self) -> tuple[float, float]:
        """The bounds as numbers."""
        return (0.0 if self.min_iou is None else self.min_iou, 1.0 if self.max_iou is None else self.max_iou)

    @property
    def is_free(self) -> bool:
        """Whether every crop satisfies it."""
        return self.min_iou is None and self.max_iou is None


WHOLE = CropSampler(scale=(1.0, 1.0), aspect_ratio=(1.0, 1.0))
"""The whole canvas."""

SSD_SAMPLERS = (WHOLE, *(CropSampler(min_iou=least) for least in (0.1, 0.3, 0.5, 0.7, 0.9)), CropSampler())
"""The reference's seven. It writes the last as max_jaccard_overlap 1.0, which any crop satisfies if there is a box:
an unconstrained crop. Here it is unconstrained in images without boxes too, where the reference keeps the image."""


@dataclass(frozen=True)
class WindowOptions(Config, name="augmentation"):
    """How windows are drawn. The defaults are the reference's."""

    expand_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that the image is put on a larger canvas."""
    max_expand: Annotated[float, AtLeast(1)] = 4.0
    """The largest canvas, as a multiple of the image's sides; the factor is drawn from 1 … max_expand."""
    samplers: tuple[CropSampler, ...] = SSD_SAMPLERS
    """The kinds of crop; those that succeed are equally likely. Empty for no crop."""
    trials: Annotated[int, AtLeast(1)] = 50
    """Crops that a sampler tries."""


def draw_window(
    rng: np.random.Generator, size_hw: tuple[int, int], boxes_xyxy: Float[ndarray, "N 4"], options: WindowOptions
) -> Window:
    """Draw a window of an image, at least one pixel large; the whole canvas where no sampler succeeds.

    Args:
        rng: the generator.
        size_hw: height and width of the image.
        boxes_xyxy: (N, 4) pixels; N may be 0.
        options: see there.
    """
    canvas = draw_canvas(rng, size_hw, options)
    for place in rng.permutation(len(options.samplers)):
        crop = draw_crop(rng, canvas, boxes_xyxy, options.samplers[int(place)], options.trials)
        if crop is not None:
            return crop
    return canvas


def draw_canvas(rng: np.random.Generator, size_hw: tuple[int, int], options: WindowOptions) -> Window:
    """Return the image's rectangle, or with `expand_probability` a larger one around it of the same aspect ratio."""
    height, width = size_hw
    coin, at, at_x, at_y = rng.random(4)
    factor = 1.0 + at * (options.max_expand - 1.0)
    if coin >= options.expand_probability:
        return 0, 0, width, height
    wide, high = int(width * factor), int(height * factor)
    left, top = math.floor(at_x * (wide - width)), math.floor(at_y * (high - height))
    return -left, -top, wide - left, high - top


def draw_crop(
    rng: np.random.Generator, canvas: Window, boxes_xyxy: Float[ndarray, "N 4"], sampler: CropSampler, trials: int
) -> Window | None:
    """Return the first crop of the canvas, of at most `trials`, that satisfies the sampler; None where none does."""
    if sampler.is_free:
        return _window(_draw_crops(rng, canvas, sampler, 1)[0])
    if len(boxes_xyxy) == 0:
        return None
    crops = _draw_crops(rng, canvas, sampler, trials)
    winner = _first_within(crops, boxes_xyxy.astype(np.float64), *sampler.iou_range)
    return _window(crops[winner]) if winner >= 0 else None


def _draw_crops(rng: np.random.Generator, canvas: Window, sampler: CropSampler, count: int) -> Int[ndarray, "T 4"]:
    return _crops(rng.random((count, 4)), canvas, sampler.scale, sampler.aspect_ratio)


@compiled
def _crops(at, canvas, scale, aspect_ratio):  # noqa: ANN001, ANN202
    """Return crops (T, 4) of the canvas in whole pixels, from rows of scale, ratio, x and y in 0 … 1."""
    left, top, right, bottom = canvas
    crops = np.empty((len(at), 4), np.int64)
    for row in range(len(at)):
        side = scale[0] + at[row, 0] * (scale[1] - scale[0])
        # A crop of ratio a and scale s is s·√a by s/√a of the canvas: both at most 1 just where s² ≤ a ≤ 1/s².
        narrowest = min(max(aspect_ratio[0], side**2), side**-2)
        widest = min(max(aspect_ratio[1], side**2), side**-2)
        root = math.sqrt(narrowest + at[row, 1] * (widest - narrowest))
        width, height = min(side * root, 1.0) * (right - left), min(side / root, 1.0) * (bottom - top)
        x, y = math.floor(at[row, 2] * (right - left - width)), math.floor(at[row, 3] * (bottom - top - height))
        # By rounding a side may be slightly below a whole number (0.9999… for 0.5·2), hence 1e-9 before the floor.
        crops[row, 0], crops[row, 1] = left + x, top + y
        crops[row, 2] = left + x + max(math.floor(width + 1e-9), 1)
        crops[row, 3] = top + y + max(math.floor(height + 1e-9), 1)
    return crops


@compiled
def _first_within(crops, boxes_xyxy, least, most):  # noqa: ANN001, ANN202
    """Return the index of the first crop whose IoU with any one box is in least … most; −1 where there is none."""
    for row in range(len(crops)):
        area = (crops[row, 2] - crops[row, 0]) * (crops[row, 3] - crops[row, 1])
        for box in boxes_xyxy:
            width = min(crops[row, 2], box[2]) - max(crops[row, 0], box[0])
            height = min(crops[row, 3], box[3]) - max(crops[row, 1], box[1])
            common = max(width, 0.0) * max(height, 0.0)
            union = max(area + (box[2] - box[0]) * (box[3] - box[1]) - common, 1e-12)
            if least <= common / union <= most:
                return row
    return -1


def _window(row: Int[ndarray, "4"]) -> Window:
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])

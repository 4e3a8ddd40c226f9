"""The published and the house default boxes, as rows of numbers, and the network that each set goes with.

A flavour is one such pair under one name. Sizes are listed once, as a ladder: a map's larger size is the next map's
smaller one. How many cells a map has comes from the network. Sources: `examples/ssd/ssd_pascal.py` and `ssd_coco.py`
of the reference (its 512 rows from three agreeing ports), the posts of 2017 and the code of 2018 of a TensorFlow
re-implementation, and torchvision's documentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from singleshot.detection.anchors import Clip, FeatureMap
from singleshot.detection.postprocess import Postprocess

Trunk = Literal["vgg16", "mobilenetv3-large", "residual-fine"]
Extras = Literal["caffe-300", "caffe-512", "2017-300", "2017-512", "built-in"]
Heads = Literal["conv3x3", "separable"]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class AnchorPreset:
    """Default boxes for a square input, before the network says how many cells each map has.

    Args:
        side: height and width in pixels of the input that the numbers are for.
        sizes: smaller size of each map in pixels, and after them the larger size of the last map.
        ratios: of each map; see `FeatureMap`.
        steps: of each map in pixels; empty where centres divide the input evenly.
        last_square: whether the last map has its larger square. Where it has not, `sizes` ends with the last map's
            own size.
        order: of the shapes in a cell; see `FeatureMap`.
        clip: see `anchors_cxcywh`.
    """

    side: int
    sizes: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...] = ()
    last_square: bool = True
    order: Literal["caffe", "2017"] = "caffe"
    clip: Clip = "none"

    def feature_maps(
        self, map_sizes_hw: Sequence[tuple[int, int]], input_size_hw: tuple[int, int]
    ) -> tuple[FeatureMap, ...]:
        """The rows for a network with maps of these sizes. Raises ValueError where it has not one map a row.

        For another input than the preset's own, boxes keep their share of the picture: lengths grow by the root of
        the ratio of areas, squares in pixels stay squares in pixels, and centres divide the input evenly.
        """
        at_home = input_size_hw == (self.side, self.side)
        growth = 1.0 if at_home else math.sqrt(input_size_hw[0] * input_size_hw[1]) / self.side
        count = len(self.ratios)
        low = [size * growth for size in self.sizes[:count]]
        high = [*(size * growth for size in self.sizes[1:]), *([] if self.last_square else [None])]
        steps = self.steps if self.steps and at_home else (None,) * count
        columns = zip(map_sizes_hw, steps, low, high, self.ratios, strict=True)
        return tuple(FeatureMap(*row, self.order) for row in columns)


@dataclass(frozen=True)
class Flavour:
    """Default boxes and the network that they go with; the fields are those of `SSDConfig`."""

    anchors: AnchorPreset
    trunk: Trunk = "vgg16"
    extras: Extras = "caffe-300"
    heads: Heads = "conv3x3"
    mean_rgb: Colour = (123.0, 117.0, 104.0)
    std_rgb: Colour = (1.0, 1.0, 1.0)
    postprocess: Postprocess = field(default_factory=Postprocess)


def _linear(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * place / (count - 1) for place in range(count))


def _scaled(side: int, scales: Sequence[float]) -> tuple[float, ...]:
    """Sizes that were published as fractions of the input."""
    return tuple(scale * side for scale in scales)


_NARROW, _WIDE = (2.0,), (2.0, 3.0)
_RATIOS_300 = (_NARROW, _WIDE, _WIDE, _WIDE, _NARROW, _NARROW)
_RATIOS_512 = (_NARROW, _WIDE, _WIDE, _WIDE, _WIDE, _NARROW, _NARROW)
_STEPS_300 = (8.0, 16.0, 32.0, 64.0, 100.0, 300.0)
_STEPS_512 = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

_VOC_300 = AnchorPreset(300, (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0), _RATIOS_300, _STEPS_300)
_COCO_300 = replace(_VOC_300, sizes=(21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0))
_VOC_512_FLOAT = AnchorPreset(512, (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6), _RATIOS_512, _STEPS_512)
_COCO_512_FLOAT = replace(_VOC_512_FLOAT, sizes=(20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72))


def _truncated(preset: AnchorPreset) -> AnchorPreset:
    """As the reference's layer reads sizes, which it keeps in integers."""
    return replace(preset, sizes=tuple(float(int(size)) for size in preset.sizes))


_TORCHVISION_300 = replace(_VOC_300, sizes=_scaled(300, (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)), clip="sizes")
_LITE_320 = AnchorPreset(320, _scaled(320, (*_linear(0.2, 0.95, 6), 1.0)), (_WIDE,) * 6, clip="sizes")
_FINE_320 = AnchorPreset(320, (16.0, 32.0, 64.0, 112.0, 160.0, 224.0, 288.0), (_WIDE,) * 6)
_POST_300 = AnchorPreset(300, _scaled(300, _linear(0.1, 0.95, 6)), (_WIDE,) * 6, last_square=False, order="2017")
_POST_512 = AnchorPreset(512, _scaled(512, _linear(0.07, 0.95, 7)), (_WIDE,) * 7, last_square=False, order="2017")
_LATER_300 = AnchorPreset(300, _scaled(300, (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075)), _RATIOS_300, order="2017")
_LATER_512 = AnchorPreset(512, _scaled(512, (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)), _RATIOS_512, order="2017")

_GREY: Colour = (127.5, 127.5, 127.5)
_TORCHVISION_MEAN: Colour = (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)

FLAVOURS: dict[str, Flavour] = {
    "vgg300": Flavour(_VOC_300),
    "vgg512": Flavour(_truncated(_VOC_512_FLOAT), extras="caffe-512"),
    "vgg512-float": Flavour(_VOC_512_FLOAT, extras="caffe-512"),
    "vgg300-coco": Flavour(_COCO_300),
    "vgg512-coco": Flavour(_truncated(_COCO_512_FLOAT), extras="caffe-512"),
    "vgg300-2017": Flavour(_POST_300, extras="2017-300"),
    "vgg512-2017": Flavour(_POST_512, extras="2017-512"),
    "vgg300-2018": Flavour(_LATER_300, extras="2017-300"),
    "vgg512-2018": Flavour(_LATER_512, extras="2017-512"),
    "ssd300-torchvision": Flavour(
        _TORCHVISION_300, mean_rgb=_TORCHVISION_MEAN, postprocess=Postprocess(clip_before_nms=True)
    ),
    "lite320": Flavour(
        _LITE_320,
        trunk="mobilenetv3-large",
        extras="built-in",
        heads="separable",
        mean_rgb=_GREY,
        std_rgb=_GREY,
        postprocess=Postprocess(0.001, 0.55, 300, 300, clip_before_nms=True),
    ),
    "lite320-fine": Flavour(_FINE_320, trunk="residual-fine", extras="built-in", mean_rgb=_GREY, std_rgb=_GREY),
}

"""The segmenters that have names: which trunk, which of the published ways of joining scores, which input.

`fcn8s`, `fcn16s` and `fcn32s` are Berkeley's (Long et al. 2015 and its later code), `fcn8s-2017` is the network of
the 2017 post, and the two light ones are ours, for machines without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Variant = Literal["staged", "parallel", "light"]
Trunk = Literal["vgg16", "mobilenetv3-large", "residual-fine"]
Colour = tuple[float, float, float]

_CAFFE_MEAN: Colour = (122.67892, 116.66877, 104.00699)
_GREY: Colour = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class Flavour:
    """A named segmenter; the fields are those of `FCNConfig`."""

    variant: Variant
    trunk: Trunk = "vgg16"
    stride: Literal[8, 16, 32] = 8
    size_hw: tuple[int, int] = (384, 512)
    mean_rgb: Colour = _CAFFE_MEAN
    std_rgb: Colour = (1.0, 1.0, 1.0)


FLAVOURS: dict[str, Flavour] = {
    "fcn8s": Flavour("staged"),
    "fcn16s": Flavour("staged", stride=16),
    "fcn32s": Flavour("staged", stride=32),
    "fcn8s-2017": Flavour("parallel", size_hw=(160, 576)),
    "fcn8s-lite": Flavour("light", "mobilenetv3-large", mean_rgb=_GREY, std_rgb=_GREY),
    "fcn8s-fine": Flavour("light", "residual-fine", mean_rgb=_GREY, std_rgb=_GREY),
}

"""MobileNetV2 as an SSD backbone.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2, and the feature maps that
TensorFlow's Object Detection API takes from it (`ssd_mobilenet_v2_feature_extractor`): the expansion of the first
block of 160 channels (stride 16), the last 1×1 convolution (stride 32), and four further pairs of convolutions, each of
which halves the map.

Published detectors come with batch normalisation folded into the convolutions and with TensorFlow's padding. Both are
options: without norms every convolution has a bias instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones.freezing import Backbone
from singleshot.backbones.layers import BatchNorm, Convolution
from singleshot.backbones.mobilenet import initialise

Padding = Literal["symmetric", "same"]


@dataclass(frozen=True)
class Bottlenecks:
    """Inverted residual blocks of one width, a row of the paper's table 2; the first of them strides."""

    expansion: int
    channels: int
    blocks: int
    stride: int


ROWS = (
    Bottlenecks(1, 16, 1, 1),
    Bottlenecks(6, 24, 2, 2),
    Bottlenecks(6, 32, 3, 2),
    Bottlenecks(6, 64, 4, 2),
    Bottlenecks(6, 96, 3, 1),
    Bottlenecks(6, 160, 3, 2),
    Bottlenecks(6, 320, 1, 1),
)
STEM, LAST = 32, 1280
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
"""Channels between and after each further pair of convolutions."""
STRIDE_16_BLOCK = 13
"""The block whose expansion is the finest feature map."""


class MobileNetV2Pyramid(Backbone):
    """Feature maps of stride 16, 32 and four further ones.

    Args:
        norm: `batch` has batch normalisation behind each convolution, for training from nothing; `none` has biases,
            for published weights with folded norms.
        padding: `symmetric` as in PyTorch, or TensorFlow's `same` (`SameConvolution`). Sizes of maps are equal.
    """

    halvings = (4, 5, 6, 7, 8, 9)

    def __init__(self, norm: Literal["none", "batch"] = "none", padding: Padding = "symmetric") -> None:
        super().__init__()
        self.stem = _Unit(3, STEM, 3, 2, norm=norm, padding=padding)
        widths = [STEM, *(row.channels for row in ROWS)]
        self.blocks = nn.ModuleList(
            InvertedResidual(
                row.channels if index else width,
                row.channels,
                row.expansion,
                1 if index else row.stride,
                norm=norm,
                padding=padding,
            )
            for width, row in zip(widths, ROWS, strict=False)
            for index in range(row.blocks)
        )
        self.last = _Unit(ROWS[-1].channels, LAST, 1, norm=norm, padding=padding)
        inputs = (LAST, *(out for _, out in EXTRAS))
        self.extras = nn.ModuleList(
            nn.Sequential(
                _Unit(width, inner, 1, norm=norm, padding=padding),
                _Unit(inner, out, 3, 2, norm=norm, padding=padding),
            )
            for width, (inner, out) in zip(inputs, EXTRAS, strict=False)
        )
        self.channels = (ROWS[5].expansion * ROWS[4].channels, *inputs)
        initialise(self)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute one map (B, channels[i], h_i, w_i) for each anchor level, finest first."""
        x, maps = self.stem(images), []
        for index, block in enumerate(self.blocks):
            expanded = block.get_submodule("expand")(x)
            if index == STRIDE_16_BLOCK:
                maps.append(expanded)
            x = block(x, expanded)
        x = self.last(x)
        maps.append(x)
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return tuple(maps)

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return the stem, each inverted residual block, the last convolution."""
        return [[self.stem], *([block] for block in self.blocks), [self.last]]


class InvertedResidual(nn.Module):
    """Filter each expanded channel by a 3×3 kernel, then project by a 1×1 one.

    `expand`, a 1×1 convolution, is applied by the caller, because a detector reads the expanded map of one block.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        expansion: int,
        stride: int,
        *,
        norm: Literal["none", "batch"],
        padding: Padding,
    ) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = _Unit(channels, inner, 1, norm=norm, padding=padding) if expansion > 1 else nn.Identity()
        self.depthwise = _Unit(inner, inner, 3, stride, groups=inner, norm=norm, padding=padding)
        self.project = _Unit(inner, out, 1, norm=norm, padding=padding, activated=False)
        self.added = stride == 1 and channels == out

    def forward(
        self, features: Float[Tensor, "B C H W"], expanded: Float[Tensor, "B E H W"]
    ) -> Float[Tensor, "B D h w"]:
        """Compute the block's output from its input and the expanded map."""
        out = self.project(self.depthwise(expanded))
        return features + out if self.added else out


class SameConvolution(Convolution):
    """A convolution with TensorFlow's padding `SAME`: the output has ceil(size / stride) cells.

    Where an odd number of cells is missing, the extra one is added at the bottom and at the right, so a strided
    convolution of an even map looks at other cells than one with PyTorch's symmetric padding does.
    """

    def _conv_forward(
        self, input: Float[Tensor, "B C H W"], weight: Tensor, bias: Tensor | None
    ) -> Float[Tensor, "B D h w"]:
        """Convolve the padded map. Symmetric padding is left to the convolution, which saves a copy of the map."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        high, wide = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:])
        if high % 2 == 0 and wide % 2 == 0:
            padding = (high // 2, wide // 2)
        else:
            input, padding = F.pad(input, (wide // 2, wide - wide // 2, high // 2, high - high // 2)), 0
        return F.conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class _Unit(nn.Sequential):
    """A convolution that keeps the size (÷ stride, rounded up), batch normalisation if it has any, ReLU6."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        norm: Literal["none", "batch"],
        padding: Padding,
        activated: bool = True,
    ) -> None:
        bias = norm == "none"
        convolution = (
            SameConvolution(channels, out, kernel, stride, groups=groups, bias=bias)
            if padding == "same"
            else Convolution(channels, out, kernel, stride, kernel // 2, groups=groups, bias=bias)
        )
        norms = [BatchNorm(out)] if norm == "batch" else []
        super().__init__(convolution, *norms, *([nn.ReLU6(inplace=True)] if activated else []))

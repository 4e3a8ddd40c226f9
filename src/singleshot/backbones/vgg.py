"""VGG-16 (Simonyan and Zisserman 2014) in two shapes: the à-trous backbone of SSD and the plain one of FCN.

Both share thirteen convolutions and differ in the two large fully connected layers. SSD keeps every
fourth of their outputs and three of seven taps a side and spreads the taps by dilation, which halves the work; FCN
runs them whole, as 7×7 and 1×1 convolutions. All pooling rounds sizes up, as Caffe does: 75 cells become 38.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones.freezing import Backbone
from singleshot.backbones.layers import BatchNorm, Convolution, L2Norm

Norm = Literal["none", "batch"]
ExtrasName = Literal["caffe-300", "caffe-512", "2017-300", "2017-512"]
CONVOLUTIONS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(Backbone):
    """Named layers in a row, some of whose outputs are the result: use `atrous_vgg16` or `plain_vgg16`.

    Layers are named as in the paper's Caffe model: conv1_1, relu1_1, pool1, … fc7, relu7, with norm1_1, … where
    there is batch normalisation. Weights start by He's rule, biases at 0.
    """

    def __init__(
        self, layers: Sequence[tuple[str, nn.Module]], taps: frozenset[str], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.taps = taps
        self.channels = channels
        for name, layer in layers:
            self.add_module(name, layer)
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                _zero_bias(layer)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute the tapped maps, finest first, each (B, C, h, w)."""
        results, x = [], images
        for name, layer in self.named_children():
            x = layer(x)
            if name in self.taps:
                results.append(x)
        return tuple(results)

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return what is between two pools, conv1 to conv5, then fc6 and fc7."""
        blocks: dict[int, list[nn.Module]] = {}
        for name, layer in self.named_children():
            number = min(int(re.sub(r"^[a-z]+|_.*", "", name)), 6)  # relu4_3 is in block 4, fc7 in the sixth
            blocks.setdefault(number, []).append(layer)
        return list(blocks.values())


def atrous_vgg16(norm: Norm = "none") -> VGG16:
    """Return the backbone of SSD: conv4_3 (512 channels, stride 8) and fc7 (1024 channels, stride 16).

    pool5 does not stride, fc6 is a 3×3 convolution of dilation 6, and there is no dropout (Liu et al. 2016,
    section 3; Caffe's VGGNetBody with `need_fc, fully_conv, reduced, dilated`).

    Args:
        norm: `batch` puts batch normalisation after every convolution, for training from scratch. The published
            weights belong to `none`.
    """
    tail = [
        ("pool5", nn.MaxPool2d(3, stride=1, padding=1)),
        *_activated("fc6", _convolution(512, 1024, 3, norm, padding=6, dilation=6), norm),
        *_activated("fc7", _convolution(1024, 1024, 1, norm), norm),
    ]
    return VGG16([*_thirteen_convolutions(norm), *tail], frozenset({"relu4_3", "relu7"}), (512, 1024))


def plain_vgg16(fc6_padding: int = 3, dropout: float = 0.5) -> VGG16:
    """Return the backbone of FCN: pool3 (256 channels, stride 8), pool4 (512, stride 16) and fc7 (4096, stride 32).

    Args:
        fc6_padding: 3 keeps the size of pool5; Berkeley's FCN has 0 there and pads the image by 100 instead.
        dropout: probability after fc6 and fc7, in training.
    """
    tail = [
        ("pool5", nn.MaxPool2d(2, ceil_mode=True)),
        *_activated("fc6", _convolution(512, 4096, 7, "none", padding=fc6_padding), "none"),
        ("drop6", nn.Dropout(dropout)),
        *_activated("fc7", _convolution(4096, 4096, 1, "none"), "none"),
        ("drop7", nn.Dropout(dropout)),
    ]
    return VGG16([*_thirteen_convolutions("none"), *tail], frozenset({"pool3", "pool4", "drop7"}), (256, 512, 4096))


@dataclass(frozen=True)
class ExtraLayer:
    """A row of the layers that SSD adds behind fc7: a 1×1 convolution to `reduced` channels, then a wider one.

    Args:
        reduced: channels between the two convolutions.
        out: channels of the map that comes out.
        kernel: side of the second convolution.
        stride: of the second convolution.
        padding: cells on all four sides of the second; `same`: as TensorFlow pads, which is one cell at the bottom
            and right alone where a map of even size is halved; `bottom-right`: one cell there, always.
    """

    reduced: int
    out: int
    kernel: int = 3
    stride: int = 1
    padding: int | Literal["same", "bottom-right"] = 0


EXTRAS: dict[ExtrasName, tuple[ExtraLayer, ...]] = {
    "caffe-300": (
        ExtraLayer(256, 512, stride=2, padding=1),
        ExtraLayer(128, 256, stride=2, padding=1),
        ExtraLayer(128, 256),
        ExtraLayer(128, 256),
    ),
    "caffe-512": (
        ExtraLayer(256, 512, stride=2, padding=1),
        ExtraLayer(128, 256, stride=2, padding=1),
        ExtraLayer(128, 256, stride=2, padding=1),
        ExtraLayer(128, 256, stride=2, padding=1),
        ExtraLayer(128, 256, kernel=4, padding=1),
    ),
    "2017-300": (
        ExtraLayer(256, 512, stride=2, padding="same"),
        ExtraLayer(128, 256, stride=2, padding="same"),
        ExtraLayer(128, 256, stride=2, padding="same"),
        ExtraLayer(128, 256),
    ),
    "2017-512": (
        ExtraLayer(256, 512, stride=2, padding="same"),
        ExtraLayer(128, 256, stride=2, padding="same"),
        ExtraLayer(128, 256, stride=2, padding="same"),
        ExtraLayer(128, 256),
        ExtraLayer(128, 256, padding="bottom-right"),
    ),
}


class VGGPyramid(Backbone):
    """The feature maps of SSD on VGG-16: conv4_3 (normalised), fc7, and one map for each extra layer.

    Args:
        extras: which extra layers; the name says whose padding and for which input they are made.
        norm: see `atrous_vgg16`; it holds for the extra layers too.
    """

    def __init__(self, extras: ExtrasName = "caffe-300", norm: Norm = "none") -> None:
        super().__init__()
        self.conv4_3_norm = L2Norm(512)
        self.vgg = atrous_vgg16(norm)
        rows = EXTRAS[extras]
        self.channels = (512, 1024, *(row.out for row in rows))
        self.extras = nn.ModuleList(
            _Extra(row, channels, norm) for row, channels in zip(rows, self.channels[1:], strict=False)
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute one map (B, channels[i], h_i, w_i) for each anchor level, finest first."""
        conv4_3, x = self.vgg(images)
        maps = [self.conv4_3_norm(conv4_3), x]
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return tuple(maps)

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return the blocks of VGG-16."""
        return self.vgg.blocks_by_depth()


class _Extra(nn.Module):
    def __init__(self, row: ExtraLayer, channels: int, norm: Norm) -> None:
        super().__init__()
        self.row = row
        padding = row.padding if isinstance(row.padding, int) else 0
        self.reduce = _convolution(channels, row.reduced, 1, norm)
        self.reduce_norm = _normalisation(row.reduced, norm)
        self.widen = _convolution(row.reduced, row.out, row.kernel, norm, stride=row.stride, padding=padding)
        self.widen_norm = _normalisation(row.out, norm)
        for layer in (self.reduce, self.widen):
            xavier_as_caffe(layer)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = F.relu(self.reduce_norm(self.reduce(features)))
        if self.row.padding == "bottom-right":
            x = F.pad(x, (0, 1, 0, 1))
        elif self.row.padding == "same":
            top, bottom = _same_padding(x.shape[2], self.row.kernel, self.row.stride)
            left, right = _same_padding(x.shape[3], self.row.kernel, self.row.stride)
            x = F.pad(x, (left, right, top, bottom))
        return F.relu(self.widen_norm(self.widen(x)))


def decimate_fc6(
    weight: Float[Tensor, "4096 25088"] | Float[Tensor, "4096 512 7 7"], bias: Float[Tensor, " 4096"]
) -> tuple[Float[Tensor, "1024 512 3 3"], Float[Tensor, " 1024"]]:
    """Make the à-trous fc6 out of the dense one: every fourth output, taps 0, 3 and 6 of each axis.

    At dilation 3 and padding 3 the result is the dense 7×7 convolution with its other taps set to 0. SSD then uses
    dilation 6, which no dense kernel equals: a choice of the authors that training compensates.
    The flat form is a fully connected layer's, channel first.
    """
    return weight.reshape(4096, 512, 7, 7)[::4, :, ::3, ::3].clone(), bias[::4].clone()


def decimate_fc7(
    weight: Float[Tensor, "4096 4096"] | Float[Tensor, "4096 4096 1 1"], bias: Float[Tensor, " 4096"]
) -> tuple[Float[Tensor, "1024 1024 1 1"], Float[Tensor, " 1024"]]:
    """Make the narrow fc7 out of the dense one: every fourth output of every fourth input, to fit `decimate_fc6`."""
    return weight.reshape(4096, 4096, 1, 1)[::4, ::4].clone(), bias[::4].clone()


def xavier_as_caffe(layer: nn.Conv2d) -> None:
    """Draw weights evenly from ±√(3 / inputs of an output) and set biases to 0, in place.

    Caffe's filler looks at the inputs alone; PyTorch's function of that name averages inputs and outputs.
    """
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    _zero_bias(layer)


def _thirteen_convolutions(norm: Norm) -> list[tuple[str, nn.Module]]:
    layers, channels = [], 3
    for stage, widths in enumerate(CONVOLUTIONS, start=1):
        for index, width in enumerate(widths, start=1):
            layers += _activated(f"conv{stage}_{index}", _convolution(channels, width, 3, norm, padding=1), norm)
            channels = width
        if stage < len(CONVOLUTIONS):
            layers.append((f"pool{stage}", nn.MaxPool2d(2, ceil_mode=True)))
    return layers


def _activated(name: str, convolution: nn.Conv2d, norm: Norm) -> list[tuple[str, nn.Module]]:
    number = name.removeprefix("conv").removeprefix("fc")
    normalisation = [(f"norm{number}", _normalisation(convolution.out_channels, norm))] if norm == "batch" else []
    return [(name, convolution), *normalisation, (f"relu{number}", nn.ReLU(inplace=True))]


def _convolution(
    channels: int, out: int, kernel: int, norm: Norm, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Conv2d:
    # Batch normalisation has a bias of its own.
    return Convolution(channels, out, kernel, stride, padding, dilation, bias=norm == "none")


def _normalisation(channels: int, norm: Norm) -> nn.Module:
    return BatchNorm(channels) if norm == "batch" else nn.Identity()


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _zero_bias(layer: nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)

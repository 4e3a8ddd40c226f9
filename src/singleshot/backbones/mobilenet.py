"""MobileNetV3-Large (Howard et al. 2019) as SSDLite's backbone: a detector that a small machine can run.

Layer for layer the network behind torchvision's `ssdlite320_mobilenet_v3_large`, so that its published weights fit:
the tail is reduced to half its width, and the first feature map is the expansion inside the block that goes from
stride 16 to stride 32. State-dict entries come in that model's order under our own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones.freezing import Backbone
from singleshot.backbones.layers import BatchNorm, Convolution

Activation = Literal["relu", "hardswish", "relu6", "none"]
EPSILON, MOMENTUM = 1e-3, 0.03  # of SSDLite's batch normalisation; the published weights were trained with them
STEM_CHANNELS = 16


@dataclass(frozen=True)
class Bottleneck:
    """One block: widen by a 1×1 convolution, filter each channel by itself, narrow again.

    Args:
        expanded: channels in the middle; if equal to those that come in, nothing is widened.
        out: channels that come out. They are added to those that come in if number and size agree.
        kernel: side of the filter of each channel.
        stride: of that filter.
        squeeze: weigh the channels by squeeze-and-excitation after the filter.
        activation: after the first two.
        tapped: its widened map is a feature map of the detector.
    """

    expanded: int
    out: int
    kernel: int = 3
    stride: int = 1
    squeeze: bool = False
    activation: Activation = "hardswish"
    tapped: bool = False


LARGE = (
    Bottleneck(16, 16, activation="relu"),
    Bottleneck(64, 24, stride=2, activation="relu"),
    Bottleneck(72, 24, activation="relu"),
    Bottleneck(72, 40, kernel=5, stride=2, squeeze=True, activation="relu"),
    Bottleneck(120, 40, kernel=5, squeeze=True, activation="relu"),
    Bottleneck(120, 40, kernel=5, squeeze=True, activation="relu"),
    Bottleneck(240, 80, stride=2),
    Bottleneck(200, 80),
    Bottleneck(184, 80),
    Bottleneck(184, 80),
    Bottleneck(480, 112, squeeze=True),
    Bottleneck(672, 112, squeeze=True),
    Bottleneck(672, 80, kernel=5, stride=2, squeeze=True, tapped=True),
    Bottleneck(480, 80, kernel=5, squeeze=True),
    Bottleneck(480, 80, kernel=5, squeeze=True),
)
LARGE_LAST, LARGE_EXTRAS = 480, (512, 256, 256, 128)


class MobileNet(Backbone):
    """Stem, bottlenecks and last convolution: what detector and segmenter share, by the same names.

    Args:
        rows: the bottlenecks.
        last: channels of the 1×1 convolution at the end.
    """

    def __init__(self, rows: Sequence[Bottleneck], last: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, stride=2, activation="hardswish")
        widths = [STEM_CHANNELS, *(row.out for row in rows)]
        self.blocks = nn.ModuleList(_Block(row, width) for row, width in zip(rows, widths, strict=False))
        self.last = ConvNorm(widths[-1], last, 1, activation="hardswish")

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return the stem, each bottleneck, the last convolution."""
        return [[self.stem], *([block] for block in self.blocks), [self.last]]


class MobileNetPyramid(MobileNet):
    """The feature maps of SSDLite on MobileNetV3: tapped expansions, the last map of the backbone, extra maps.

    Args:
        rows: see `MobileNet`.
        last: see `MobileNet`.
        extras: channels of each extra map; each halves the size.
    """

    def __init__(
        self, rows: Sequence[Bottleneck] = LARGE, last: int = LARGE_LAST, extras: Sequence[int] = LARGE_EXTRAS
    ) -> None:
        super().__init__(rows, last)
        self.extras = nn.ModuleList(
            extra_map(channels, out) for channels, out in zip((last, *extras), extras, strict=False)
        )
        self.channels = (*(row.expanded for row in rows if row.tapped), last, *extras)
        self.halvings = _halvings(rows, len(extras))
        initialise(self)
        for extra in self.extras:
            initialise_narrow(extra)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute one map (B, channels[i], h_i, w_i) for each anchor level, finest first."""
        maps, x = [], self.stem(images)
        for block in self.blocks:
            x, tapped = block(x)
            maps += tapped
        x = self.last(x)
        maps.append(x)
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return tuple(maps)


class MobileNetSkips(MobileNet):
    """The same backbone for segmentation: the last maps of stride 8 (40 channels), 16 (112) and 32 (480).

    Layers have the same names as in `MobileNetPyramid`, so that weights of one fit the other.
    """

    def __init__(self, rows: Sequence[Bottleneck] = LARGE, last: int = LARGE_LAST) -> None:
        super().__init__(rows, last)
        # A map is the last of its stride if the next block halves it.
        strides = [i for i, row in enumerate(rows) if row.stride == 2][-2:]
        self.skips = tuple(i - 1 for i in strides)
        self.channels = (*(rows[i].out for i in self.skips), last)
        initialise(self)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute three maps (B, channels[i], h_i, w_i), finest first."""
        maps, x = [], self.stem(images)
        for index, block in enumerate(self.blocks):
            x, _ = block(x)
            if index in self.skips:
                maps.append(x)
        return (*maps, self.last(x))


class ConvNorm(nn.Sequential):
    """A convolution without bias that keeps the size (÷ stride, rounded up), batch normalisation, activation."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: Activation
    ) -> None:
        convolution = Convolution(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        norm = BatchNorm(out, eps=EPSILON, momentum=MOMENTUM)
        kinds: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish, "relu6": nn.ReLU6}
        activations = [kinds[activation](inplace=True)] if activation in kinds else []
        super().__init__(convolution, norm, *activations)


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a number in 0…1 that two small layers compute from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible_by_8(channels / 4)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.relu, self.gate = nn.ReLU(inplace=True), nn.Hardsigmoid(inplace=True)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Weigh the channels of a map."""
        return features * self.gate(self.excite(self.relu(self.squeeze(self.mean(features)))))


def separable_head(channels: int, out: int) -> nn.Sequential:
    """Return SSDLite's head: a 3×3 filter of each channel by itself with ReLU6, then a 1×1 convolution with a bias."""
    head = nn.Sequential(
        ConvNorm(channels, channels, 3, groups=channels, activation="relu6"), nn.Conv2d(channels, out, 1)
    )
    initialise_narrow(head)
    return head


def extra_map(channels: int, out: int) -> nn.Sequential:
    """Return SSDLite's extra layer: narrow to half of `out`, halve the size by channel, widen; all with ReLU6."""
    middle = out // 2
    return nn.Sequential(
        ConvNorm(channels, middle, 1, activation="relu6"),
        ConvNorm(middle, middle, 3, stride=2, groups=middle, activation="relu6"),
        ConvNorm(middle, out, 1, activation="relu6"),
    )


def divisible_by_8(channels: float) -> int:
    """Return the nearest multiple of 8, at least 8, and not below nine tenths of `channels` (MobileNet's rule).

    >>> divisible_by_8(18.0), divisible_by_8(30.0), divisible_by_8(3.0)
    (24, 32, 8)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def initialise(module: nn.Module) -> None:
    """Initialise a backbone for training from scratch, in place: He's rule by outputs, biases 0, norms at 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_narrow(module: nn.Module) -> None:
    """Initialise extra layers and heads, in place: a normal distribution of deviation .03, biases 0 (SSDLite's)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _halvings(rows: Sequence[Bottleneck], extras: int) -> tuple[int, ...]:
    """Return `Backbone.halvings`: a tapped expansion is taken before its row strides, and each extra map halves."""
    count, found = 1, []  # the stem halves once
    for row in rows:
        if row.tapped:
            found.append(count)
        count += row.stride == 2
    return (*found, *range(count, count + extras + 1))


class _Block(nn.Module):
    def __init__(self, row: Bottleneck, channels: int) -> None:
        super().__init__()
        self.tapped = row.tapped
        self.added = row.stride == 1 and channels == row.out
        self.expand = (
            ConvNorm(channels, row.expanded, 1, activation=row.activation)
            if row.expanded != channels
            else nn.Identity()
        )
        self.filter = ConvNorm(
            row.expanded, row.expanded, row.kernel, stride=row.stride, groups=row.expanded, activation=row.activation
        )
        self.weigh = SqueezeExcitation(row.expanded) if row.squeeze else nn.Identity()
        self.project = ConvNorm(row.expanded, row.out, 1, activation="none")

    def forward(self, features: Float[Tensor, "B C H W"]) -> tuple[Tensor, list[Tensor]]:
        expanded = self.expand(features)
        out = self.project(self.weigh(self.filter(expanded)))
        return (features + out if self.added else out), ([expanded] if self.tapped else [])

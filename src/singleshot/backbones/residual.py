"""A small residual backbone of our own: trains from scratch on a CPU in minutes and detects small objects.

Two choices make it so. Its blocks are plain 3×3 convolutions (He et al. 2016) at strides 4 to 32: on a CPU with
bfloat16 units those run near the arithmetic peak, while the channel-by-channel filters of MobileNet wait for memory
(training steps at 320×320 on two cores, one short run each: 95 images a second at batch 16, against 17 of
MobileNetV3-Large at batch 8). And the coarse maps are merged downwards into those of stride 16 and 8
(Lin et al. 2017), so that a cell that is fine enough for a 16-pixel object has its surroundings as context. Neither is
in the SSD paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones.freezing import Backbone
from singleshot.backbones.layers import BatchNorm, Convolution, NearestResize
from singleshot.backbones.mobilenet import initialise


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width; the first of them strides."""

    width: int
    blocks: int
    stride: int = 2


@dataclass(frozen=True)
class ResidualLayout:
    """Widths and depths of the backbone.

    Args:
        stem: channels of two convolutions, each of which halves the image.
        stages: at strides 4, 8, 16 and 32; the last three give feature maps.
        merged: channels of the maps of stride 8 and 16 after the merge.
        extras: channels of further maps; each halves the size.
        projected: a block that strides or widens has a shortcut too: an average over 2×2 cells and a 1×1 convolution
            (He et al. 2018, "Bag of Tricks", figure 2c). Without it the gradient reaches the layers below through that
            block's convolutions alone.
    """

    stem: tuple[int, int] = (16, 32)
    stages: tuple[Stage, ...] = (Stage(32, 1, stride=1), Stage(64, 2), Stage(128, 2), Stage(192, 2))
    merged: int = 64
    extras: tuple[int, ...] = (128, 128, 128)
    projected: bool = False


FINE = ResidualLayout()
"""`residual-fine`, trained from random weights."""
FINE2 = ResidualLayout(stages=(Stage(32, 1, stride=1), Stage(64, 2), Stage(128, 2), Stage(256, 2)), projected=True)
"""`residual-fine2`, for pre-training: a shortcut in every block, and a wider last stage."""
LAYOUTS = {"residual-fine": FINE, "residual-fine2": FINE2}


class ResidualPyramid(Backbone):
    """The feature maps of stride 8, 16 and 32, and one for each extra layer."""

    def __init__(self, layout: ResidualLayout = FINE) -> None:
        super().__init__()
        first, second = layout.stem
        self.stem = nn.Sequential(_convolution(3, first, stride=2), _convolution(first, second, stride=2))
        widths = [second, *(stage.width for stage in layout.stages)]
        self.stages = nn.ModuleList()
        for stage, width in zip(layout.stages, widths, strict=False):
            later = [_Residual(stage.width, stage.width, 1, layout.projected) for _ in range(stage.blocks - 1)]
            self.stages.append(nn.Sequential(_Residual(width, stage.width, stage.stride, layout.projected), *later))
        self.lateral = nn.ModuleList(
            _convolution(width, layout.merged, kernel=1, activated=False) for width in widths[-3:]
        )
        self.enlarge = NearestResize()
        self.smooth = nn.ModuleList(_convolution(layout.merged, layout.merged) for _ in range(2))
        inputs = (widths[-1], *layout.extras)
        self.extras = nn.ModuleList(
            nn.Sequential(_convolution(channels, out // 2, kernel=1), _convolution(out // 2, out, stride=2))
            for channels, out in zip(inputs, layout.extras, strict=False)
        )
        self.channels = (layout.merged, layout.merged, *inputs)
        # The stem halves twice, then each stage that strides, then each extra map.
        halved = [2 + sum(stage.stride == 2 for stage in layout.stages[: end + 1]) for end in range(len(layout.stages))]
        self.halvings = (*halved[-3:], *range(halved[-1] + 1, halved[-1] + 1 + len(layout.extras)))
        initialise(self)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute one map (B, channels[i], h_i, w_i) for each anchor level, finest first."""
        return self.maps_of(self.stages_of(images))

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return the stem, then each stage."""
        return [[self.stem], *([stage] for stage in self.stages)]

    def stages_of(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the output of each stage, finest first, before the merge."""
        x, stages = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        return stages

    def maps_of(self, stages: list[Tensor]) -> tuple[Tensor, ...]:
        """Merge the outputs of the stages into the feature maps."""
        x = stages[-1]
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, stages[-3:], strict=True))
        middle = F.relu(middle + self.enlarge(coarse, (middle.shape[2], middle.shape[3])))
        fine = F.relu(fine + self.enlarge(middle, (fine.shape[2], fine.shape[3])))
        maps = [self.smooth[0](fine), self.smooth[1](middle), x]
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return tuple(maps)


class ResidualSkips(ResidualPyramid):
    """The same backbone for segmentation: stage 1's map of stride 4, then the merged ones of stride 8, 16 and 32.

    Layers have the same names as in `ResidualPyramid`, so that weights of one fit the other.
    """

    def __init__(self, layout: ResidualLayout = FINE) -> None:
        super().__init__(replace(layout, extras=()))
        self.channels = (layout.stages[0].width, *self.channels)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Compute four maps (B, channels[i], h_i, w_i), finest first."""
        stages = self.stages_of(images)
        return (stages[0], *self.maps_of(stages))


class _Residual(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, width, stride=stride)
        self.second = _convolution(width, width, activated=False)
        self.added = stride == 1 and channels == width
        self.shortcut = None
        if projected and not self.added:
            # An odd side is rounded up, as by the strided convolution; a window at the edge averages what it has.
            halving = [nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)] if stride > 1 else []
            self.shortcut = nn.Sequential(*halving, *_convolution(channels, width, kernel=1, activated=False))

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        out = self.second(self.first(features))
        if self.shortcut is not None:
            out = out + self.shortcut(features)
        return F.relu(features + out if self.added else out)


def _convolution(channels: int, out: int, *, kernel: int = 3, stride: int = 1, activated: bool = True) -> nn.Sequential:
    layers = [Convolution(channels, out, kernel, stride, kernel // 2, bias=False), BatchNorm(out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activated else []))

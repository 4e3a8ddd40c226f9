"""The light FCN: the skips of FCN-8s on a trunk that trains from nothing on two cores.

It departs from the published network in one place. There, each map is scored and scores are added; a light trunk's
maps are too poor for that when nothing was pre-trained. Here each map is brought to a few channels, these are doubled
and added from coarse to fine, mixed by one 3×3 convolution, and scored once: at stride 8 on MobileNetV3, at stride 4
on the residual trunk, which has such a map to give. Scores are enlarged bilinearly, with edges held, so that any
picture comes back at its own size without padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones.batch_norm import BatchNorm
from singleshot.backbones.mobilenet import initialise


class LightHead(nn.Module):
    """Skips and scores for `classes` classes on a trunk whose maps have these channels, finest first."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        # Four times the cells where the trunk has a map of stride 4, so half the width there.
        width = 64 if len(channels) == 3 else 32
        self.lateral = nn.ModuleList(_normed(each, width, 1) for each in channels)
        self.mix = nn.Sequential(_normed(width, width, 3), nn.ReLU(inplace=True))
        self.score = nn.Conv2d(width, classes, 1)
        initialise(self.lateral)
        initialise(self.mix)
        nn.init.normal_(self.score.weight, std=0.03)
        nn.init.zeros_(self.score.get_parameter("bias"))

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Scores of that size."""
        narrow = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        merged = narrow[-1]
        for finer in reversed(narrow[:-1]):
            merged = finer + _enlarged(merged, (finer.shape[2], finer.shape[3]))
        scores = self.score(self.mix(F.relu(merged)))
        # Made float and plane by plane while small: the loss walks over planes, and turning 64 times the cells around
        # there would cost a fifth of a training step.
        return _enlarged(scores.float().contiguous(), size_hw)


def _normed(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), BatchNorm(out))


def _enlarged(coarse: Float[Tensor, "B C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    return F.interpolate(coarse, size=size_hw, mode="bilinear", align_corners=False)

"""Teach a light backbone the features of a larger network on images without labels.

Each map of the backbone (strides 4, 8, 16, 32) is brought to the teacher's channels by a 1×1 convolution and compared
with the teacher's map of the same stride, whose channels are standardised by their mean and deviation over the batch,
by smooth L1. Teacher and student see the very same crop. Every crop is mixed with another of its batch, by a share that
is drawn evenly from 0…1: more images are made of few.

Sources: Romero et al. 2014 (FitNets) for regression of features; Beyer et al. 2021 for equal crops, mixing and
patience; Ranzinger et al. 2024 (PHI-S) for standardised channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from singleshot.backbones.residual import LAYOUTS, ResidualPyramid
from singleshot.config import Above, AtLeast, Config, HalfOpen, Range
from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import CropSampler
from singleshot.preprocess import Preprocess, normalise
from singleshot.pretraining.teachers import STRIDES

CROPS = Augmentation(
    expand_probability=0.0,
    samplers=(CropSampler(scale=(0.3, 1.0), aspect_ratio=(0.75, 1.33)),),
    interpolations=("linear",),
)
"""Crops of 9 to 100 % of the image, mirrored and with other colours."""


@dataclass(frozen=True)
class PretrainConfig(Config, name="pretrain"):
    """Every choice of a pre-training. At most one of `steps`, `epochs` and `minutes` limits it."""

    backbone: Literal["residual-fine2", "residual-fine"] = "residual-fine2"
    """The backbone to train."""
    size: Annotated[int, AtLeast(64)] = 256
    """Height and width of a crop, in pixels."""
    batch_size: Annotated[int, AtLeast(2)] = 16
    """Crops per step."""
    epochs: Annotated[int, AtLeast(1)] | None = None
    """Passes over the images."""
    steps: Annotated[int, AtLeast(1)] | None = None
    """Optimizer steps."""
    minutes: Annotated[float, Above(0)] | None = None
    """Time to train: the number of steps that fit is measured on the first ones, and stored."""
    mix: bool = True
    """Mix every crop with another one of its batch."""
    lr: Annotated[float, Above(0)] = 2e-3
    """Highest learning rate of AdamW; it rises over `warmup_steps` and falls to 0 by a cosine."""
    weight_decay: Annotated[float, AtLeast(0)] = 0.02
    """Of weights; norm layers and biases have none."""
    warmup_steps: Annotated[int, AtLeast(0)] = 300
    """Steps over which the learning rate rises."""
    ema_decay: Annotated[float, HalfOpen(0, 1)] = 0.999
    """Decay of the moving average of the weights, which is saved."""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Settles the first weights, order, crops and mixing."""


class Distillation(nn.Module):
    """A backbone with what compares its maps with a teacher's. The teacher itself is not part of it.

    Args:
        backbone: a name out of `LAYOUTS`.
        teacher_channels: of the teacher's maps, finest first.
    """

    def __init__(self, backbone: str, teacher_channels: Sequence[int]) -> None:
        super().__init__()
        layout = LAYOUTS[backbone]
        self.backbone = ResidualPyramid(layout)
        for unused in ("lateral", "smooth", "extras"):  # they belong to a detector
            delattr(self.backbone, unused)
        widths = [stage.width for stage in layout.stages]
        self.projections = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width, channels in zip(widths, teacher_channels, strict=True)
        )

    def forward(
        self, images: Float[Tensor, "B 3 H W"], teacher_maps: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> dict[str, Tensor]:
        """Return the loss of each level, by its stride; their sum is the loss."""
        maps = self.backbone.stages_of(images)
        losses: dict[str, Tensor] = {}
        for stride, projection, x, wanted in zip(STRIDES, self.projections, maps, teacher_maps, strict=True):
            standardised = F.batch_norm(wanted.float(), None, None, training=True)  # by this batch's mean and deviation
            losses[f"stride {stride}"] = F.smooth_l1_loss(projection(x).float(), standardised)
        return losses


def mixed(
    images: UInt8[Tensor, "B S S 3"], student: Preprocess, teacher: Preprocess, config: PretrainConfig, step: int
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 3 S S"]]:
    """Normalise crops for the student and for the teacher, and mix each crop with another one of the batch.

    Partners and shares depend on seed and step alone, and are the same for both.
    """
    own, other = normalise(images, student), normalise(images, teacher)
    if config.mix:
        rng = np.random.default_rng((config.seed, step))
        share = torch.from_numpy(rng.random(len(images), dtype=np.float32)).to(images.device, non_blocking=True)
        share = share[:, None, None, None]
        partner = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
        own, other = torch.lerp(own[partner], own, share), torch.lerp(other[partner], other, share)
    return own, other

"""Teach a light backbone the features of a larger network on images without labels.

Each map of the backbone (strides 4, 8, 16, 32) is brought to the teacher's channels by a 1×1 convolution and compared
with the teacher's map of the same stride, whose channels are standardised by their mean and deviation over the batch,
by smooth L1. A second teacher has 1×1 convolutions of its own. All networks see the very same crop. Every crop is mixed
with another of its batch, by a share that is drawn evenly from 0…1: more images are made of few.

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
    """A backbone with what compares its maps with those of teachers. The teachers themselves are not part of it.

    Args:
        backbone: a name out of `LAYOUTS`.
        targets: stride and channels of each teacher's maps.
    """

    def __init__(self, backbone: str, targets: Sequence[Sequence[tuple[int, int]]]) -> None:
        super().__init__()
        layout = LAYOUTS[backbone]
        self.backbone = ResidualPyramid(layout)
        for unused in ("lateral", "smooth", "extras"):  # they belong to a detector
            delattr(self.backbone, unused)
        widths = dict(zip(STRIDES, (stage.width for stage in layout.stages), strict=True))
        maps = [(teacher, stride, channels) for teacher, each in enumerate(targets) for stride, channels in each]
        self.projections = nn.ModuleList(nn.Conv2d(widths[stride], channels, 1) for _, stride, channels in maps)
        self.levels = {
            f"stride {stride}" if teacher == 0 else f"stride {stride}, teacher {teacher + 1}": stride
            for teacher, stride, _ in maps
        }

    def forward(
        self, images: Float[Tensor, "B 3 H W"], teacher_maps: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> dict[str, Tensor]:
        """Return the loss of each level, such as `stride 8`; their sum is the loss.

        Args:
            images: normalised for the backbone.
            teacher_maps: of all teachers, in the order of `targets`.
        """
        maps = dict(zip(STRIDES, self.backbone.stages_of(images), strict=True))
        losses: dict[str, Tensor] = {}
        for (level, stride), projection, wanted in zip(
            self.levels.items(), self.projections, teacher_maps, strict=True
        ):
            standardised = F.batch_norm(wanted.float(), None, None, training=True)  # by this batch's mean and deviation
            losses[level] = F.smooth_l1_loss(projection(maps[stride]).float(), standardised)
        return losses


def mixed(
    images: UInt8[Tensor, "B S S 3"], preprocesses: Sequence[Preprocess], config: PretrainConfig, step: int
) -> list[Float[Tensor, "B 3 S S"]]:
    """Normalise crops for each network, and mix each crop with another one of the batch.

    Partners and shares depend on seed and step alone, and are the same for all.
    """
    normalised = [normalise(images, each) for each in preprocesses]
    if not config.mix:
        return normalised
    rng = np.random.default_rng((config.seed, step))
    share = torch.from_numpy(rng.random(len(images), dtype=np.float32)).to(images.device, non_blocking=True)
    share = share[:, None, None, None]
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
    return [torch.lerp(each[partner], each, share) for each in normalised]

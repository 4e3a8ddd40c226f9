"""FCN: a trunk that was made for classifying whole pictures, run over all of it, and its scores enlarged to pixels.

Three ways from the maps of stride 8, 16 and 32 to the picture's size:

    staged      Berkeley's FCN-8s, 16s, 32s: the picture is padded by 100, scores are doubled, cropped and added one
                after the other by frozen bilinear kernels, and cropped to the picture
    parallel    the 2017 post's: SAME padding, three heads enlarged ×8, ×16, ×32 by trained kernels, weighed 1, 2, 4
    light       ours: the same skips on a light trunk with narrow features, which are added before they are scored

Whichever it is, any picture goes in (one pixel and more) and scores of exactly its size come out.
Sources: shelhamer/fcn.berkeleyvision.org (`voc-fcn8s/net.py`), Long et al. 2015; the post and its network of 2017.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot import config
from singleshot.backbones.fine import FineSkips
from singleshot.backbones.freezing import Freezable
from singleshot.backbones.mobilenet import MobileNetSkips
from singleshot.backbones.vgg import plain_vgg16
from singleshot.errors import ConfigError
from singleshot.preprocess import Fit, Preprocess
from singleshot.segmentation.light import LightHead
from singleshot.segmentation.presets import FLAVOURS, Trunk, Variant
from singleshot.segmentation.upsampling import TrainedUpsampling, enlarge_bilinearly
from singleshot.structures import LabelMap

PADDING = 99  # and 1 in conv1_1 itself: the reference's 100
# Where the reference's crop layers begin: the offsets of `crop` in its three networks.
CROP_POOL4, CROP_POOL3 = 5, 9
CROP_PICTURE = {8: 31, 16: 27, 32: 19}


@dataclass(frozen=True)
class FCNConfig:
    """Everything that a segmenter is, save its weights. `config_for` fills it.

    Args:
        flavour: the preset that it came from, for people to read; nothing is looked up by it.
        class_names: in the order of class ids; whatever is not void is a class, background too.
        colours: (C, 3) RGB by class id, for drawing; empty for colours of our own.
        variant: how scores become pixels, see above.
        trunk: the network below.
        stride: of the finest map that is scored, 8, 16 or 32; only `staged` has a choice.
        preprocess: how pictures become the input.

    Raises:
        ConfigError: fewer than two classes, more than 250, colours for other than all, or a trunk that the variant
            cannot use.
    """

    flavour: str
    class_names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()
    variant: Variant = "staged"
    trunk: Trunk = "vgg16"
    stride: Literal[8, 16, 32] = 8
    preprocess: Preprocess = field(default_factory=Preprocess)

    def __post_init__(self) -> None:
        if not 2 <= len(self.class_names) <= 250:  # an id is a byte, and the last few have meanings of their own
            raise ConfigError(f"{len(self.class_names)} classes of pixels", remedy="Give 2 to 250 class names")
        if self.colours and len(self.colours) != len(self.class_names):
            what = f"{len(self.colours)} colours for {len(self.class_names)} classes"
            raise ConfigError(what, remedy="Give a colour for each class, or none")
        if (self.variant == "light") == (self.trunk == "vgg16") or (self.stride != 8 and self.variant != "staged"):
            raise ConfigError(f"variant {self.variant} has no trunk {self.trunk} at stride {self.stride}")

    @property
    def label_map(self) -> LabelMap:
        """Class names by id. Raises DataError where a name is empty or occurs twice."""
        return LabelMap(self.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width to which pictures are brought."""
        return self.preprocess.size_hw

    def to_json_dict(self) -> dict[str, Any]:
        """The config as JSON holds it."""
        return config.to_json_dict(self)

    @staticmethod
    def from_json_dict(data: Any) -> FCNConfig:
        """The inverse of `to_json_dict`. Raises ConfigError on unknown, missing or mistyped fields."""
        return config.from_json_dict(FCNConfig, data)


def config_for(
    flavour: str,
    class_names: Sequence[str],
    input_size_hw: tuple[int, int] | None = None,
    colours: Sequence[tuple[int, int, int]] = (),
    fit: Fit = "warp",
) -> FCNConfig:
    """The config of a flavour for some classes.

    Args:
        flavour: a name out of `presets.FLAVOURS`.
        class_names: see `FCNConfig`.
        input_size_hw: another input than the flavour's own.
        colours: see `FCNConfig`.
        fit: how pictures come to the input, see `Preprocess`.

    Raises:
        ConfigError: the flavour is unknown, or what `FCNConfig` says.
    """
    if flavour not in FLAVOURS:
        near = difflib.get_close_matches(flavour, FLAVOURS, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Known ones: {', '.join(FLAVOURS)}"
        raise ConfigError(f"unknown flavour {flavour!r}", remedy=remedy)
    preset = FLAVOURS[flavour]
    preprocess = Preprocess(input_size_hw or preset.size_hw, preset.mean_rgb, preset.std_rgb, fit=fit)
    return FCNConfig(
        flavour, tuple(class_names), tuple(colours), preset.variant, preset.trunk, preset.stride, preprocess
    )


class FCN(Freezable):
    """The segmenter. Build it from a config; parameters start as their papers say, for training."""

    def __init__(self, config: FCNConfig) -> None:
        super().__init__()
        self.config = config
        classes = len(config.class_names)
        self.padding = PADDING if config.variant == "staged" else 0
        channels: tuple[int, ...] = (256, 512, 4096)
        if config.trunk == "vgg16":
            self.trunk = plain_vgg16(fc6_padding=0 if config.variant == "staged" else 3)
        elif config.trunk == "mobilenetv3-large":
            self.trunk = MobileNetSkips()
            channels = self.trunk.channels
        else:
            self.trunk = FineSkips()
            channels = self.trunk.channels
        if config.variant == "staged":
            self.head = StagedHead(classes, config.stride)
        elif config.variant == "parallel":
            self.head = ParallelHead(classes)
        else:
            self.head = LightHead(channels, classes)

    @property
    def class_layers(self) -> dict[str, int]:
        """The layers that have a row for each class, by name, with 1 for each: rows are of no anchor."""
        # By name and not by width: a feature layer may be as wide as there are classes.
        pattern = re.compile(r"\.(score\w*|scores\.\d+)$")
        layers = self.named_modules()
        return {name: 1 for name, layer in layers if isinstance(layer, nn.Conv2d) and pattern.search(name)}

    @property
    def class_rows(self) -> dict[str, int]:
        """The row of each class, by class name."""
        return {name: row for row, name in enumerate(self.config.class_names)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Class logits of every pixel, float32 whatever precision the network computes in.

        Args:
            images: normalised as `config.preprocess` says, of any size. B may be 0 in evaluation.
        """
        maps = self.trunk(F.pad(images, (self.padding,) * 4) if self.padding else images)
        return self.head(maps, (images.shape[2], images.shape[3])).float()


class StagedHead(nn.Module):
    """Berkeley's: `stride` 32 scores fc7 alone, 16 adds pool4, 8 adds pool3.

    Scores start at 0, so that their first gradient is that of a linear classifier.
    """

    def __init__(self, classes: int, stride: int = 8) -> None:
        super().__init__()
        self.stride = stride
        self.score_fc7 = _zeroed(nn.Conv2d(4096, classes, 1))
        self.score_pool4 = _zeroed(nn.Conv2d(512, classes, 1)) if stride <= 16 else None
        self.score_pool3 = _zeroed(nn.Conv2d(256, classes, 1)) if stride == 8 else None

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Scores of the size of the pictures, which went into the trunk padded by 100."""
        pool3, pool4, fc7 = maps
        scores = self.score_fc7(fc7)
        if self.score_pool4 is not None:
            doubled = enlarge_bilinearly(scores, 2)
            scores = doubled + _crop(self.score_pool4(pool4), CROP_POOL4, _size(doubled))
        if self.score_pool3 is not None:
            doubled = enlarge_bilinearly(scores, 2)
            scores = doubled + _crop(self.score_pool3(pool3), CROP_POOL3, _size(doubled))
        return _crop(enlarge_bilinearly(scores, self.stride), CROP_PICTURE[self.stride], size_hw)


class ParallelHead(nn.Module):
    """The 2017 post's: pool3, pool4 and fc7 scored and enlarged each by itself, added with weights 1, 2, 4."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scores = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in (256, 512, 4096))
        self.enlarge = nn.ModuleList(TrainedUpsampling(classes, factor) for factor in (8, 16, 32))
        for layer in self.scores:
            nn.init.trunc_normal_(layer.get_parameter("weight"), std=0.1, a=-0.2, b=0.2)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Scores of the pictures' own size; SAME padding is at the bottom and right, so the crop keeps the top left."""
        parts = [
            _crop(enlarge(score(features)), 0, size_hw)
            for enlarge, score, features in zip(self.enlarge, self.scores, maps, strict=True)
        ]
        return parts[0] + 2 * parts[1] + 4 * parts[2]


def _crop(features: Float[Tensor, "B C h w"], offset: int, size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """The part of that size that begins at `offset` in both directions."""
    height, width = size_hw
    return features[:, :, offset : offset + height, offset : offset + width]


def _size(features: Float[Tensor, "B C h w"]) -> tuple[int, int]:
    return features.shape[2], features.shape[3]


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

"""FCN: a classification backbone applied to a whole image, and its scores enlarged to pixels.

Three ways from the maps of stride 8, 16 and 32 to the image's size:

    staged      Berkeley's FCN-8s, 16s, 32s: the image is padded by 100, scores are doubled, cropped and added one
                after the other by frozen bilinear kernels, and cropped to the image
    parallel    the 2017 post's: SAME padding, three heads enlarged ×8, ×16, ×32 by trained kernels, weighted 1, 2, 4
    light       our own: the same skips on a light backbone with narrow features, which are added before they are scored

All of them take any image (one pixel and more) and return scores of exactly its size. Scores are enlarged by
transposed convolution with a bilinear kernel: 2f taps at stride f that are a triangle in each direction interpolate
linearly between cells (Long et al. 2015, section 3.3).

`FCNConfig` is all that it takes to build the network again; `MODELS` are the configs that have names: `fcn8s`,
`fcn16s` and `fcn32s` are Berkeley's, `fcn8s-2017` is the network of the 2017 post, and the two light ones are our own,
for machines without a GPU.
Sources: shelhamer/fcn.berkeleyvision.org (`voc-fcn8s/net.py`), Long et al. 2015; the post and its network of 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones import residual
from singleshot.backbones.freezing import Backbone, Freezable
from singleshot.backbones.layers import BatchNorm
from singleshot.backbones.mobilenet import MobileNetSkips, initialise
from singleshot.backbones.residual import ResidualSkips
from singleshot.backbones.vgg import plain_vgg16
from singleshot.config import Config, from_json_dict, to_json_dict
from singleshot.errors import ConfigError, nearest
from singleshot.preprocess import LONGEST_SIDE, Fit, Preprocess
from singleshot.structures import LabelMap

Variant = Literal["staged", "parallel", "light"]
BackboneName = Literal["vgg16", "mobilenetv3-large", "residual-fine", "residual-fine2"]
Stride = Literal[8, 16, 32]
Colour = tuple[float, float, float]
PADDING = 99  # and 1 in conv1_1 itself: the reference's 100
# Where the reference's crop layers begin: the offsets of `crop` in its three networks.
CROP_POOL4, CROP_POOL3 = 5, 9
CROP_IMAGE = {8: 31, 16: 27, 32: 19}


@dataclass(frozen=True)
class FCNConfig(Config):
    """Everything that a segmenter is, except its weights. `config_for` fills it. Its fields are those of the file.

    Raises:
        ConfigError: fewer than two classes, more than 250, colours for only some classes, or a backbone that the
            variant cannot use.
    """

    task: ClassVar[Literal["segmentation"]] = "segmentation"
    flavour: str
    """Name of the model that it was made from, for people to read; nothing is looked up by it."""
    class_names: tuple[str, ...]
    """In the order of class ids; everything except void is a class, background too."""
    colours: tuple[tuple[int, int, int], ...] = ()
    """RGB of each class id, for drawing; empty for default colours."""
    variant: Variant = "staged"
    """How scores become pixels."""
    trunk: BackboneName = "vgg16"
    """The backbone."""
    stride: Stride = 8
    """Of the finest map that is scored; only staged has a choice."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """How images become the input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= len(self.class_names) <= 250:  # an id is a byte, and the last few have meanings of their own
            raise ConfigError(f"{len(self.class_names)} classes of pixels", remedy="Give 2 to 250 class names")
        if self.colours and len(self.colours) != len(self.class_names):
            message = f"{len(self.colours)} colours for {len(self.class_names)} classes"
            raise ConfigError(message, remedy="Give a colour for each class, or none")
        if (self.variant == "light") == (self.trunk == "vgg16") or (self.stride != 8 and self.variant != "staged"):
            raise ConfigError(f"variant {self.variant} has no backbone {self.trunk} at stride {self.stride}")

    @property
    def model(self) -> str:
        """Name of the model that it was made from."""
        return self.flavour

    @property
    def backbone(self) -> BackboneName:
        """Name of the backbone."""
        return self.trunk

    @property
    def label_map(self) -> LabelMap:
        """Class names by id. Raises DataError for a name that is empty or occurs twice."""
        return LabelMap(self.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width to which images are brought."""
        return self.preprocess.size_hw

    def check_limits(self) -> None:
        """Raise ConfigError where the network would take all memory before anything else could be checked."""
        if max(self.input_size_hw) > LONGEST_SIDE:
            raise ConfigError(f"an input of {self.input_size_hw} is not a segmenter's")

    def build(self) -> FCN:
        """Build the network."""
        return FCN(self)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the config as JSON stores it."""
        return to_json_dict(self)

    @staticmethod
    def from_json_dict(data: Any) -> FCNConfig:
        """Make a config from what `to_json_dict` returned. Raises ConfigError for a wrong field."""
        return from_json_dict(FCNConfig, data)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A named segmenter; the fields are those of `FCNConfig`."""

    variant: Variant
    backbone: BackboneName = "vgg16"
    stride: Stride = 8
    size_hw: tuple[int, int] = (384, 512)
    mean_rgb: Colour = (122.67892, 116.66877, 104.00699)
    std_rgb: Colour = (1.0, 1.0, 1.0)


_GREY: Colour = (127.5, 127.5, 127.5)
MODELS: dict[str, Model] = {
    "fcn8s": Model(variant="staged"),
    "fcn16s": Model(variant="staged", stride=16),
    "fcn32s": Model(variant="staged", stride=32),
    "fcn8s-2017": Model(variant="parallel", size_hw=(160, 576)),
    "fcn8s-lite": Model(variant="light", backbone="mobilenetv3-large", mean_rgb=_GREY, std_rgb=_GREY),
    "fcn8s-fine": Model(variant="light", backbone="residual-fine", mean_rgb=_GREY, std_rgb=_GREY),
    "fcn8s-fine2": Model(variant="light", backbone="residual-fine2", mean_rgb=_GREY, std_rgb=_GREY),
}


def config_for(
    model: str,
    class_names: Sequence[str],
    input_size_hw: tuple[int, int] | None = None,
    colours: Sequence[tuple[int, int, int]] = (),
    fit: Fit = "warp",
) -> FCNConfig:
    """Return the config of a model for some classes.

    Args:
        model: a name out of `MODELS`.
        class_names: see `FCNConfig`.
        input_size_hw: another input than the model's own.
        colours: see `FCNConfig`.
        fit: how images come to the input, see `Preprocess`.

    Raises:
        ConfigError: the model is unknown, or as `FCNConfig` raises it.
    """
    if model not in MODELS:
        near = nearest(model, MODELS)
        remedy = f"Did you mean {near}?" if near else f"Known ones: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model {model!r}", remedy=remedy)
    made = MODELS[model]
    preprocess = Preprocess(input_size_hw or made.size_hw, made.mean_rgb, made.std_rgb, fit=fit)
    return FCNConfig(model, tuple(class_names), tuple(colours), made.variant, made.backbone, made.stride, preprocess)


class FCN(Freezable):
    """The segmenter. Build it from a config; parameters start as their papers say, for training."""

    task: ClassVar[Literal["segmentation"]] = "segmentation"

    def __init__(self, config: FCNConfig) -> None:
        super().__init__()
        self.config = config
        classes = len(config.class_names)
        self.padding = PADDING if config.variant == "staged" else 0
        if config.trunk == "vgg16":
            # The name in stored files is trunk.
            self.trunk: Backbone = plain_vgg16(fc6_padding=0 if config.variant == "staged" else 3)
        elif config.trunk in residual.LAYOUTS:
            self.trunk = ResidualSkips(residual.LAYOUTS[config.trunk])
        else:
            self.trunk = MobileNetSkips()
        if config.variant == "staged":
            self.head = StagedHead(classes, config.stride)
        elif config.variant == "parallel":
            self.head = ParallelHead(classes)
        else:
            self.head = LightHead(self.trunk.channels, classes)

    @property
    def backbone(self) -> Backbone:
        """The network below the head."""
        return self.trunk

    @property
    def class_layers(self) -> dict[str, int]:
        """The layers that have a row for each class, by name, with 1 for each: there are no anchors."""
        return {f"head.{name}": 1 for name in self.head.score_layers()}

    @property
    def class_rows(self) -> dict[str, int]:
        """The row of each class, by class name."""
        return {name: row for row, name in enumerate(self.config.class_names)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Compute class logits of every pixel, float32 whatever precision the network computes in.

        Args:
            images: normalised by `config.preprocess`, of any size. B may be 0 in evaluation.
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

    def score_layers(self) -> list[str]:
        """Name the layers that score classes."""
        return [name for name, _ in self.named_children()]

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Compute scores of the size of the images, which went into the backbone padded by 100."""
        pool3, pool4, fc7 = maps
        scores = self.score_fc7(fc7)
        if self.score_pool4 is not None:
            doubled = enlarge_bilinearly(scores, 2)
            scores = doubled + _crop(self.score_pool4(pool4), CROP_POOL4, _size_hw(doubled))
        if self.score_pool3 is not None:
            doubled = enlarge_bilinearly(scores, 2)
            scores = doubled + _crop(self.score_pool3(pool3), CROP_POOL3, _size_hw(doubled))
        return _crop(enlarge_bilinearly(scores, self.stride), CROP_IMAGE[self.stride], size_hw)


class ParallelHead(nn.Module):
    """The 2017 post's: pool3, pool4 and fc7 scored and enlarged each by itself, added with weights 1, 2, 4."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scores = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in (256, 512, 4096))
        self.enlarge = nn.ModuleList(TrainedUpsampling(classes, factor) for factor in (8, 16, 32))
        for layer in self.scores:
            nn.init.trunc_normal_(layer.get_parameter("weight"), std=0.1, a=-0.2, b=0.2)
            nn.init.zeros_(layer.get_parameter("bias"))

    def score_layers(self) -> list[str]:
        """Name the layers that score classes. `enlarge` is not among them: it mixes each class with each."""
        return [f"scores.{index}" for index in range(len(self.scores))]

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Compute scores of the images' own size; SAME padding is at bottom and right, so the crop is the top left."""
        parts = [
            _crop(enlarge(score(features)), 0, size_hw)
            for enlarge, score, features in zip(self.enlarge, self.scores, maps, strict=True)
        ]
        return parts[0] + 2 * parts[1] + 4 * parts[2]


class LightHead(nn.Module):
    """Our own: the skips of FCN-8s on a backbone that trains from scratch on two cores.

    It differs from the published network in one point. There, each map is scored and scores are added; a light
    backbone's maps are too poor for that without pre-training. Here each map is brought to a few channels, these are
    doubled and added from coarse to fine, mixed by one 3×3 convolution, and scored once: at stride 8 on MobileNetV3,
    at stride 4 on the residual backbone, which has such a map. Scores are enlarged bilinearly without padding, with
    edge cells repeated.

    Args:
        channels: of the backbone's maps, finest first.
        classes: number of classes.
    """

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        # Four times the cells if the backbone has a map of stride 4, so half the width there.
        width = 64 if len(channels) == 3 else 32
        self.lateral = nn.ModuleList(_normed(each, width, 1) for each in channels)
        self.mix = nn.Sequential(_normed(width, width, 3), nn.ReLU(inplace=True))
        self.score = nn.Conv2d(width, classes, 1)
        initialise(self.lateral)
        initialise(self.mix)
        nn.init.normal_(self.score.weight, std=0.03)
        nn.init.zeros_(self.score.get_parameter("bias"))

    def score_layers(self) -> list[str]:
        """Name the layer that scores classes."""
        return ["score"]

    def forward(self, maps: tuple[Tensor, ...], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """Compute scores of that size."""
        narrow = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        merged = narrow[-1]
        for finer in reversed(narrow[:-1]):
            merged = finer + _enlarged(merged, (finer.shape[2], finer.shape[3]))
        scores = self.score(self.mix(F.relu(merged)))
        # Made float and contiguous by class while small: the loss reads class by class, and reordering 64 times the
        # cells there would cost a fifth of a training step.
        return _enlarged(scores.float().contiguous(), size_hw)


def bilinear_kernel(factor: int, device: torch.device | None = None) -> Float[Tensor, "K K"]:
    """Return the triangle of side K = 2·factor − factor mod 2 whose copies, `factor` apart, add up to 1.

    >>> bilinear_kernel(2)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    side = 2 * factor - factor % 2
    centre = (side - 1) / 2
    line = 1 - (torch.arange(side, device=device) - centre).abs() / factor
    return line[:, None] * line


def enlarge_bilinearly(scores: Float[Tensor, "B C h w"], factor: int) -> Float[Tensor, "B C H W"]:
    """Enlarge each class by itself, without parameters: (h, w) becomes (f·h + f, f·w + f), uncropped as in Caffe.

    The reference has the same numbers in a kernel from every class to every class, nearly all of them zero.
    """
    classes = scores.shape[1]
    scores = _exact(scores)
    with _without_autocast(scores.device):
        # Made on the device: a copy from the host would wait for everything that is queued on the device.
        kernel = bilinear_kernel(factor, scores.device).to(scores.dtype).expand(classes, 1, -1, -1)
        return F.conv_transpose2d(scores, kernel, stride=factor, groups=classes)


class TrainedUpsampling(nn.ConvTranspose2d):
    """Enlarge ×`factor` with TensorFlow's SAME padding: (h, w) becomes (f·h, f·w). Starts bilinear, class by class."""

    def __init__(self, classes: int, factor: int) -> None:
        side = 2 * factor - factor % 2
        super().__init__(classes, classes, side, stride=factor, padding=(side - factor) // 2, bias=False)
        with torch.no_grad():
            self.weight.zero_()
            diagonal = torch.arange(classes)
            self.weight[diagonal, diagonal] = bilinear_kernel(factor)


def _crop(features: Float[Tensor, "B C h w"], offset: int, size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Return the part of that size that begins at `offset` in both directions."""
    height, width = size_hw
    return features[:, :, offset : offset + height, offset : offset + width]


def _size_hw(features: Float[Tensor, "B C h w"]) -> tuple[int, int]:
    return features.shape[2], features.shape[3]


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _exact(scores: Tensor) -> Tensor:
    """Return scores in fp32 under autocast, in which interpolated ones would have the three digits of bf16."""
    return scores.float() if _in_autocast(scores.device) else scores


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, enabled=False) if _in_autocast(device) else nullcontext()


def _in_autocast(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def _normed(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), BatchNorm(out))


def _enlarged(coarse: Float[Tensor, "B C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    coarse = _exact(coarse)
    with _without_autocast(coarse.device):
        return F.interpolate(coarse, size=size_hw, mode="bilinear", align_corners=False)

"""SSD: a backbone's feature maps, and on each map one head for classes and one for boxes.

One `forward` with one return type in every mode. Losses, matching, NMS and pixels are separate: they are functions of
`RawDetections` and of the anchors that are stored here. `SSDConfig` is all that it takes to build the network again,
and travels with the weights; `MODELS` are the configs that have names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from singleshot.backbones import residual
from singleshot.backbones.blank import without_memory
from singleshot.backbones.freezing import Backbone, Freezable
from singleshot.backbones.mobilenet import MobileNetPyramid, separable_head
from singleshot.backbones.mobilenet_v2 import MobileNetV2Pyramid, Padding
from singleshot.backbones.residual import ResidualPyramid
from singleshot.backbones.vgg import Norm, VGGPyramid, xavier_as_caffe
from singleshot.config import ADDED, Config, Range, from_json_dict, to_json_dict
from singleshot.detection import anchors as presets
from singleshot.detection.anchors import AnchorLevel, AnchorPreset, Clip, anchors_cxcywh
from singleshot.detection.coding import RawDetections, Scores
from singleshot.detection.postprocess import Postprocess
from singleshot.errors import ConfigError, nearest
from singleshot.preprocess import LONGEST_SIDE, Fit, Preprocess
from singleshot.structures import LabelMap

BackboneName = Literal["vgg16", "mobilenetv3-large", "residual-fine", "residual-fine2", "mobilenetv2"]
Extras = Literal["caffe-300", "caffe-512", "2017-300", "2017-512", "built-in"]
Heads = Literal["conv3x3", "separable", "conv1x1"]
Score = Annotated[float, Range(0, 1)]
Colour = tuple[float, float, float]
MOST_BOXES, MOST_DETECTIONS = 5_000_000, 1_000_000
"""Limits of a stored config, beside `preprocess.LONGEST_SIDE`."""


@dataclass(frozen=True)
class SSDConfig(Config):
    """Everything that a detector is, except its weights. `config_for` fills it. Its fields are those of the file.

    Raises:
        ConfigError: there are no classes, or an unnamed slot is not a column.
    """

    task: ClassVar[Literal["detection"]] = "detection"
    flavour: str
    """Name of the model that it was made from, for people to read; nothing is looked up by it."""
    class_names: tuple[str, ...]
    """Without the background, in the order of class ids."""
    anchors: tuple[AnchorLevel, ...]
    """One level for each feature map."""
    clip_anchors: Clip = "none"
    """Limits of the anchors; see `anchors_cxcywh`."""
    trunk: BackboneName = "vgg16"
    """The backbone."""
    extras: Extras = "caffe-300"
    """Extra layers of the backbone; vgg16 has four variants, the others have theirs built-in."""
    norm: Norm = "none"
    """batch puts batch normalisation into vgg16 and mobilenetv2; the others always have it."""
    heads: Heads = "conv3x3"
    """conv3x3, separable as in SSDLite, or conv1x1."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """How images become the input; its size_hw is the network's input size."""
    postprocess: Postprocess = field(default_factory=Postprocess)
    """Thresholds that belong to the weights."""
    unnamed_slots: tuple[int, ...] = ()
    """Columns of the class logits that name no class, ascending; column 0 is the background. Lists with gaps in their
    ids have them (torchvision's COCO: 91 columns for 80 classes). They take part in the softmax and never reach a
    user: see `coding.fold_unnamed`."""
    scores: Scores = field(default="softmax", metadata=ADDED)
    """How class scores come from logits: a softmax over background and classes, or a sigmoid of each class."""
    padding: Padding = field(default="symmetric", metadata=ADDED)
    """How mobilenetv2 pads its maps: symmetric, or same as TensorFlow does (`SameConvolution`)."""
    display_threshold: Score | tuple[Score, ...] = field(default=0.5, metadata=ADDED)
    """The score from which detections are shown: one for all classes, or one for each by class id. It is what
    `predict`, `serve` and drawings use unless told otherwise, and changes no figure of `evaluate`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.class_names:
            raise ConfigError("a detector needs at least one class", remedy="Give class names, without the background")
        each = self.display_threshold
        if isinstance(each, tuple) and len(each) != len(self.class_names):
            raise ConfigError(f"{len(each)} display thresholds for {len(self.class_names)} classes")
        slots = self.unnamed_slots
        if slots and self.scores == "sigmoid":
            raise ConfigError("a sigmoid scores each class by itself: there are no unnamed slots")
        if list(slots) != sorted(set(slots)) or (slots and not 0 < slots[0] <= slots[-1] < self.columns):
            raise ConfigError(
                f"unnamed_slots {slots} are not ascending columns of {self.columns}", remedy="Count the background as 0"
            )

    @property
    def model(self) -> str:
        """Name of the model that it was made from."""
        return self.flavour

    @property
    def backbone(self) -> BackboneName:
        """Name of the backbone."""
        return self.trunk

    @property
    def columns(self) -> int:
        """Width of the class logits: background, where a softmax has one, classes and unnamed slots."""
        return (self.scores == "softmax") + len(self.class_names) + len(self.unnamed_slots)

    @property
    def class_columns(self) -> tuple[int, ...]:
        """The column of the class logits of each class id."""
        first = 1 if self.scores == "softmax" else 0
        return tuple(column for column in range(first, self.columns) if column not in self.unnamed_slots)

    @property
    def display_thresholds(self) -> tuple[float, ...]:
        """The score of each class, by class id, from which its detections are shown."""
        each = self.display_threshold
        return each if isinstance(each, tuple) else (each,) * len(self.class_names)

    @property
    def label_map(self) -> LabelMap:
        """Class names by id. Raises DataError for a name that is empty or occurs twice."""
        return LabelMap(self.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.preprocess.size_hw

    def check_limits(self) -> None:
        """Raise ConfigError where the network would take all memory before anything else could be checked."""
        sides = [*self.input_size_hw, *(side for row in self.anchors for side in row.size_hw)]
        boxes = sum(level.num_anchors for level in self.anchors)
        counts = (self.postprocess.candidates_per_class, self.postprocess.max_detections)
        if not (min(sides) > 0 and max(sides) <= LONGEST_SIDE and 0 < boxes <= MOST_BOXES):
            raise ConfigError(f"an input of {self.input_size_hw} with {boxes} anchors is not a detector's")
        if not (min(counts) >= 0 and max(counts) <= MOST_DETECTIONS):
            raise ConfigError(f"{counts[0]} candidates and {counts[1]} detections are not a detector's limits")

    def build(self) -> SSD:
        """Build the network. Raises ConfigError where the anchors do not fit its feature maps."""
        return SSD(self)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the config as JSON stores it."""
        return to_json_dict(self)

    @staticmethod
    def from_json_dict(data: Any) -> SSDConfig:
        """Make a config from what `to_json_dict` returned. Raises ConfigError for a wrong field."""
        return from_json_dict(SSDConfig, data)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Anchors and the network that they belong to; the fields are those of `SSDConfig`."""

    anchors: AnchorPreset
    backbone: BackboneName = "vgg16"
    extras: Extras = "caffe-300"
    heads: Heads = "conv3x3"
    mean_rgb: Colour = (123.0, 117.0, 104.0)
    std_rgb: Colour = (1.0, 1.0, 1.0)
    postprocess: Postprocess = field(default_factory=Postprocess)
    scores: Scores = "softmax"
    padding: Padding = "symmetric"


_GREY: Colour = (127.5, 127.5, 127.5)
_TORCHVISION_MEAN: Colour = (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)

MODELS: dict[str, Model] = {
    "vgg300": Model(anchors=presets.VOC_300),
    "vgg512": Model(anchors=presets.VOC_512, extras="caffe-512"),
    "vgg512-float": Model(anchors=presets.VOC_512_FLOAT, extras="caffe-512"),
    "vgg300-coco": Model(anchors=presets.COCO_300),
    "vgg512-coco": Model(anchors=presets.COCO_512, extras="caffe-512"),
    "vgg300-2017": Model(anchors=presets.POST_300, extras="2017-300"),
    "vgg512-2017": Model(anchors=presets.POST_512, extras="2017-512"),
    "vgg300-2018": Model(anchors=presets.LATER_300, extras="2017-300"),
    "vgg512-2018": Model(anchors=presets.LATER_512, extras="2017-512"),
    "ssd300-torchvision": Model(
        anchors=presets.TORCHVISION_300,
        mean_rgb=_TORCHVISION_MEAN,
        postprocess=Postprocess(clip_before_nms=True),
    ),
    "lite320": Model(
        anchors=presets.LITE_320,
        backbone="mobilenetv3-large",
        extras="built-in",
        heads="separable",
        mean_rgb=_GREY,
        std_rgb=_GREY,
        postprocess=Postprocess(
            score_threshold=0.001,
            nms_iou=0.55,
            candidates_per_class=300,
            max_detections=300,
            clip_before_nms=True,
        ),
    ),
    "lite320-fine": Model(
        anchors=presets.FINE_320, backbone="residual-fine", extras="built-in", mean_rgb=_GREY, std_rgb=_GREY
    ),
    "lite320-fine2": Model(
        anchors=presets.FINE_320, backbone="residual-fine2", extras="built-in", mean_rgb=_GREY, std_rgb=_GREY
    ),
    "mobilenetv2-300": Model(
        anchors=presets.MEDIAPIPE_300,
        backbone="mobilenetv2",
        extras="built-in",
        heads="conv1x1",
        mean_rgb=_GREY,
        std_rgb=_GREY,
        scores="sigmoid",
        padding="same",
    ),
}


def config_for(
    model: str,
    class_names: Sequence[str],
    input_size_hw: tuple[int, int] | None = None,
    *,
    fit: Fit = "warp",
    anchors: Sequence[AnchorLevel] | None = None,
) -> SSDConfig:
    """Return the config of a model for some classes.

    Args:
        model: a name out of `MODELS`.
        class_names: without the background.
        input_size_hw: another input than the model's own; anchors grow with it (`AnchorPreset`).
        fit: how images come to the input, see `Preprocess`.
        anchors: other anchors than the model's, for the same maps and that input.

    Raises:
        ConfigError: the model is unknown, the input is too small for its maps, or `anchors` are for other maps.
    """
    if model not in MODELS:
        near = nearest(model, MODELS)
        remedy = f"Did you mean {near}?" if near else f"Known ones: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model {model!r}", remedy=remedy)
    made = MODELS[model]
    size_hw = input_size_hw or (made.anchors.side, made.anchors.side)
    map_sizes_hw = feature_sizes(made.backbone, made.extras, size_hw)
    if anchors is not None:
        _check_maps(tuple(level.size_hw for level in anchors), map_sizes_hw)
    return SSDConfig(
        flavour=model,
        class_names=tuple(class_names),
        anchors=tuple(anchors or made.anchors.levels(map_sizes_hw, size_hw)),
        clip_anchors=made.anchors.clip,
        trunk=made.backbone,
        extras=made.extras,
        heads=made.heads,
        preprocess=Preprocess(size_hw, made.mean_rgb, made.std_rgb, fit=fit),
        postprocess=made.postprocess,
        scores=made.scores,
        padding=made.padding,
    )


@functools.cache
def feature_sizes(
    backbone: BackboneName, extras: Extras, input_size_hw: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Return height and width of each feature map for an input of that size.

    Where they are no plain halvings, the network itself is run, without memory or arithmetic.

    Raises ConfigError if the input is too small.
    """
    with without_memory(), torch.no_grad():
        network = _pyramid(backbone, extras).eval()
        if network.halvings is not None:
            height, width = input_size_hw
            return tuple((-(-height // 2**count), -(-width // 2**count)) for count in network.halvings)
        try:
            maps = network(torch.empty(1, 3, *input_size_hw))
        except RuntimeError as error:
            height, width = input_size_hw
            message = f"an input of {height}x{width} is too small for {backbone}"
            raise ConfigError(message, remedy="Enlarge it") from error
    return tuple((features.shape[2], features.shape[3]) for features in maps)


class SSD(Freezable):
    """The detector. Build it from a config; parameters start as their papers say, for training.

    Attributes:
        config: what it was built from.
        anchors_cxcywh: (A, 4) anchors as fractions of the input, a buffer that moves with the module and is not
            saved: the config has it.

    Raises:
        ConfigError: the anchors do not fit the network's feature maps.
    """

    task: ClassVar[Literal["detection"]] = "detection"
    anchors_cxcywh: Tensor

    def __init__(self, config: SSDConfig) -> None:
        super().__init__()
        self.config = config
        map_sizes_hw = feature_sizes(config.trunk, config.extras, config.input_size_hw)
        _check_maps(tuple(level.size_hw for level in config.anchors), map_sizes_hw)
        # The name in stored files.
        self.trunk = _pyramid(config.trunk, config.extras, config.norm, config.padding)
        self.columns = config.columns
        channels, counts = self.trunk.channels, [level.anchors_per_cell for level in config.anchors]
        self.class_heads = nn.ModuleList(
            _head(config.heads, width, count * self.columns) for width, count in zip(channels, counts, strict=True)
        )
        self.box_heads = nn.ModuleList(
            _head(config.heads, width, count * 4) for width, count in zip(channels, counts, strict=True)
        )
        if config.scores == "sigmoid":
            for head in self.class_heads:  # every class of every anchor begins with 1 %, as below all together
                last = list(head.modules())[-1]
                nn.init.constant_(last.get_parameter("bias"), -math.log(99.0))
        elif config.trunk in residual.LAYOUTS:
            _start_as_background(self.class_heads, self.columns)
        anchors = anchors_cxcywh(config.anchors, config.input_size_hw, config.clip_anchors)
        self.register_buffer("anchors_cxcywh", anchors, persistent=False)

    @property
    def backbone(self) -> Backbone:
        """The network below the heads, extra layers included."""
        return self.trunk

    @property
    def class_layers(self) -> dict[str, int]:
        """The layers that have a row for each class, by name, with the anchors of a cell: each has its own rows."""
        suffix = ".1" if self.config.heads == "separable" else ""
        return {f"class_heads.{i}{suffix}": level.anchors_per_cell for i, level in enumerate(self.config.anchors)}

    @property
    def class_rows(self) -> dict[str, int]:
        """The row of each class within an anchor's rows, by class name; the background has the name ''."""
        background = {"": 0} if self.config.scores == "softmax" else {}
        return {**background, **dict(zip(self.config.class_names, self.config.class_columns, strict=True))}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RawDetections:
        """Compute class logits and box offsets for every anchor.

        Args:
            images: normalised by `config.preprocess`, of the config's input size. B may be 0 in evaluation.

        Returns:
            float32 (B, A, C + 1), unnamed slots included, and (B, A, 4), whatever precision the network computes in.
            (B, A, C) where a sigmoid scores the classes.
        """
        maps = self.trunk(images)
        logits = [_as_rows(head(x), self.columns) for head, x in zip(self.class_heads, maps, strict=True)]
        offsets = [_as_rows(head(x), 4) for head, x in zip(self.box_heads, maps, strict=True)]
        return RawDetections(torch.cat(logits, dim=1).float(), torch.cat(offsets, dim=1).float())


def _check_maps(expected: tuple[tuple[int, int], ...], found: tuple[tuple[int, int], ...]) -> None:
    if found != expected:
        wanted, present = (", ".join(f"{height}x{width}" for height, width in sizes) for sizes in (expected, found))
        message = f"the anchors are for feature maps of {wanted}, the network has {present}"
        raise ConfigError(message, remedy="Use the model and the input size that they were made for")


def _start_as_background(class_heads: nn.ModuleList, columns: int) -> None:
    """Let every anchor begin with 1 % for all classes together (Lin et al. 2017b, section 4.1).

    Otherwise the first hundred steps, which are many in a run of minutes, go into learning that objects are rare.
    """
    for head in class_heads:
        bias = head.get_parameter("bias").detach()  # shares the parameter's memory
        bias.view(-1, columns)[:, 0] = math.log(99.0 * (columns - 1))


def _pyramid(backbone: BackboneName, extras: Extras, norm: Norm = "none", padding: Padding = "symmetric") -> Backbone:
    if backbone == "vgg16" and extras != "built-in":
        return VGGPyramid(extras, norm)
    if backbone == "mobilenetv2" and extras == "built-in":
        return MobileNetV2Pyramid(norm, padding)
    if backbone == "mobilenetv3-large" and extras == "built-in":
        return MobileNetPyramid()
    if backbone in residual.LAYOUTS and extras == "built-in":
        return ResidualPyramid(residual.LAYOUTS[backbone])
    raise ConfigError(f"backbone {backbone} has no extra layers called {extras}")


def _head(kind: Heads, channels: int, out: int) -> nn.Module:
    if kind == "separable":
        return separable_head(channels, out)
    head = nn.Conv2d(channels, out, 1) if kind == "conv1x1" else nn.Conv2d(channels, out, 3, padding=1)
    xavier_as_caffe(head)
    return head


def _as_rows(features: Float[Tensor, "B D h w"], width: int) -> Float[Tensor, "B N {width}"]:
    """Reshape a head's output to one row an anchor: cells row by row, the anchors of a cell side by side.

    With channels-last strides this is the memory's own order, and nothing is copied.
    """
    batch, channels, height, columns = features.shape
    return features.permute(0, 2, 3, 1).reshape(batch, height * columns * (channels // width), width)

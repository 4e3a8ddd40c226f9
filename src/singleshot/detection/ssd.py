"""SSD: a trunk's feature maps, and on each map one head for classes and one for boxes.

One `forward` with one return type in every mode. Losses, matching, NMS and pixels are none of its business: they
are functions of `RawDetections` and of the default boxes that ride along here. The config beside the class is all
that it takes to build the network again, and travels with the weights.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from singleshot import config
from singleshot.backbones.fine import FinePyramid
from singleshot.backbones.freezing import Freezable
from singleshot.backbones.mobilenet import MobileNetPyramid, separable_head
from singleshot.backbones.vgg import Norm, VGGPyramid, xavier_as_caffe
from singleshot.detection.anchors import Clip, FeatureMap, anchors_cxcywh
from singleshot.detection.postprocess import Postprocess
from singleshot.detection.presets import FLAVOURS, Extras, Heads, Trunk
from singleshot.detection.raw import RawDetections
from singleshot.errors import ConfigError, nearest
from singleshot.preprocess import Fit, Preprocess
from singleshot.structures import LabelMap


@dataclass(frozen=True)
class SSDConfig:
    """Everything that a detector is, save its weights. `config_for` fills it.

    Args:
        flavour: the preset that it came from, for people to read; nothing is looked up by it.
        class_names: without the background, in the order of class ids.
        anchors: one row a feature map.
        clip_anchors: see `anchors_cxcywh`.
        trunk: the network below the feature maps.
        extras: its extra layers; `vgg16` has four variants, the others have theirs `built-in`.
        norm: `batch` puts batch normalisation into `vgg16`; the others always have it.
        heads: `conv3x3`, or `separable` as in SSDLite.
        preprocess: how pictures become the input; its `size_hw` is the network's input size.
        postprocess: thresholds that go with the weights.
        unnamed_slots: columns of the class logits that name no class, ascending; column 0 is the background. Lists
            with gaps in their ids have them (torchvision's COCO: 91 columns for 80 classes). They take part in the
            softmax and never reach a user: see `raw.fold_unnamed`.

    Raises:
        ConfigError: there are no classes, or an unnamed slot is not a column.
    """

    flavour: str
    class_names: tuple[str, ...]
    anchors: tuple[FeatureMap, ...]
    clip_anchors: Clip = "none"
    trunk: Trunk = "vgg16"
    extras: Extras = "caffe-300"
    norm: Norm = "none"
    heads: Heads = "conv3x3"
    preprocess: Preprocess = field(default_factory=Preprocess)
    postprocess: Postprocess = field(default_factory=Postprocess)
    unnamed_slots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_names:
            raise ConfigError("a detector needs at least one class", remedy="Give class names, without the background")
        slots = self.unnamed_slots
        if list(slots) != sorted(set(slots)) or (slots and not 0 < slots[0] <= slots[-1] < self.columns):
            raise ConfigError(
                f"unnamed_slots {slots} are not ascending columns of {self.columns}", remedy="Count the background as 0"
            )

    @property
    def columns(self) -> int:
        """Width of the class logits: background, classes and unnamed slots."""
        return 1 + len(self.class_names) + len(self.unnamed_slots)

    @property
    def class_columns(self) -> tuple[int, ...]:
        """The column of the class logits of each class id."""
        return tuple(column for column in range(1, self.columns) if column not in self.unnamed_slots)

    @property
    def label_map(self) -> LabelMap:
        """Class names by id. Raises DataError where a name is empty or occurs twice."""
        return LabelMap(self.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.preprocess.size_hw

    def to_json_dict(self) -> dict[str, Any]:
        """The config as JSON holds it."""
        return config.to_json_dict(self)

    @staticmethod
    def from_json_dict(data: Any) -> SSDConfig:
        """The inverse of `to_json_dict`. Raises ConfigError on unknown, missing or mistyped fields."""
        return config.from_json_dict(SSDConfig, data)


def config_for(
    flavour: str,
    class_names: Sequence[str],
    input_size_hw: tuple[int, int] | None = None,
    *,
    fit: Fit = "warp",
    anchors: Sequence[FeatureMap] | None = None,
) -> SSDConfig:
    """The config of a flavour for some classes.

    Args:
        flavour: a name out of `presets.FLAVOURS`.
        class_names: without the background.
        input_size_hw: another input than the flavour's own; default boxes grow with it (`AnchorPreset`).
        fit: how pictures come to the input, see `Preprocess`.
        anchors: other default boxes than the flavour's, for the same maps and that input.

    Raises:
        ConfigError: the flavour is unknown, the input is too small for its maps, or `anchors` are for other maps.
    """
    if flavour not in FLAVOURS:
        near = nearest(flavour, FLAVOURS)
        remedy = f"Did you mean {near}?" if near else f"Known ones: {', '.join(FLAVOURS)}"
        raise ConfigError(f"unknown flavour {flavour!r}", remedy=remedy)
    preset = FLAVOURS[flavour]
    size_hw = input_size_hw or (preset.anchors.side, preset.anchors.side)
    map_sizes_hw = feature_sizes(preset.trunk, preset.extras, size_hw)
    if anchors is not None:
        _check_maps(tuple(row.size_hw for row in anchors), map_sizes_hw)
    return SSDConfig(
        flavour=flavour,
        class_names=tuple(class_names),
        anchors=tuple(anchors or preset.anchors.feature_maps(map_sizes_hw, size_hw)),
        clip_anchors=preset.anchors.clip,
        trunk=preset.trunk,
        extras=preset.extras,
        heads=preset.heads,
        preprocess=Preprocess(size_hw, preset.mean_rgb, preset.std_rgb, fit=fit),
        postprocess=preset.postprocess,
    )


@functools.cache
def feature_sizes(trunk: Trunk, extras: Extras, input_size_hw: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Height and width of each feature map for an input of that size.

    The network itself is asked, by a run without memory or arithmetic. Raises ConfigError if the input is too small.
    """
    with torch.device("meta"), torch.no_grad():
        network = _pyramid(trunk, extras, "none").eval()
        try:
            maps = network(torch.empty(1, 3, *input_size_hw))
        except RuntimeError as error:
            height, width = input_size_hw
            raise ConfigError(f"an input of {height}x{width} is too small for {trunk}", remedy="Enlarge it") from error
    return tuple((features.shape[2], features.shape[3]) for features in maps)


class SSD(Freezable):
    """The detector. Build it from a config; parameters start as their papers say, for training.

    Attributes:
        config: what it was built from.
        anchors_cxcywh: (A, 4) default boxes as fractions of the input, a buffer that moves with the module and is
            not saved: the config has it.

    Raises:
        ConfigError: the rows of default boxes do not fit the network's feature maps.
    """

    anchors_cxcywh: Tensor

    def __init__(self, config: SSDConfig) -> None:
        super().__init__()
        self.config = config
        found = feature_sizes(config.trunk, config.extras, config.input_size_hw)
        _check_maps(tuple(row.size_hw for row in config.anchors), found)
        self.trunk = _pyramid(config.trunk, config.extras, config.norm)
        self.columns = config.columns
        rows = list(zip(self.trunk.channels, config.anchors, strict=True))
        self.class_heads = nn.ModuleList(
            _head(config.heads, channels, row.boxes_per_cell * self.columns) for channels, row in rows
        )
        self.box_heads = nn.ModuleList(_head(config.heads, channels, row.boxes_per_cell * 4) for channels, row in rows)
        if config.trunk == "residual-fine":
            _start_as_background(self.class_heads, self.columns)
        anchors = anchors_cxcywh(config.anchors, config.input_size_hw, config.clip_anchors)
        self.register_buffer("anchors_cxcywh", anchors, persistent=False)

    @property
    def class_layers(self) -> dict[str, int]:
        """The layers that have a row for each class, by name, with the anchors a cell: each anchor has its own rows."""
        last = ".1" if self.config.heads == "separable" else ""
        return {f"class_heads.{index}{last}": row.boxes_per_cell for index, row in enumerate(self.config.anchors)}

    @property
    def class_rows(self) -> dict[str, int]:
        """The row of each class within an anchor's rows, by class name; the background has the name ''."""
        return {"": 0, **dict(zip(self.config.class_names, self.config.class_columns, strict=True))}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RawDetections:
        """Class logits and box offsets for every default box.

        Args:
            images: normalised as `config.preprocess` says, of the config's input size. B may be 0 in evaluation.

        Returns:
            float32 (B, A, C + 1), unnamed slots included, and (B, A, 4), whatever precision the network computes in.
        """
        maps = self.trunk(images)
        logits = [_as_rows(head(x), self.columns) for head, x in zip(self.class_heads, maps, strict=True)]
        offsets = [_as_rows(head(x), 4) for head, x in zip(self.box_heads, maps, strict=True)]
        return RawDetections(torch.cat(logits, dim=1).float(), torch.cat(offsets, dim=1).float())


def _check_maps(expected: tuple[tuple[int, int], ...], found: tuple[tuple[int, int], ...]) -> None:
    if found != expected:
        what = f"default boxes are for maps {_listed(expected)}, the network has {_listed(found)}"
        raise ConfigError(what, remedy="Use the model and the input size that they were made for")


def _start_as_background(class_heads: nn.ModuleList, columns: int) -> None:
    """Let every default box begin with 1 % for all classes together (Lin et al. 2017b, section 4.1).

    Otherwise the first hundred steps, which are many in a run of minutes, go into learning that objects are rare.
    """
    for head in class_heads:
        bias = head.get_parameter("bias").detach()  # shares the parameter's memory
        bias.view(-1, columns)[:, 0] = math.log(99.0 * (columns - 1))


def _pyramid(trunk: Trunk, extras: Extras, norm: Norm) -> VGGPyramid | MobileNetPyramid | FinePyramid:
    if trunk == "vgg16" and extras != "built-in":
        return VGGPyramid(extras, norm)
    if trunk != "vgg16" and extras == "built-in":
        return MobileNetPyramid() if trunk == "mobilenetv3-large" else FinePyramid()
    raise ConfigError(f"trunk {trunk} has no extra layers called {extras}")


def _head(kind: Heads, channels: int, out: int) -> nn.Module:
    if kind == "separable":
        return separable_head(channels, out)
    head = nn.Conv2d(channels, out, 3, padding=1)
    xavier_as_caffe(head)
    return head


def _as_rows(answer: Float[Tensor, "B D h w"], width: int) -> Float[Tensor, "B N {width}"]:
    """A head's map as one row a default box: cells row by row, the shapes of a cell side by side.

    With channels-last strides this is the memory's own order, and nothing is copied.
    """
    batch, channels, height, columns = answer.shape
    return answer.permute(0, 2, 3, 1).reshape(batch, height * columns * (channels // width), width)


def _listed(sizes_hw: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes_hw)

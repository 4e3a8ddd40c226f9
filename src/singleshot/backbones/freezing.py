"""Layers that stay what they are in training, and a trunk's blocks, by which they are counted from the picture on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from singleshot.backbones.fine import FinePyramid
from singleshot.backbones.mobilenet import MobileNetPyramid, MobileNetSkips
from singleshot.backbones.vgg import VGG16, VGGPyramid
from singleshot.errors import ConfigError

Itself = TypeVar("Itself", bound="Freezable")


class Freezable(nn.Module):
    """A network of which some layers may be left alone.

    Attributes:
        frozen: layers that stay what they are in training; see `freeze`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: list[nn.Module] = []

    def freeze(self, layers: Sequence[nn.Module]) -> None:
        """Exclude layers from learning, in place: no gradients, and statistics of norm layers stay too."""
        self.frozen = list(layers)
        for layer in self.frozen:
            layer.requires_grad_(False)
        self.train(self.training)

    def train(self: Itself, mode: bool = True) -> Itself:
        """As every module's, but frozen layers stay in evaluation."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self


def blocks(trunk: nn.Module) -> list[list[nn.Module]]:
    """A trunk in the order of its depth, in blocks.

    VGG-16: what is between two pools, conv1 to conv5, then fc6 and fc7. The others: the stem, then each block.

    Raises ConfigError for a trunk of another kind.
    """
    if isinstance(trunk, VGGPyramid):
        return blocks(trunk.vgg)
    if isinstance(trunk, VGG16):
        found: dict[int, list[nn.Module]] = {}
        for name, layer in trunk.named_children():
            number = min(int(re.sub(r"^[a-z]+|_.*", "", name)), 6)  # relu4_3 is in block 4, fc7 in the sixth
            found.setdefault(number, []).append(layer)
        return list(found.values())
    if isinstance(trunk, MobileNetPyramid | MobileNetSkips):
        return [[trunk.stem], *([block] for block in trunk.blocks), [trunk.last]]
    if isinstance(trunk, FinePyramid):
        return [[trunk.stem], *([stage] for stage in trunk.stages)]
    raise ConfigError(f"a trunk of {type(trunk).__name__} has no blocks to freeze", remedy="Leave out --freeze")


def freeze_blocks(network: Freezable, trunk: nn.Module, count: int) -> None:
    """Freeze the first `count` blocks of a network's trunk, in place. Raises ConfigError where there are fewer."""
    if not count:
        return
    parts = blocks(trunk)
    if count > len(parts):
        what = f"{count} blocks are to be frozen and the trunk has {len(parts)}"
        raise ConfigError(what, remedy="Lower --freeze")
    network.freeze([layer for part in parts[:count] for layer in part])

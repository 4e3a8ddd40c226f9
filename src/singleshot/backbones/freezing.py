"""Backbones as blocks, and networks of which the first blocks may be frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from singleshot.errors import ConfigError

Itself = TypeVar("Itself", bound="Freezable")


class Backbone(nn.Module):
    """The network below the heads: normalised images (B, 3, H, W) → a tuple of feature maps, finest first.

    Attributes:
        channels: of each feature map.
        halvings: how often the input's sides are halved, rounded up, on the way to each feature map; None if maps do
            not come about that way.
    """

    channels: tuple[int, ...]
    halvings: tuple[int, ...] | None = None

    def blocks_by_depth(self) -> list[list[nn.Module]]:
        """Return the layers that may be frozen, in blocks, from the image on. Extra layers are not among them."""
        raise NotImplementedError


class Freezable(nn.Module):
    """A network with a backbone, some layers of which may be excluded from training.

    Attributes:
        frozen: the excluded layers; see `freeze`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: list[nn.Module] = []

    @property
    def backbone(self) -> Backbone:
        """The network below the heads."""
        raise NotImplementedError

    def freeze(self, layers: Sequence[nn.Module]) -> None:
        """Exclude layers from training, in place: no gradients, and norm layers keep their statistics."""
        self.frozen = list(layers)
        for layer in self.frozen:
            layer.requires_grad_(False)
        self.train(self.training)

    def freeze_blocks(self, count: int) -> None:
        """Freeze the first `count` blocks of the backbone, in place. Raises ConfigError if there are fewer."""
        if not count:
            return
        blocks = self.backbone.blocks_by_depth()
        if count > len(blocks):
            message = f"{count} blocks are to be frozen and the backbone has {len(blocks)}"
            raise ConfigError(message, remedy="Lower --freeze")
        self.freeze([layer for block in blocks[:count] for layer in block])

    def train(self: Itself, mode: bool = True) -> Itself:
        """Switch between training and evaluation; frozen layers stay in evaluation."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

"""Batch normalisation as part of the convolution before it: the same network with fewer passes over memory."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(module: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution right before it, in place, and return the module.

    Layers of our networks are registered in the order of their application; the parity check after each export proves
    that the outputs stay the same.
    """
    previous: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if previous is not None and isinstance(previous[1], nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, nn.Identity())
        else:
            folded(child)
        previous = (name, child)
    return module


def foldable(module: nn.Module) -> bool:
    """Return whether a network has batch normalisation at all."""
    return any(isinstance(each, nn.BatchNorm2d) for each in module.modules())

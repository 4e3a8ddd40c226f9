"""Batch normalisation folded into the convolution before it, which in evaluation is the same function.

Runtimes for ONNX and OpenVINO do this themselves when they load a graph; torch programs do not, and half precision
is better off without running variances. It is done once, in float32, before anything else.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(module: nn.Module) -> nn.Module:
    """The module, changed in place: each normalisation that stands right behind its convolution is folded into it.

    In our networks layers stand in the order in which they are applied; that the answer stays what it was is shown
    after each export.
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

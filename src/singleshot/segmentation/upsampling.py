"""Enlarging score maps by transposed convolution with a bilinear kernel, as the papers do it.

A kernel of 2f taps at stride f that is a triangle in each direction interpolates linearly between cells (Long et al.
2015, section 3.3). Berkeley's network keeps its kernels frozen and crops what comes out; the 2017 network trains
them, from the same start, and lets classes mix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def bilinear_kernel(factor: int, device: torch.device | None = None) -> Float[Tensor, "K K"]:
    """The triangle of side K = 2·factor − factor mod 2 whose copies, `factor` apart, add up to 1.

    >>> bilinear_kernel(2)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    side = 2 * factor - factor % 2
    centre = (side - 1) / 2
    line = 1 - (torch.arange(side, device=device) - centre).abs() / factor
    return line[:, None] * line


def enlarge_bilinearly(scores: Float[Tensor, "B C h w"], factor: int) -> Float[Tensor, "B C H W"]:
    """Each class by itself, nothing to learn: (h, w) becomes (f·h + f, f·w + f), uncropped as Caffe leaves it.

    The reference holds the same numbers in a kernel from every class to every class, nearly all of them zero.
    """
    classes = scores.shape[1]
    # Made on the device: a copy from the host would wait for everything that the device has still to do.
    kernel = bilinear_kernel(factor, scores.device).to(scores.dtype).expand(classes, 1, -1, -1)
    return F.conv_transpose2d(scores, kernel, stride=factor, groups=classes)


class TrainedUpsampling(nn.ConvTranspose2d):
    """×`factor` with TensorFlow's SAME padding: (h, w) becomes (f·h, f·w). Starts bilinear, class by class."""

    def __init__(self, classes: int, factor: int) -> None:
        side = 2 * factor - factor % 2
        super().__init__(classes, classes, side, stride=factor, padding=(side - factor) // 2, bias=False)
        with torch.no_grad():
            self.weight.zero_()
            diagonal = torch.arange(classes)
            self.weight[diagonal, diagonal] = bilinear_kernel(factor)

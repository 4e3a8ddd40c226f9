"""A convolution whose weight gradient is right at every size of map, also in bfloat16 on a CPU.

torch 2.13.0 with oneDNN on an AMD EPYC (avx512_bf16) computes wrong weight gradients under CPU autocast to bfloat16
where a convolution strides over a map that is one cell wide: of 100 repeats of the same call with a 3×3 kernel and
stride 2 on a (4, 64, 4, 1) map, 63 gave NaN and 35 other wrong values, a different number each time, as of memory
that nobody wrote. Depthwise 3×3 and 5×5 kernels are hit too; a map of height 1, of width 2 or more, stride 1, the
forward pass and the gradient of the input are not. The last extra layers of a detector for small pictures have such
maps. They hold a few cells, so computing them in float32 costs nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, but a map that is one cell wide is strided over in float32, whatever autocast says."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """As `nn.Conv2d`; float32 instead of bfloat16 comes out where the map is one cell wide."""
        narrow = input.shape[-1] == 1 and self.stride[-1] > 1 and self.kernel_size[-1] > 1
        if not (narrow and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())

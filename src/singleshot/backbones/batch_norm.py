"""Batch normalisation that also takes a batch of one number a channel.

SSD's last map has one cell. A batch of one picture then has one number to take a mean and a deviation of, which
PyTorch refuses, and a data set of one picture, or a last batch of one, would not train. Such a batch is normalised by
the running statistics, as in evaluation, and does not change them.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` in everything else, names in the state dict included."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised features."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

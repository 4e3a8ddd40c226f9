"""L2 normalisation over channels with a learned scale, as SSD applies it to conv4_3.

That map is taken from the middle of the trunk, where activations are an order of magnitude larger than in the maps
after it; unscaled, its gradients would drown theirs (Liu et al. 2015, ParseNet; Caffe's Normalize layer).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class L2Norm(nn.Module):
    """x / √(Σ x² + ε) over the channels of each cell, times one learned number a channel.

    Args:
        channels: of the map.
        scale: what each learned number starts at.
    """

    epsilon = 1e-10

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised map in the type of `features`; an all-zero cell stays zero."""
        # In float32 whatever comes in: a sum of 512 squares overflows half precision.
        wide = features.float()
        norm = (wide.square().sum(dim=1, keepdim=True) + self.epsilon).sqrt()
        return (wide / norm * self.scale[:, None, None]).to(features.dtype)

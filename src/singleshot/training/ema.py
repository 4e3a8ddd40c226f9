"""A running mean of the weights, which judges better than the last step's weights and costs one pass over them.

mean ← decay · mean + (1 − decay) · weights, where the decay starts low, (1 + t) / (10 + t), so that a short run does
not carry its random start along (TensorFlow's `ExponentialMovingAverage` with `num_updates`).
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Holds `network`, a copy whose weights follow.

    Args:
        network: the network in training.
        decay: the share of the old mean that stays at each update, 0…1.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the mean towards the network's present weights; statistics of norm layers likewise."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        present = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(present[name].to(average.dtype), 1.0 - decay)
            else:
                average.copy_(present[name])

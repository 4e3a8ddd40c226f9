"""What changes the weights: SGD with momentum, Adam as PyTorch and as TensorFlow 1 define it, AdamW.

The Caffe reference learns biases twice as fast and does not decay them. Here that is a matter of parameter groups
and costs nothing (the 2017 post gave it up because TensorFlow repeated forward and backward for it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer and its constants; the defaults are the Caffe reference's.

    Args:
        kind: `adam-tf1` is Adam with TensorFlow 1's place for epsilon; `adamw` decays weights apart from gradients.
        lr: the base learning rate, of weights.
        momentum: SGD's.
        betas: Adam's.
        epsilon: Adam's.
        weight_decay: L2, added to the gradient (to the weights with `adamw`); never applied to biases, norm layers
            and the L2-norm's scale.
        bias_lr: biases learn this many times as fast.
        clip_norm: gradients are scaled down to this total norm; None leaves them.
    """

    kind: Literal["sgd", "adam", "adam-tf1", "adamw"] = "sgd"
    lr: float = 1e-3
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 5e-4
    bias_lr: float = 2.0
    clip_norm: float | None = None


class TensorFlowAdam(torch.optim.Adam):
    """Adam as TensorFlow 1 computes it: epsilon stands beside the *uncorrected* root of the second moment.

        lr · √(1 − β2^t) / (1 − β1^t) · m / (√v + ε)

    which is PyTorch's form with ε / √(1 − β2^t). With ε = 0.1 the first steps are about 32 times smaller than
    torch.optim.Adam's and 1.26 times at t = 1000: a hidden warm-up. Source: TensorFlow's `adam.py`, "epsilon hat".
    """

    def __init__(self, params: Iterable[Any], *, lr: float, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=epsilon)
        for group in self.param_groups:
            group["epsilon_hat"], group["steps_done"] = epsilon, 0

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; `closure` as in every torch optimizer."""
        for group in self.param_groups:
            group["steps_done"] += 1
            group["eps"] = group["epsilon_hat"] / math.sqrt(1.0 - group["betas"][1] ** group["steps_done"])
        return super().step(closure)  # pyright: ignore[reportArgumentType]


def build(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer for a network. Each group keeps its own share of the rate as `lr_scale`."""
    groups = parameter_groups(network, config)
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.kind == "adam-tf1":
        return TensorFlowAdam(groups, lr=config.lr, betas=config.betas, epsilon=config.epsilon)
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.epsilon)


def parameter_groups(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Three groups: weights (decayed), norm layers and scales (not decayed), biases (faster, not decayed)."""
    weights: list[Tensor] = []
    scales: list[Tensor] = []
    biases: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim > 1:
            weights.append(parameter)
        elif name.endswith("bias"):
            biases.append(parameter)
        else:
            scales.append(parameter)
    rows = [(weights, 1.0, config.weight_decay), (scales, 1.0, 0.0), (biases, config.bias_lr, 0.0)]
    return [
        {"params": params, "lr": config.lr * scale, "lr_scale": scale, "weight_decay": decay}
        for params, scale, decay in rows
        if params
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the weights' learning rate; each group follows by its own share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]

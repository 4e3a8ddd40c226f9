"""Optimizers, the schedule of the learning rate, and the running mean of the weights (EMA).

Optimizers are SGD with momentum, Adam as PyTorch and as TensorFlow 1 define it, and AdamW. The Caffe reference trains
biases at twice the learning rate and does not decay them, but its scale of the L2 norm; torchvision decays everything.
Here that is a matter of parameter groups and costs nothing (the 2017 post gave it up because TensorFlow repeated
forward and backward for it). The schedule gives one factor for each step, which multiplies the base rate of every
group.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import torch
from torch import nn

from singleshot.config import Above, AtLeast, Config, HalfOpen, Range
from singleshot.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig(Config, name="optimizer"):
    """Which optimizer and its constants; the defaults are the Caffe reference's."""

    kind: Literal["sgd", "adam", "adam-tf1", "adamw"] = "sgd"
    """`adam-tf1` is Adam with epsilon where TensorFlow 1 has it; `adamw` decays weights apart from gradients."""
    lr: Annotated[float, Above(0)] = 1e-3
    """Base learning rate, that of the weights."""
    momentum: Annotated[float, HalfOpen(0, 1)] = 0.9
    """Momentum of SGD."""
    betas: tuple[Annotated[float, HalfOpen(0, 1)], Annotated[float, HalfOpen(0, 1)]] = (0.9, 0.999)
    """Decay rates of Adam's two moments."""
    epsilon: Annotated[float, AtLeast(0)] = 1e-8
    """Added to the root of Adam's second moment."""
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    """L2, added to the gradient (to the weights with `adamw`), of the parameters that `decayed` names."""
    decayed: Literal["weights", "weights-and-scales", "all"] = "weights"
    """Which parameters decay: `weights` leaves out norm layers, the scale of the L2 norm, and biases;
    `weights-and-scales` leaves out biases (Caffe), `all` nothing (torchvision)."""
    bias_lr: Annotated[float, AtLeast(0)] = 2.0
    """Learning rate of biases, as a multiple of `lr`."""
    trunk_lr: Annotated[float, AtLeast(0)] = 1.0
    """Learning rate of the backbone, as a multiple of `lr`; below 1 for one that is already trained."""
    clip_norm: Annotated[float, Above(0)] | None = None
    """Gradients are scaled down to this total norm; null leaves them."""


class TensorFlowAdam(torch.optim.Adam):
    """Adam as TensorFlow 1 computes it: epsilon stands beside the *uncorrected* root of the second moment.

        lr · √(1 − β2^t) / (1 − β1^t) · m / (√v + ε)

    which is PyTorch's form with ε / √(1 − β2^t). With ε = 0.1 the first steps are about 32 times smaller than
    torch.optim.Adam's and 1.26 times at t = 1000: a hidden warm-up. Source: TensorFlow's `adam.py`, "epsilon hat".
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float],
        epsilon: float,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=epsilon, fused=fused)
        for group in self.param_groups:
            group["epsilon_hat"], group["steps_done"] = epsilon, 0

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; `closure` as in every torch optimizer."""
        for group in self.param_groups:
            group["steps_done"] += 1
            group["eps"] = group["epsilon_hat"] / math.sqrt(1.0 - group["betas"][1] ** group["steps_done"])
        return super().step(closure)  # pyright: ignore[reportArgumentType]


def build(network: nn.Module, config: OptimizerConfig, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimizer for a network. Each group keeps its own share of the rate as `lr_scale`.

    Args:
        network: whose parameters learn.
        config: which optimizer.
        fused: one pass over the memory for all of a step's arithmetic, where torch has that for the parameters.
    """
    groups = parameter_groups(network, config)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    able = all(each.device.type in ("cpu", "cuda") and each.dtype == torch.float32 for each in learnt)
    one_pass = True if fused and able else None
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=one_pass)
    if config.kind == "adam-tf1":
        return TensorFlowAdam(groups, lr=config.lr, betas=config.betas, epsilon=config.epsilon, fused=one_pass)
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.epsilon, fused=one_pass)


def can_skip(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step can be left out by the device alone, told by the tensor `optimizer.found_inf`.

    torch's fused optimizers can. TensorFlow's Adam counts its steps on the host, which would not know.
    """
    return bool(optimizer.defaults.get("fused")) and not isinstance(optimizer, TensorFlowAdam)


def parameter_groups(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Weights, norm layers and scales, biases; each with its decay and the biases with their rate.

    Three groups, or twice three where the trunk has a rate of its own: extra layers and heads, then the trunk.
    """
    weights, scales, biases = (([], []) for _ in range(3))
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        slow = config.trunk_lr != 1.0 and is_backbone(name)
        kind = weights if parameter.ndim > 1 else biases if name.endswith("bias") else scales
        kind[slow].append(parameter)
    rows = [
        (params[slow], scale * (config.trunk_lr if slow else 1.0), decay)
        for slow in (False, True)
        for params, scale, decay in (
            (weights, 1.0, config.weight_decay),
            (scales, 1.0, config.weight_decay if config.decayed != "weights" else 0.0),
            (biases, config.bias_lr, config.weight_decay if config.decayed == "all" else 0.0),
        )
    ]
    return [
        {"params": params, "lr": config.lr * scale, "lr_scale": scale, "weight_decay": decay}
        for params, scale, decay in rows
        if params
    ]


def is_backbone(name: str) -> bool:
    """Whether a parameter of a detector belongs to its trunk, and not to extra layers, their scale, or heads.

    >>> [is_backbone(name) for name in ("trunk.vgg.conv1_1.bias", "trunk.extras.0.widen.bias", "box_heads.0.bias")]
    [True, False, False]
    """
    return name.startswith("trunk.") and not name.startswith(("trunk.extras.", "trunk.conv4_3_norm."))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the weights' learning rate; each group follows by its own share."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


@dataclass(frozen=True)
class Schedule(Config, name="schedule"):
    """A warm-up, then one of four curves."""

    kind: Literal["steps", "exponential", "cosine", "constant"] = "cosine"
    """`steps` multiplies by `gamma` at each boundary (Caffe), `exponential` by `gamma` after each epoch (the 2017
    post's 0.97), `cosine` falls to `floor` over the whole run, `constant` stays."""
    warmup_steps: Annotated[int, AtLeast(0)] = 100
    """Steps over which the rate rises linearly from `warmup_factor` to 1."""
    warmup_factor: Annotated[float, Range(0, 1)] = 0.01
    """Factor of the first step."""
    boundaries: tuple[int, ...] = ()
    """Steps at which `steps` falls, in ascending order."""
    gamma: Annotated[float, AtLeast(0)] = 0.1
    """Factor of `steps` and `exponential`."""
    floor: Annotated[float, Range(0, 1)] = 0.01
    """Factor at which `cosine` ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(step < 0 for step in self.boundaries) or list(self.boundaries) != sorted(set(self.boundaries)):
            raise ConfigError(f"schedule.boundaries is {self.boundaries}", remedy="Give steps, each after the last")


def factor(schedule: Schedule, *, step: int, epoch: int, progress: float) -> float:
    """What the base rate is multiplied by.

    Args:
        schedule: which shape.
        step: 0-based steps done in the whole run.
        epoch: 0-based epochs done.
        progress: share of the run that is done, 0…1; what `cosine` follows, so that a run may be limited by epochs,
            steps or minutes alike.

    >>> caffe = Schedule(kind="steps", warmup_steps=0, boundaries=(80_000, 100_000))
    >>> [round(factor(caffe, step=step, epoch=0, progress=0.0), 4) for step in (79_999, 80_000, 100_000)]
    [1.0, 0.1, 0.01]
    """
    warm = 1.0
    if step < schedule.warmup_steps:
        warm = schedule.warmup_factor + (1 - schedule.warmup_factor) * step / schedule.warmup_steps
    if schedule.kind == "steps":
        return warm * schedule.gamma ** sum(step >= boundary for boundary in schedule.boundaries)
    if schedule.kind == "exponential":
        return warm * schedule.gamma**epoch
    if schedule.kind == "cosine":
        done = min(max(progress, 0.0), 1.0)
        return warm * (schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2)
    return warm


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
        averages = {name: each for name, each in self.network.state_dict().items() if each.is_floating_point()}
        # All at once: on a GPU a few launches a step, and not one for each tensor.
        targets = [present[name].to(average.dtype) for name, average in averages.items()]
        torch._foreach_lerp_(list(averages.values()), targets, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for name, counter in self.network.state_dict().items():
            if name not in averages:
                counter.copy_(present[name])

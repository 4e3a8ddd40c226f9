"""Batch normalisation over the batch of all ranks, also on CPUs.

Several ranks with a share of a batch each would normalise by their shares, and so train another network than one
process with the whole batch. PyTorch's `SyncBatchNorm` refuses CPU tensors; this one works wherever
`torch.distributed` can add and gather. Its law: each rank gets its part of what `batch_norm` of all ranks' features
put together gives, and likewise of the gradient.

Means and deviations are put together from each rank's own by Chan's rule, not from sums of squares, which would
lose digits where the mean is large.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from singleshot.backbones.batch_norm import BatchNorm

Network = TypeVar("Network", bound=nn.Module)


class SyncedBatchNorm(BatchNorm):
    """`BatchNorm` whose training statistics are those of all ranks; the same names in the state dict."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised features; all ranks must call it, in the same order."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        mean, variance, count = _joint_statistics(input)
        if count == 1:  # nothing to take a deviation of, see `BatchNorm`
            return super().forward(input)
        weight, bias = self.weight, self.bias
        output = _Normalise.apply(input, weight, bias, mean, variance, count, self.eps)
        self._follow(mean, variance * (count / (count - 1)))
        return output  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # Without momentum PyTorch keeps the plain mean over all batches.
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), share)


def synced(network: Network) -> Network:
    """The network with every `BatchNorm` replaced, in place, by one that counts all ranks; weights are shared."""
    for module in network.modules():
        if type(module) is BatchNorm:
            module.__class__ = SyncedBatchNorm  # the same fields and names, another forward
    return network


@torch.no_grad()
def _joint_statistics(input: Tensor) -> tuple[Tensor, Tensor, int]:
    """(C,) mean and (biased) variance over all ranks in float32, and the numbers a channel that they come from."""
    features = input.float()
    count = features.numel() // features.shape[1]
    mean = features.mean(dim=(0, 2, 3))
    spread = (features - mean[None, :, None, None]).square().sum(dim=(0, 2, 3))
    mine = torch.cat([mean, spread, mean.new_tensor([float(count)])])
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(every, mine)
    means, spreads, counts = torch.stack(every).split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    joint = (means * counts).sum(0) / total
    variance = (spreads.sum(0) + (counts * (means - joint).square()).sum(0)) / total
    return joint, variance, int(total)


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(variance + ε) · weight + bias, where mean and variance depend on every rank's x."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: int, eps: float
    ) -> Tensor:
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(input, weight, mean, inverse)
        ctx.count = count
        scale = weight * inverse
        shift = bias - mean * scale
        return torch.addcmul(shift[None, :, None, None], input.float(), scale[None, :, None, None]).to(input.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        input, weight, mean, inverse = ctx.saved_tensors
        grad32 = grad.float()
        normalised = (input.float() - mean[None, :, None, None]) * inverse[None, :, None, None]
        bias_grad = grad32.sum(dim=(0, 2, 3))
        weight_grad = (grad32 * normalised).sum(dim=(0, 2, 3))
        joint = torch.stack([bias_grad, weight_grad])
        dist.all_reduce(joint)
        mean_grad, mean_product = joint / ctx.count
        centred = grad32 - mean_grad[None, :, None, None] - normalised * mean_product[None, :, None, None]
        input_grad = (centred * (weight * inverse)[None, :, None, None]).to(input.dtype)
        # Of weight and bias each rank returns its own part: averaging over ranks is DDP's.
        return input_grad, weight_grad, bias_grad, None, None, None, None

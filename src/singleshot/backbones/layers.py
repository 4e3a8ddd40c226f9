"""Layers that torch lacks, or has with a fault: L2 normalisation, nearest resizing, batch normalisation, a convolution.

Each says in its docstring why torch's own is not enough.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)


class L2Norm(nn.Module):
    """x / √(Σ x² + ε) over the channels of each cell, times one learned number for each channel.

    SSD applies it to conv4_3. That map is taken from the middle of the backbone, where activations are an order of
    magnitude larger than in the maps after it; unscaled, its gradients would dominate theirs (Liu et al. 2015,
    ParseNet; Caffe's Normalize layer).

    Args:
        channels: of the map.
        scale: start value of each learned number.
    """

    epsilon = 1e-10

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise a map, in the dtype of `features`; an all-zero cell stays zero."""
        # In float32 whatever comes in: a sum of 512 squares overflows half precision.
        wide = features.float()
        norm = (wide.square().sum(dim=1, keepdim=True) + self.epsilon).sqrt()
        return (wide / norm * self.scale[:, None, None]).to(features.dtype)


class NearestResize(nn.Module):
    """Enlarge a map by repeating the nearest cells, as `F.interpolate` does.

    A module, and no call, because an export may have to put another one in its place (`exporting/litert`).
    """

    def forward(
        self, features: Float[Tensor, "B C h w"], size_hw: tuple[int, int]
    ) -> Float[Tensor, "B C {size_hw[0]} {size_hw[1]}"]:
        """Resize a map to `size_hw`."""
        return F.interpolate(features, size=size_hw, mode="nearest")


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, but a map that is one cell wide is strided over in float32, whatever autocast says.

    torch 2.13.0 with oneDNN on an AMD EPYC (avx512_bf16) computes wrong weight gradients under CPU autocast to
    bfloat16 if a convolution strides over a map that is one cell wide: of 100 repeats of the same call with a 3×3
    kernel and stride 2 on a (4, 64, 4, 1) map, 63 gave NaN and 35 other wrong values, a different number each time,
    as of uninitialised memory. Depthwise 3×3 and 5×5 kernels are affected too; a map of height 1, of width 2 or more,
    stride 1, the forward pass and the gradient of the input are not. The last extra layers of a detector for small
    images have such maps. They have a few cells, so computing them in float32 costs nothing.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Convolve as `nn.Conv2d`; the result is float32 instead of bfloat16 if the map is one cell wide."""
        narrow = input.shape[-1] == 1 and self.stride[-1] > 1 and self.kernel_size[-1] > 1
        if not (narrow and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


class BatchNorm(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` that also takes a batch of one number for each channel; the same state dict.

    SSD's last map has one cell. A batch of one image then has one number to take a mean and a deviation of, which
    PyTorch refuses, and a data set of one image, or a last batch of one, would not train. Such a batch is normalised
    by the running statistics, as in evaluation, and does not change them.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise the features."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class SyncedBatchNorm(BatchNorm):
    """`BatchNorm` whose training statistics are those of all ranks, also on CPUs; the same state dict.

    Several ranks with a share of a batch each would normalise by their shares, and so train another network than one
    process with the whole batch. PyTorch's `SyncBatchNorm` refuses CPU tensors; this one works wherever
    `torch.distributed` can add and gather. Its law: each rank gets its part of what `batch_norm` of all ranks'
    features put together gives, and likewise of the gradient.

    Means and deviations are combined from each rank's own by Chan's rule, not from sums of squares, which would lose
    digits if the mean is large.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise the features; all ranks must call it, in the same order."""
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


def synced(network: Network, device: str = "cpu") -> Network:
    """Turn every `BatchNorm` of a network into one that counts all ranks, in place, and return the network.

    On a CUDA device it is PyTorch's own, which computes there in one kernel each way what `SyncedBatchNorm` does in
    several, without asking the device for a number in every layer.
    """
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # pyright: ignore[reportReturnType]
    for module in network.modules():
        if type(module) is BatchNorm:
            module.__class__ = SyncedBatchNorm  # the same fields and names, another forward
    return network


@torch.no_grad()
def _joint_statistics(input: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return (C,) mean and (biased) variance over all ranks in float32, and the number of values of a channel."""
    features = input.float()
    count = features.numel() // features.shape[1]
    mean = features.mean(dim=(0, 2, 3))
    squares = (features - mean[None, :, None, None]).square().sum(dim=(0, 2, 3))
    own = torch.cat([mean, squares, mean.new_tensor([float(count)])])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    means, all_squares, counts = torch.stack(every).split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    joint = (means * counts).sum(0) / total
    variance = (all_squares.sum(0) + (counts * (means - joint).square()).sum(0)) / total
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

"""Gradients on narrow maps: bfloat16's must be float32's but for rounding, every time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from singleshot.backbones.convolution import Convolution
from singleshot.backbones.fine import FinePyramid
from singleshot.backbones.mobilenet import MobileNetPyramid
from singleshot.backbones.vgg import VGGPyramid
from singleshot.detection.ssd import SSD, config_for

REPEATS = 20


def gradients(module: nn.Module, x: torch.Tensor, *, bf16: bool) -> list[torch.Tensor]:
    module.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = module(x)
    maps = [out] if isinstance(out, torch.Tensor) else list(out)
    weights = [torch.randn(y.shape, generator=torch.Generator().manual_seed(place)) for place, y in enumerate(maps)]
    torch.stack([(y.float() * w).sum() for y, w in zip(maps, weights, strict=True)]).sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 1), (4, 1), (1, 2), (3, 3)])
@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (3, 64), (5, 64)])
def test_the_gradient_in_bfloat16_is_that_in_float32_on_maps_of_any_width(
    size_hw: tuple[int, int], kernel: int, groups: int
) -> None:
    torch.manual_seed(0)
    layer = Convolution(64, 64 if groups > 1 else 128, kernel, 2, kernel // 2, groups=groups, bias=False)
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(4, 64, *size_hw).to(memory_format=torch.channels_last)
    (wanted,) = gradients(layer, x, bf16=False)
    for _ in range(REPEATS):
        (found,) = gradients(layer, x, bf16=True)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=0.03 * float(wanted.abs().max()))


def test_nothing_but_a_narrow_map_leaves_bfloat16() -> None:
    layer = Convolution(3, 4, 3, 2, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 3, 4, 2)).dtype == torch.bfloat16
        assert layer(torch.randn(1, 3, 4, 1)).dtype == torch.float32
        assert Convolution(3, 4, 3, 1, 1)(torch.randn(1, 3, 4, 1)).dtype == torch.bfloat16
    assert layer(torch.randn(0, 3, 4, 1)).shape == (0, 4, 2, 1)


def test_every_convolution_that_strides_is_such_a_one() -> None:
    with torch.device("meta"):
        trunks = [FinePyramid(), MobileNetPyramid(), VGGPyramid("caffe-300"), VGGPyramid("2017-512", "batch")]
    for trunk in trunks:
        striding = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d) and layer.stride[-1] > 1]
        assert len(striding) >= 2
        assert all(isinstance(layer, Convolution) for layer in striding)


@pytest.mark.slow
def test_all_gradients_of_a_small_input_are_finite_in_bfloat16_and_near_those_of_float32() -> None:
    torch.manual_seed(0)
    network = SSD(config_for("lite320-fine", ("car",), (128, 128))).train()
    images = torch.randn(8, 3, 128, 128)

    wanted = gradients(network, images, bf16=False)
    names = [name for name, _ in network.named_parameters()]
    assert len(wanted) == len(names)
    first = gradients(network, images, bf16=True)
    for name, one, other in zip(names, first, wanted, strict=True):
        assert bool(one.isfinite().all()), name
        # Norms over eight cells magnify what rounding does; what wrong memory gives points anywhere, about 0.
        assert float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)) > 0.6, name
    for _ in range(4):
        again = gradients(network, images, bf16=True)
        assert all(torch.equal(one, other) for one, other in zip(again, first, strict=True))

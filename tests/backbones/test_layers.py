"""Layers. Synced batch norm over several processes is tested in tests/training/test_ranks.py, which starts some."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from singleshot.backbones.layers import BatchNorm, Convolution, L2Norm, SyncedBatchNorm, synced
from singleshot.backbones.mobilenet import MobileNetPyramid
from singleshot.backbones.residual import ResidualPyramid
from singleshot.backbones.vgg import VGGPyramid
from singleshot.detection.ssd import SSD, config_for

REPEATS = 20


def test_l2norm_gives_each_cell_the_length_of_the_scale() -> None:
    features = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    result = L2Norm(2, scale=20.0)(features)
    torch.testing.assert_close(result.flatten(), torch.tensor([12.0, 16.0]))


def test_l2norm_learns_its_scale_channel_by_channel() -> None:
    norm = L2Norm(2)
    norm(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).sum().backward()
    assert norm.scale.grad is not None
    torch.testing.assert_close(norm.scale.grad, torch.tensor([0.6, 0.8]))


def test_l2norm_of_an_all_zero_cell_is_zero_with_finite_gradients() -> None:
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    result = L2Norm(3)(features)
    result.sum().backward()
    assert result.abs().max() == 0
    assert features.grad is not None and features.grad.isfinite().all()


def test_l2norm_in_half_precision_does_not_overflow() -> None:
    features = torch.full((1, 512, 1, 1), 200.0, dtype=torch.float16)  # the squares sum up to 2e7
    result = L2Norm(512)(features)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float().flatten(), torch.full((512,), 20 / 512**0.5), rtol=1e-3, atol=0)


def test_l2norm_of_no_images_is_empty() -> None:
    assert L2Norm(4)(torch.zeros(0, 4, 2, 2)).shape == (0, 4, 2, 2)


def test_f21_batch_norm_of_one_number_per_channel_uses_and_keeps_the_running_statistics() -> None:
    norm = BatchNorm(3).train()
    norm.running_mean = torch.tensor([1.0, 2.0, 3.0])
    out = norm(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.0, 1.0]), rtol=1e-4, atol=1e-4)
    assert norm.running_mean.tolist() == [1.0, 2.0, 3.0]


def test_batch_norm_of_any_other_batch_is_pytorchs() -> None:
    ours, theirs = BatchNorm(3).train(), nn.BatchNorm2d(3).train()
    features = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(ours(features), theirs(features))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_synced_replaces_every_batch_norm_and_keeps_weights_and_names() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4), nn.Sequential(BatchNorm(4)))
    before = dict(network.state_dict())
    assert synced(network) is network
    assert [type(network[1]), type(network[2][0])] == [SyncedBatchNorm] * 2  # pyright: ignore[reportIndexIssue]
    assert network.state_dict().keys() == before.keys()
    assert all(tensor.data_ptr() == before[name].data_ptr() for name, tensor in network.state_dict().items())


def test_synced_batch_norm_in_one_process_is_batch_norm_bit_for_bit() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(4, 3, 5, 5)
    plain, shared = BatchNorm(3).train(), synced(nn.Sequential(BatchNorm(3))).train()
    assert torch.equal(plain(pixels), shared(pixels))
    assert torch.equal(plain.running_var, shared[0].running_var)  # pyright: ignore[reportArgumentType]


def test_synced_batch_norm_takes_one_number_per_channel_too() -> None:
    assert synced(nn.Sequential(BatchNorm(3))).train()(torch.randn(1, 3, 1, 1)).isfinite().all()


def gradients(module: nn.Module, x: torch.Tensor, *, bf16: bool) -> list[torch.Tensor]:
    module.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = module(x)
    maps = [out] if isinstance(out, torch.Tensor) else list(out)
    weights = [torch.randn(y.shape, generator=torch.Generator().manual_seed(index)) for index, y in enumerate(maps)]
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


def test_only_maps_one_cell_wide_are_convolved_in_float32() -> None:
    layer = Convolution(3, 4, 3, 2, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 3, 4, 2)).dtype == torch.bfloat16
        assert layer(torch.randn(1, 3, 4, 1)).dtype == torch.float32
        assert Convolution(3, 4, 3, 1, 1)(torch.randn(1, 3, 4, 1)).dtype == torch.bfloat16
    assert layer(torch.randn(0, 3, 4, 1)).shape == (0, 4, 2, 1)


def test_every_strided_convolution_of_a_backbone_is_a_convolution_of_ours() -> None:
    with torch.device("meta"):
        backbones = [ResidualPyramid(), MobileNetPyramid(), VGGPyramid("caffe-300"), VGGPyramid("2017-512", "batch")]
    for backbone in backbones:
        striding = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d) and layer.stride[-1] > 1]
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

"""MobileNetV2's maps, padding and norms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from singleshot.backbones.blank import without_memory
from singleshot.backbones.mobilenet_v2 import MobileNetV2Pyramid, SameConvolution
from singleshot.exporting.program import folded


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size_hw", [(300, 300), (1, 1), (97, 130)])
def test_halvings_are_the_sizes_of_the_maps_that_the_network_makes(padding, size_hw) -> None:
    with without_memory(), torch.no_grad():
        network = MobileNetV2Pyramid(padding=padding)
        maps = network(torch.empty(1, 3, *size_hw))
    wanted = [tuple(-(-side // 2**count) for side in size_hw) for count in network.halvings or ()]
    assert [tuple(each.shape[2:]) for each in maps] == wanted
    assert [each.shape[1] for each in maps] == list(network.channels) == [576, 1280, 512, 256, 256, 128]


def test_the_published_detector_has_19_10_5_3_2_1_cells_and_its_number_of_parameters() -> None:
    with without_memory():
        network = MobileNetV2Pyramid()
    assert network.halvings is not None and [-(-300 // 2**count) for count in network.halvings] == [19, 10, 5, 3, 2, 1]
    assert len(network.blocks) == 17 and len(network.blocks_by_depth()) == 19


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_padding_that_the_convolution_adds_is_that_of_a_padded_map(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    convolution, features = SameConvolution(4, 4, kernel, stride, groups=4), torch.randn(2, 4, size, 5)
    high, wide = (max((-(-each // stride) - 1) * stride + kernel - each, 0) for each in (size, 5))
    padded = F.pad(features, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    wanted = F.conv2d(padded, convolution.weight, convolution.bias, stride, groups=4)
    torch.testing.assert_close(convolution(features), wanted, rtol=0, atol=1e-6)


def test_same_padding_adds_the_odd_cell_at_the_bottom_and_at_the_right() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    square = SameConvolution(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        square.weight.zero_()
        square.weight[0, 0, 1] = torch.tensor([1.0, 10.0, 100.0])
    # Centres on cells 1 and 3 of four: (1, 2, 3) and (3, 4, 0); symmetric padding would give (0, 1, 2) and (2, 3, 4).
    assert square(row).flatten().tolist() == [321.0, 43.0]


def test_norms_folded_into_convolutions_leave_the_network_without_norms() -> None:
    torch.manual_seed(0)
    network = MobileNetV2Pyramid("batch", "same").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # pyright: ignore[reportOptionalMemberAccess]
            module.running_var.uniform_(0.5, 1.5)  # pyright: ignore[reportOptionalMemberAccess]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = network(image)
        found = folded(network)(image)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)

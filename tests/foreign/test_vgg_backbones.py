from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from singleshot.errors import DataError
from singleshot.foreign.vgg_backbones import DENSE, INDICES, LAYERS, imagenet_backbone, reduced_backbone
from tests.foreign.made_files import VGG_CHANNELS, vgg_list

FILE = Path("vgg16.pth")


def features() -> dict[str, torch.Tensor]:
    state = {f"features.{place}.weight": torch.zeros(out, channels, 3, 3) for place, channels, out in VGG_CHANNELS}
    return state | {f"features.{place}.bias": torch.full((out,), float(place)) for place, _, out in VGG_CHANNELS}


def dense(names: tuple[str, str], shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = {f"{name}.weight": torch.randn(shape) for name, shape in zip(names, shapes, strict=True)}
    return weights | {f"{name}.bias": torch.randn(4096) for name in names}


def test_every_convolution_finds_its_layer():
    backbone = imagenet_backbone(features(), FILE)
    assert len(backbone) == 26
    for layer, place in zip(LAYERS, INDICES, strict=True):
        assert (backbone[f"trunk.vgg.{layer}.bias"] == place).all()
    assert (LAYERS[0], LAYERS[9], LAYERS[12]) == ("conv1_1", "conv4_3", "conv5_3")


@pytest.mark.parametrize("names", DENSE)
def test_imagenets_classifier_is_subsampled_to_every_fourth_output_and_third_tap(names):
    flat = names == DENSE[0]
    shapes = ((4096, 25088), (4096, 4096)) if flat else ((4096, 512, 7, 7), (4096, 4096, 1, 1))
    full = dense(names, shapes)
    backbone = imagenet_backbone(features() | full | {"classifier.6.bias": torch.zeros(1000)}, FILE)
    fc6, bias = backbone["trunk.vgg.fc6.weight"], backbone["trunk.vgg.fc6.bias"]
    kernel = full[f"{names[0]}.weight"].reshape(4096, 512, 7, 7)
    assert fc6.shape == (1024, 512, 3, 3) and torch.equal(fc6[5, 7, 1, 2], kernel[20, 7, 3, 6])
    fc7 = full[f"{names[1]}.weight"].reshape(4096, 4096)
    assert torch.equal(backbone["trunk.vgg.fc7.weight"][3, 2], fc7[12, 8].reshape(1, 1))
    assert torch.equal(backbone["trunk.vgg.fc7.bias"], full[f"{names[1]}.bias"][::4])
    # At dilation 3 the thinned layer is the full one with its other taps set to 0; four of its outputs will do.
    sparse = torch.zeros(4, 512, 7, 7)
    sparse[:, :, ::3, ::3] = kernel[:16:4, :, ::3, ::3]
    maps = torch.randn(1, 512, 9, 11)
    ours = F.conv2d(maps, fc6[:4], bias[:4], padding=3, dilation=3)
    torch.testing.assert_close(ours, F.conv2d(maps, sparse, bias[:4], padding=3), rtol=1e-4, atol=1e-2)


def test_the_reduced_file_has_numbers_as_names_and_both_subsampled_layers():
    backbone = reduced_backbone(vgg_list(""), FILE)
    assert len(backbone) == 30
    assert (backbone["trunk.vgg.conv4_3.bias"] == 21).all()
    assert (backbone["trunk.vgg.fc6.bias"] == 31).all() and (backbone["trunk.vgg.fc7.bias"] == 33).all()


def test_e5_another_network_is_refused():
    with pytest.raises(DataError, match=r"features\.0\.weight is missing"):
        imagenet_backbone(vgg_list(""), FILE)
    with pytest.raises(DataError, match=r"31\.weight is missing"):
        reduced_backbone(vgg_list("", fc=False), FILE)
    with pytest.raises(DataError, match=r"classifier\.0 is not VGG-16's fc6"):
        imagenet_backbone(features() | {"classifier.0.weight": torch.zeros(10, 10)}, FILE)
    with pytest.raises(DataError, match=r"features\.0\.weight is missing"):
        imagenet_backbone({}, FILE)

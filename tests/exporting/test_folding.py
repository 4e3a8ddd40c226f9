from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.exporting.folding import folded
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config


def with_statistics(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features) * 0.1
            layer.running_var = torch.rand(layer.num_features) + 0.5
    return module.eval()


@pytest.mark.parametrize("flavour", ["lite320-fine", "lite320"])
def test_a_folded_detector_has_no_normalisation_left_and_answers_the_same(flavour: str):
    config: SSDConfig = config_for(flavour, ("a", "b"), (96, 96))
    plain = with_statistics(SSD(config))
    changed = folded(copy.deepcopy(plain))
    assert not [layer for layer in changed.modules() if isinstance(layer, nn.BatchNorm2d)]
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        for ours, theirs in zip(changed(images), plain(images), strict=True):
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_a_folded_segmenter_answers_the_same():
    plain = with_statistics(FCN(fcn_config("fcn8s-fine", ("a", "b"), (32, 64))))
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.allclose(folded(copy.deepcopy(plain))(images), plain(images), atol=1e-4)


def test_a_normalisation_behind_something_else_stays():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    assert isinstance(folded(module)[2], nn.BatchNorm2d)  # pyright: ignore[reportIndexIssue]

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from singleshot.backbones.folding import foldable, folded


def block() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    for each in (made[1], made[3]):
        each.running_mean.normal_()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        each.running_var.uniform_(0.5, 2)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return made


def test_a_normalisation_right_behind_its_convolution_is_gone_and_others_stay():
    plain = block()
    changed = folded(copy.deepcopy(plain))
    assert isinstance(changed[1], nn.Identity) and isinstance(changed[3], nn.BatchNorm2d)  # pyright: ignore[reportIndexIssue]
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(changed(images), plain(images))


@pytest.mark.parametrize(("module", "wanted"), [(block(), True), (nn.Sequential(nn.Conv2d(3, 4, 3)), False)])
def test_whether_there_is_anything_to_fold(module: nn.Module, wanted: bool):
    assert foldable(module) is wanted

from __future__ import annotations

import pytest
import torch

from singleshot.backbones.freezing import Backbone, Freezable
from singleshot.backbones.mobilenet import MobileNetPyramid, MobileNetSkips
from singleshot.backbones.residual import ResidualPyramid
from singleshot.backbones.vgg import plain_vgg16
from singleshot.errors import ConfigError


class Small(Freezable):
    """A network on a backbone of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = ResidualPyramid()

    @property
    def backbone(self) -> ResidualPyramid:
        return self.trunk


@pytest.mark.parametrize("make", [ResidualPyramid, MobileNetPyramid, MobileNetSkips, plain_vgg16])
def test_blocks_have_every_parameter_of_the_backbone_once_from_the_image_on(make: type[Backbone]) -> None:
    with torch.device("meta"):
        backbone = make()
    parts = backbone.blocks_by_depth()
    inside = [id(parameter) for part in parts for layer in part for parameter in layer.parameters()]
    behind = ("extras.", "lateral.", "smooth.")  # after the blocks
    expected = {id(each) for name, each in backbone.named_parameters() if not name.startswith(behind)}
    assert len(inside) == len(set(inside)) and set(inside) == expected
    assert next(iter(backbone.parameters())) is next(iter(parts[0][0].parameters()))


def test_frozen_layers_stay_in_evaluation_whatever_mode_is_asked_for() -> None:
    network = Small().train()
    network.freeze_blocks(2)
    first, third = network.trunk.stem, network.trunk.stages[1]
    for mode in (True, False, True):
        assert network.train(mode) is network
        assert not first.training and third.training is mode
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert all(parameter.requires_grad for parameter in third.parameters())


def test_zero_blocks_freeze_nothing_and_more_than_exist_are_refused() -> None:
    network = Small()
    network.freeze_blocks(0)
    assert network.frozen == [] and all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(ConfigError, match=r"99 blocks are to be frozen and the backbone has \d+"):
        network.freeze_blocks(99)

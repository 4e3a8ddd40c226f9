from __future__ import annotations

import pytest
import torch
from torch import nn

from singleshot.backbones.fine import FinePyramid
from singleshot.backbones.freezing import Freezable, blocks, freeze_blocks
from singleshot.backbones.mobilenet import MobileNetPyramid, MobileNetSkips
from singleshot.backbones.vgg import plain_vgg16
from singleshot.errors import ConfigError


class Small(Freezable):
    """A network on a trunk of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = FinePyramid()


@pytest.mark.parametrize("make", [FinePyramid, MobileNetPyramid, MobileNetSkips, plain_vgg16])
def test_blocks_hold_every_parameter_of_the_trunk_once_from_the_picture_on(make: type[nn.Module]) -> None:
    with torch.device("meta"):
        trunk = make()
    parts = blocks(trunk)
    inside = [id(parameter) for part in parts for layer in part for parameter in layer.parameters()]
    behind = ("extras.", "lateral.", "smooth.")  # what a pyramid makes of the trunk's maps
    of_trunk = {id(each) for name, each in trunk.named_parameters() if not name.startswith(behind)}
    assert len(inside) == len(set(inside)) and set(inside) == of_trunk
    assert next(iter(trunk.parameters())) is next(iter(parts[0][0].parameters()))


def test_frozen_layers_stay_in_evaluation_whatever_mode_is_asked_for() -> None:
    network = Small().train()
    freeze_blocks(network, network.trunk, 2)
    first, third = network.trunk.stem, network.trunk.stages[1]
    for mode in (True, False, True):
        assert network.train(mode) is network
        assert not first.training and third.training is mode
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert all(parameter.requires_grad for parameter in third.parameters())


def test_no_block_at_all_freezes_nothing_and_more_than_there_are_are_refused() -> None:
    network = Small()
    freeze_blocks(network, nn.Linear(1, 1), 0)
    assert network.frozen == [] and all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(ConfigError, match=r"99 blocks are to be frozen and the trunk has \d+"):
        freeze_blocks(network, network.trunk, 99)
    with pytest.raises(ConfigError, match="a trunk of Linear has no blocks"):
        freeze_blocks(network, nn.Linear(1, 1), 1)

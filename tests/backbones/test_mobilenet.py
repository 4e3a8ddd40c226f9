from __future__ import annotations

import torch

from singleshot.backbones.mobilenet import (
    MobileNetPyramid,
    MobileNetSkips,
    SqueezeExcitation,
    divisible_by_8,
    separable_head,
)


def test_an_input_of_320_gives_the_published_maps():
    with torch.device("meta"), torch.no_grad():
        network = MobileNetPyramid().eval()
        maps = network(torch.empty(1, 3, 320, 320))
    assert [tuple(features.shape[1:]) for features in maps] == [
        (672, 20, 20),
        (480, 10, 10),
        (512, 5, 5),
        (256, 3, 3),
        (256, 2, 2),
        (128, 1, 1),
    ]
    assert network.channels == tuple(features.shape[1] for features in maps)


def test_channel_counts_never_lose_a_tenth():
    assert [divisible_by_8(count) for count in (1.0, 12.0, 18.0, 30.0, 120.0, 168.0)] == [8, 16, 24, 32, 120, 168]


def test_excitation_weighs_a_channel_by_a_number_between_0_and_1():
    layer = SqueezeExcitation(8)
    with torch.no_grad():
        layer.excite.weight.zero_()
        layer.excite.bias.copy_(torch.tensor([-9.0, 0.0, 9.0] + [0.0] * 5))  # hard sigmoid: 0, 1/2, 1
    weighed = layer(torch.ones(1, 8, 2, 2))
    assert weighed[0, :3, 0, 0].tolist() == [0.0, 0.5, 1.0]


def test_a_separable_head_answers_at_the_size_of_its_map():
    assert separable_head(16, 12)(torch.randn(2, 16, 5, 3)).shape == (2, 12, 5, 3)


def test_no_images_give_empty_maps():
    with torch.no_grad():
        assert [features.shape[0] for features in MobileNetPyramid().eval()(torch.zeros(0, 3, 96, 96))] == [0] * 6


def test_every_parameter_learns():
    network = MobileNetPyramid()
    sum(features.square().mean() for features in network(torch.randn(2, 3, 64, 96))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_the_skips_are_the_last_maps_of_their_strides_and_share_the_pyramids_names():
    with torch.device("meta"), torch.no_grad():
        network = MobileNetSkips().eval()
        maps = network(torch.empty(1, 3, 64, 96))
        pyramid = MobileNetPyramid().state_dict()
    assert [tuple(features.shape[1:]) for features in maps] == [(40, 8, 12), (112, 4, 6), (480, 2, 3)]
    assert network.channels == (40, 112, 480)
    assert all(pyramid[name].shape == tensor.shape for name, tensor in network.state_dict().items())

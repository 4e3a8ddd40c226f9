from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.backbones.residual import ResidualLayout, ResidualPyramid, ResidualSkips, Stage

FIRST_WEIGHTS = 78662.01675164333
"""The sum of the absolute weights of seed 0, by version 0.1.0."""
SMALL = ResidualLayout(
    (4, 8), (Stage(8, 1, stride=1), Stage(8, 2), Stage(16, 1), Stage(16, 1)), merged=8, extras=(16, 8)
)


def test_the_first_map_has_stride_8():
    with torch.device("meta"), torch.no_grad():
        network = ResidualPyramid().eval()
        maps = network(torch.empty(1, 3, 320, 320))
    assert [tuple(features.shape[2:]) for features in maps] == [(40, 40), (20, 20), (10, 10), (5, 5), (3, 3), (2, 2)]
    assert network.channels == tuple(features.shape[1] for features in maps)


def test_any_layout_and_any_size_of_image_will_do():
    maps = ResidualPyramid(SMALL).eval()(torch.randn(1, 3, 70, 101))
    assert [tuple(features.shape[1:]) for features in maps] == [
        (8, 9, 13),
        (8, 5, 7),
        (16, 3, 4),
        (16, 2, 2),
        (8, 1, 1),
    ]


def test_a_fine_cell_knows_what_is_far_away_by_the_merge_alone():
    torch.manual_seed(0)
    network = ResidualPyramid(SMALL).eval()
    image = torch.randn(1, 3, 128, 128)
    changed = image.clone()
    changed[..., 96:] += 1.0

    def corner(picture: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(picture)[0][0, :, 0, 0]

    assert not torch.equal(corner(image), corner(changed))
    with torch.no_grad():
        for lateral in (network.lateral[1], network.lateral[2]):
            lateral[0].weight.zero_()  # nothing comes down any more
    assert torch.equal(corner(image), corner(changed))


def test_every_parameter_learns():
    network = ResidualPyramid(SMALL)
    sum(features.square().mean() for features in network(torch.randn(2, 3, 64, 96))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("size_hw", [(64, 96), (70, 101)])
def test_with_projected_shortcuts_every_block_adds_its_input_and_maps_keep_their_sizes(size_hw: tuple[int, int]):
    plain, projected = ResidualPyramid(SMALL), ResidualPyramid(replace(SMALL, projected=True))
    image = torch.randn(2, 3, *size_hw)
    assert [each.shape for each in projected(image)] == [each.shape for each in plain(image)]
    shortcuts = {name.split(".shortcut")[0] for name, _ in projected.named_parameters() if ".shortcut." in name}
    assert shortcuts == {
        "stages.1.0",
        "stages.2.0",
        "stages.3.0",
    }  # the others have equal shapes and add them as they are
    sum(features.square().mean() for features in projected(image)).backward()
    assert [name for name, parameter in projected.named_parameters() if parameter.grad is None] == []


def test_weights_of_the_first_backbone_are_drawn_as_before_projected_shortcuts():
    torch.manual_seed(0)
    total = sum(float(each.detach().double().abs().sum()) for each in ResidualPyramid().parameters())
    assert total == pytest.approx(FIRST_WEIGHTS, rel=1e-6)


def test_no_images_give_empty_maps():
    with torch.no_grad():
        assert [features.shape[0] for features in ResidualPyramid(SMALL).eval()(torch.zeros(0, 3, 64, 64))] == [0] * 5


def test_the_skips_begin_at_stride_4_and_share_the_pyramids_names():
    with torch.device("meta"), torch.no_grad():
        network = ResidualSkips().eval()
        maps = network(torch.empty(1, 3, 64, 96))
        pyramid = ResidualPyramid().state_dict()
    assert [tuple(features.shape[1:]) for features in maps] == [(32, 16, 24), (64, 8, 12), (64, 4, 6), (192, 2, 3)]
    assert network.channels == (32, 64, 64, 192)
    assert all(pyramid[name].shape == tensor.shape for name, tensor in network.state_dict().items())

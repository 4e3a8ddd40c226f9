from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from singleshot.errors import ConfigError
from singleshot.segmentation.fcn import (
    FCN,
    MODELS,
    PADDING,
    FCNConfig,
    StagedHead,
    TrainedUpsampling,
    bilinear_kernel,
    config_for,
    enlarge_bilinearly,
)

SIZES = [(1, 1), (2, 31), (33, 64), (160, 576), (161, 577), (375, 500), (255, 257)]


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def on_meta(flavour: str, classes: int) -> FCN:
    with torch.device("meta"):
        return FCN(config_for(flavour, names(classes))).eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_have_the_published_numbers_of_parameters() -> None:
    # The reference counts its frozen kernels, square from every class to every class: two of side 4, one of side 16.
    assert parameters(on_meta("fcn8s", 21)) + 21 * 21 * (4 * 4 + 4 * 4 + 16 * 16) == 134_489_759
    assert parameters(on_meta("fcn8s-2017", 2)) == 134_291_782


@pytest.mark.parametrize("flavour", MODELS)
def test_any_image_gives_scores_of_its_own_size(flavour: str) -> None:
    network = on_meta(flavour, 5)
    with torch.no_grad():
        for height, width in SIZES:
            assert network(torch.empty(1, 3, height, width, device="meta")).shape == (1, 5, height, width)


@pytest.mark.parametrize(
    ("stride", "layer"),
    [(8, "fc7"), (8, "pool4"), (8, "pool3"), (16, "fc7"), (16, "pool4"), (32, "fc7")],
)
def test_the_staged_crops_centre_the_scores_of_each_map_on_the_image(stride: int, layer: str) -> None:
    # One bright cell in one map must come back where it stood. pool3's cell i is the padded picture's pixels 8·i to
    # 8·i + 7, around 8·i + 4, and the picture begins at 99; pool4's by 16 alike. fc7's sees 7 cells of 32.
    head, side, cell = StagedHead(1, stride), 900, 13
    places = ("pool3", "pool4", "fc7").index(layer)
    centre = (8 * cell - 95, 16 * cell - 91, 32 * cell + 13)[places]
    sizes = [-(-(side + 2 * PADDING) // each) for each in (8, 16, 32)]
    sizes[2] -= 6
    maps = [torch.zeros(1, channels, size, size) for channels, size in zip((256, 512, 4096), sizes, strict=True)]
    shift = 0 if centre > 100 else 20  # so that the whole spot lies within the picture
    centre += shift * (8, 16, 32)[places]
    maps[places][0, 0, cell + shift, cell + shift] = 1.0
    with torch.no_grad():
        head.get_submodule(f"score_{layer}").get_parameter("weight")[0, 0] = 1.0
        answer = head(tuple(maps), (side, side))[0, 0]
    assert answer.shape == (side, side)
    for along in (0, 1):
        spread = answer.sum(dim=1 - along).double()
        found = float((spread * (torch.arange(side) + 0.5)).sum() / spread.sum())
        assert found == pytest.approx(centre, abs=0.01)


def test_the_2017_heads_are_weighed_one_two_four() -> None:
    network = FCN(replace(config_for("fcn8s-2017", names(2)))).head
    with torch.no_grad():
        for layer in network.scores:
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        maps = (torch.zeros(1, 256, 16, 16), torch.zeros(1, 512, 8, 8), torch.zeros(1, 4096, 4, 4))
        answer = network(maps, (128, 128))
    torch.testing.assert_close(answer[0, :, 64, 64], torch.tensor([7.0, 7.0]))


def test_the_staged_scores_start_at_zero() -> None:
    with torch.no_grad():
        head = StagedHead(3)
        maps = (torch.randn(1, 256, 45, 45), torch.randn(1, 512, 23, 23), torch.randn(1, 4096, 6, 6))
        assert head(maps, (160, 160)).abs().max() == 0


@pytest.mark.parametrize("flavour", ["fcn8s-lite", "fcn8s-fine", "fcn8s-fine2"])
def test_a_light_segmenter_computes_float32_scores_and_learns_in_every_part(flavour: str) -> None:
    network = FCN(config_for(flavour, names(4), (64, 96)))
    logits = network(torch.randn(2, 3, 61, 90))
    assert logits.shape == (2, 4, 61, 90) and logits.dtype == torch.float32
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert parameters(network) < 4_000_000
    assert network.eval()(torch.zeros(0, 3, 64, 96)).shape == (0, 4, 64, 96)


def test_frozen_layers_do_not_learn_and_stay_in_evaluation() -> None:
    network = FCN(config_for("fcn8s-fine", names(2)))
    network.freeze([network.trunk.stem])
    network.train()
    assert not any(module.training for module in network.trunk.stem.modules())
    assert not any(parameter.requires_grad for parameter in network.trunk.stem.parameters())
    assert network.head.training


def test_a_config_survives_json_and_refuses_nonsense() -> None:
    config = config_for("fcn8s-lite", ["road", "sky"], (96, 128), [(1, 2, 3), (4, 5, 6)], "letterbox")
    assert FCNConfig.from_json_dict(config.to_json_dict()) == config
    assert config.input_size_hw == (96, 128) and config.label_map.names == ("road", "sky")
    with pytest.raises(ConfigError, match="Did you mean fcn8s"):
        config_for("fcn8", names(2))
    for changes in ({"class_names": ("one",)}, {"colours": ((1, 2, 3),)}, {"trunk": "vgg16"}, {"stride": 16}):
        with pytest.raises(ConfigError):
            replace(config, **changes)


@pytest.mark.parametrize("factor", [2, 3, 8, 16, 32])
def test_copies_of_the_kernel_a_factor_apart_add_up_to_one(factor: int) -> None:
    kernel = bilinear_kernel(factor)
    assert kernel.shape == (2 * factor - factor % 2,) * 2
    ones = enlarge_bilinearly(torch.ones(1, 1, 4, 5), factor)
    inside = ones[0, 0, factor:-factor, factor:-factor]
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_doubling_worked_by_hand() -> None:
    # Cells 1 and 3: the pixels between them are 1.5 and 2.5, a quarter and three quarters of the way.
    row = enlarge_bilinearly(torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]]), 2)[0, 0, 2]
    torch.testing.assert_close(row, torch.tensor([0.25, 0.75, 1.5, 2.5, 2.25, 0.75]))


def test_each_class_is_enlarged_by_itself_in_both_forms() -> None:
    scores = torch.zeros(2, 3, 4, 4)
    scores[:, 1] = 1.0
    frozen = enlarge_bilinearly(scores, 8)
    trained = TrainedUpsampling(3, 8)(scores)
    assert frozen.shape == (2, 3, 40, 40) and trained.shape == (2, 3, 32, 32)
    for answer in (frozen, trained):
        assert answer[:, [0, 2]].abs().max() == 0 and answer[:, 1].max() > 0.99
    # SAME padding cuts half the kernel's overhang off on every side.
    torch.testing.assert_close(trained, frozen[:, :, 4:-4, 4:-4])


def test_upsampling_of_no_images_is_empty() -> None:
    assert TrainedUpsampling(2, 8)(torch.zeros(0, 2, 3, 3)).shape == (0, 2, 24, 24)


def test_the_kernel_is_made_on_the_device_of_the_scores(device_watch: Any) -> None:
    with device_watch:
        assert enlarge_bilinearly(torch.empty(1, 3, 4, 5, device="meta"), 8).shape == (1, 3, 40, 48)
    assert device_watch.on_host == []


@pytest.mark.parametrize("model", ["fcn8s", "fcn8s-fine", "fcn8s-fine2"])
def test_scores_are_enlarged_in_fp32_under_autocast(model: str):
    torch.manual_seed(0)
    network = FCN(config_for(model, ("a", "b"), (64, 96))).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.rand(1, 3, 64, 96))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float()) or not logits.any()

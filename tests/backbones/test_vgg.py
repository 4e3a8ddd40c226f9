from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from singleshot.backbones.vgg import (
    VGGPyramid,
    atrous_vgg16,
    decimate_fc6,
    decimate_fc7,
    plain_vgg16,
    xavier_as_caffe,
)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def map_sizes(network: nn.Module, height: int, width: int) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [
            tuple(features.shape[1:]) for features in network.eval()(torch.empty(1, 3, height, width, device="meta"))
        ]


def test_the_plain_backbone_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert parameters(plain_vgg16()) == 134_260_544


def test_the_plain_backbone_gives_pool3_pool4_and_fc7_at_strides_8_16_and_32():
    with torch.device("meta"):
        assert map_sizes(plain_vgg16(), 160, 576) == [(256, 20, 72), (512, 10, 36), (4096, 5, 18)]


def test_berkeley_pads_the_image_and_not_fc6():
    with torch.device("meta"):
        *_, fc7 = map_sizes(plain_vgg16(fc6_padding=0), 224, 224)
    assert fc7 == (4096, 1, 1)


def test_pooling_rounds_up_as_caffe_does():
    with torch.device("meta"):
        assert map_sizes(atrous_vgg16(), 300, 300) == [(512, 38, 38), (1024, 19, 19)]


@pytest.mark.parametrize(
    ("extras", "side", "expected"),
    [
        ("caffe-300", 300, [38, 19, 10, 5, 3, 1]),
        ("2017-300", 300, [38, 19, 10, 5, 3, 1]),
        ("caffe-512", 512, [64, 32, 16, 8, 4, 2, 1]),
        ("2017-512", 512, [64, 32, 16, 8, 4, 2, 1]),
    ],
)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_pyramid_has_the_published_maps(extras, side, expected, norm):
    with torch.device("meta"):
        network = VGGPyramid(extras, norm)
        sizes = map_sizes(network, side, side)
    assert sizes == [(channels, cells, cells) for channels, cells in zip(network.channels, expected, strict=True)]


def test_same_padding_of_an_even_map_is_at_the_bottom_and_right():
    extra = VGGPyramid("2017-512").extras[0].eval()
    features = torch.zeros(1, 1024, 4, 4)
    with torch.no_grad():
        extra.reduce.weight.fill_(1e-3)
        extra.widen.weight.zero_()
        extra.widen.weight[:, :, 0, 0] = 1e-3  # the top left tap alone: it reads cells 0 and 2, never the padding
        features[0, :, 0, 0] = 1.0
        answer = extra(features)[0, 0]
    assert answer.shape == (2, 2)
    assert (answer > 0).tolist() == [[True, False], [False, False]]


def test_same_padding_of_an_odd_map_is_on_all_sides():
    same, caffe = VGGPyramid("2017-300").extras[0].eval(), VGGPyramid("caffe-300").extras[0].eval()
    same.load_state_dict(caffe.state_dict())
    features = torch.randn(1, 1024, 5, 7)
    torch.testing.assert_close(same(features), caffe(features))


def test_the_last_layer_of_the_2017_512_pads_the_bottom_and_right():
    last = VGGPyramid("2017-512").extras[-1].eval()
    with torch.no_grad():
        last.reduce.weight.fill_(1.0)
        last.widen.weight.zero_()
        last.widen.weight[:, :, 2, 2] = 1.0  # the bottom right tap reads padding, the others do not
        assert last(torch.ones(1, 256, 2, 2)).max() == 0
        last.widen.weight[:, :, 1, 1] = 1.0
        assert last(torch.ones(1, 256, 2, 2)).min() > 0


def test_fc6_keeps_every_fourth_output_and_three_taps_a_side():
    torch.manual_seed(0)
    flat, bias = torch.randn(4096, 512 * 49), torch.randn(4096)
    weight, narrow_bias = decimate_fc6(flat, bias)
    dense = flat.reshape(4096, 512, 7, 7)
    assert (weight.shape, narrow_bias.shape) == ((1024, 512, 3, 3), (1024,))
    assert weight[5, 7, 1, 2] == dense[20, 7, 3, 6]
    # The law: at dilation 3 it is the dense convolution with all taps but {0, 3, 6} silenced.
    some = slice(0, 1024, 128)
    silenced = torch.zeros(8, 512, 7, 7)
    silenced[:, :, ::3, ::3] = dense[::4][some][:, :, ::3, ::3]
    features = torch.randn(1, 512, 6, 9)
    narrow = F.conv2d(features, weight[some], narrow_bias[some], padding=3, dilation=3)
    torch.testing.assert_close(narrow, F.conv2d(features, silenced, bias[::4][some], padding=3), rtol=1e-3, atol=1e-3)


def test_fc7_keeps_every_fourth_output_of_every_fourth_input():
    dense, bias = torch.randn(4096, 4096), torch.randn(4096)
    weight, narrow_bias = decimate_fc7(dense, bias)
    assert (weight.shape, narrow_bias.shape) == ((1024, 1024, 1, 1), (1024,))
    assert weight[3, 9, 0, 0] == dense[12, 36]
    assert narrow_bias[3] == bias[12]


def test_decimated_layers_fit_the_backbone():
    with torch.device("meta"):
        trunk = atrous_vgg16()
        fc6 = decimate_fc6(torch.empty(4096, 512, 7, 7), torch.empty(4096))
        fc7 = decimate_fc7(torch.empty(4096, 4096, 1, 1), torch.empty(4096))
    state = trunk.state_dict()
    assert [tensor.shape for tensor in fc6] == [state["fc6.weight"].shape, state["fc6.bias"].shape]
    assert [tensor.shape for tensor in fc7] == [state["fc7.weight"].shape, state["fc7.bias"].shape]


def test_caffes_filler_looks_at_the_inputs_alone():
    layer = nn.Conv2d(12, 400, 5)
    xavier_as_caffe(layer)
    bound = (3 / (12 * 25)) ** 0.5
    assert bound * 0.99 < layer.weight.abs().max() <= bound
    assert layer.bias is not None and layer.bias.abs().max() == 0


def test_no_images_give_empty_maps():
    with torch.no_grad():
        assert [features.shape[0] for features in VGGPyramid().eval()(torch.zeros(0, 3, 300, 300))] == [0] * 6

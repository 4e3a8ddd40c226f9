"""Operators of Core ML by numbers that were worked out by hand, and by torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from singleshot.exporting.coreml_graph import compute


def test_pointwise_operators_as_documented():
    x = torch.tensor([-4.0, -1.0, 0.5, 2.0])
    assert compute("relu", {"x": x}).tolist() == [0.0, 0.0, 0.5, 2.0]
    assert compute("clip", {"x": x, "alpha": -1.0, "beta": 1.0}).tolist() == [-1.0, -1.0, 0.5, 1.0]
    assert compute("sigmoid_hard", {"x": x, "alpha": 0.25, "beta": 0.5}).tolist() == [0.0, 0.25, 0.625, 1.0]
    assert compute("thresholded_relu", {"x": x, "alpha": 0.5}).tolist() == [0.0, 0.0, 0.5, 2.0]
    assert compute("real_div", {"x": x, "y": torch.tensor(2.0)}).tolist() == [-2.0, -0.5, 0.25, 1.0]


def test_a_convolution_pads_each_side_by_its_own_number():
    x, weight, bias = torch.randn(1, 4, 5, 6), torch.randn(6, 2, 3, 3), torch.randn(6)
    given = {
        "x": x, "weight": weight, "bias": bias, "strides": [2, 1], "groups": 2, "dilations": [1, 1],
        "pad_type": "custom", "pad": [0, 1, 2, 3],
    }  # fmt: skip
    wanted = F.conv2d(F.pad(x, [2, 3, 0, 1]), weight, bias, [2, 1], groups=2)
    torch.testing.assert_close(compute("conv", given), wanted)
    with pytest.raises(ValueError, match="padding same"):
        compute("conv", given | {"pad_type": "same"})


def test_the_edge_of_a_map_is_never_its_largest_value():
    x = torch.full((1, 1, 3, 3), -5.0)
    given = {"x": x, "kernel_sizes": [3, 3], "strides": [1, 1], "pad_type": "custom", "pad": [1, 1, 1, 1]}
    assert compute("max_pool", given).unique().tolist() == [-5.0]
    halved = {"x": x, "kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid", "pad": [], "ceil_mode": True}
    assert compute("max_pool", halved).shape == (1, 1, 2, 2)


def test_the_last_window_of_an_average_counts_what_is_within_the_map():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    given = {
        "x": x, "kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "custom", "pad": [0, 0, 0, 0],
        "ceil_mode": True, "exclude_padding_from_average": True,
    }  # fmt: skip
    assert compute("avg_pool", given).tolist() == [[[[2.0, 3.5], [6.5, 8.0]]]]
    for wrong in ({"pad": [1, 1, 0, 0]}, {"pad_type": "same"}, {"exclude_padding_from_average": False}):
        with pytest.raises(ValueError, match="avg_pool"):
            compute("avg_pool", given | wrong)


def test_a_slice_keeps_to_its_masks():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    given = {
        "x": x, "begin": [0, 0, 1, 1], "end": [0, 0, 3, -1],
        "begin_mask": [True, True, False, False], "end_mask": [True, True, False, False],
    }  # fmt: skip
    assert compute("slice_by_index", given).tolist() == [[[[5.0, 6.0], [9.0, 10.0]]]]


def test_padding_and_enlarging():
    x = torch.tensor([[[[1.0, 2.0]]]])
    padded = compute("pad", {"x": x, "pad": [0, 0, 0, 0, 1, 0, 0, 2], "constant_val": 7.0})
    assert padded.tolist() == [[[[7.0] * 4, [1.0, 2.0, 7.0, 7.0]]]]
    larger = {"x": x, "scale_factor_height": 2.0, "scale_factor_width": 2.0}
    assert compute("upsample_nearest_neighbor", larger).tolist() == [[[[1.0, 1.0, 2.0, 2.0]] * 2]]
    smooth = compute("upsample_bilinear", larger | {"align_corners": False})
    assert smooth.tolist() == [[[[1.0, 1.25, 1.75, 2.0]] * 2]]


def test_an_operator_that_no_export_has_is_refused():
    with pytest.raises(ValueError, match="an operator lstm"):
        compute("lstm", {"x": torch.zeros(1)})

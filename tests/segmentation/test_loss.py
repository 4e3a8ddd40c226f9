from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from singleshot.errors import ConfigError
from singleshot.segmentation.loss import PixelLossConfig, log_weights, pixel_loss, soft_iou_loss

VOID = 255


def masks(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


def test_void_pixels_weigh_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2)
    one = pixel_loss(logits, masks([1, VOID], [VOID, VOID]))["pixel"]
    expected = -logits[0, :, 0, 0].log_softmax(dim=0)[1]
    torch.testing.assert_close(one, expected)


def test_by_hand_three_to_one_for_the_right_class() -> None:
    logits = torch.tensor([[[[math.log(3.0)]], [[0.0]]]])
    assert float(pixel_loss(logits, masks([0]))["pixel"]) == pytest.approx(-math.log(0.75))
    assert float(soft_iou_loss(logits, masks([0]))) == pytest.approx(1 - 0.75)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_b32_an_all_void_tile_has_loss_zero_and_a_gradient_of_zero(weights: torch.Tensor | None) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    parts = pixel_loss(logits, torch.full((2, 4, 4), VOID, dtype=torch.uint8), PixelLossConfig(soft_iou=1.0), weights)
    total = torch.stack(list(parts.values())).sum()
    total.backward()
    assert float(total.detach()) == 0.0
    assert logits.grad is not None and logits.grad.abs().max() == 0


def test_class_weights_are_a_weighed_mean_so_their_scale_does_not_matter() -> None:
    logits, mask = torch.randn(1, 2, 1, 2), masks([0, 1])
    weights = torch.tensor([1.0, 3.0])
    lone = [float(pixel_loss(logits, masks(row))["pixel"]) for row in ([0, VOID], [VOID, 1])]
    found = float(pixel_loss(logits, mask, None, weights)["pixel"])
    assert found == pytest.approx((lone[0] + 3 * lone[1]) / 4, rel=1e-5)
    assert found == pytest.approx(float(pixel_loss(logits, mask, None, 10 * weights)["pixel"]), rel=1e-5)


def test_soft_iou_leaves_out_classes_that_are_not_there_and_falls_as_the_answer_improves() -> None:
    mask = masks([0, 0, 1, VOID])
    sure = torch.zeros(1, 5, 1, 4)
    sure[0, 0, 0, :2] = sure[0, 1, 0, 2] = 50.0
    assert float(soft_iou_loss(sure, mask)) == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < float(soft_iou_loss(torch.zeros(1, 5, 1, 4), mask)) < 1


def test_rare_classes_weigh_more_and_absent_ones_nothing() -> None:
    weights = log_weights(np.array([900, 100, 0]))
    assert weights[2] == 0 and weights[1] > weights[0]
    assert weights[0] == pytest.approx(1 / math.log(1.02 + 0.9))
    assert log_weights(np.array([0, 0])).tolist() == [0, 0]


def test_a_bad_option_is_refused() -> None:
    with pytest.raises(ConfigError):
        PixelLossConfig(class_weights=(1.0, -1.0))
    with pytest.raises(ConfigError):
        PixelLossConfig(soft_iou=-0.5)


def test_the_loss_asks_nothing_of_the_device(device_watch: Any) -> None:
    logits = torch.empty(2, 3, 4, 5, device="meta", requires_grad=True)
    truth = torch.empty(2, 4, 5, dtype=torch.uint8, device="meta")
    with device_watch:
        found = pixel_loss(logits, truth, PixelLossConfig(soft_iou=1.0), torch.empty(3, device="meta"))
        sum(found.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    assert device_watch.on_host == []

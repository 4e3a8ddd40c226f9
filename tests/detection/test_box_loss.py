from __future__ import annotations

import math

import pytest
import torch

from singleshot.detection.box_loss import iou_loss

KINDS = ("giou", "diou", "ciou")


def random_boxes(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = torch.rand(2, count, 4, generator=generator) * torch.tensor([1.0, 1.0, 0.5, 0.5])
    made[..., 2:] += 0.01
    return made[0], made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_cost_nothing_and_any_other_costs_something(kind: str) -> None:
    first, second = random_boxes()
    torch.testing.assert_close(iou_loss(first, first, kind), torch.zeros(200), atol=1e-5, rtol=0)
    assert (iou_loss(first, second, kind) > 0.01).all()


def test_values_computed_by_hand() -> None:
    """Squares of side 2 at (0, 0) and (1, 0): IoU 1/3, enclosing 3×2 is full, centres 1 apart, diagonal² 13."""
    first, second = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 2.0, 2.0])
    assert float(iou_loss(first, second, "giou")) == pytest.approx(1 - 1 / 3)
    assert float(iou_loss(first, second, "diou")) == pytest.approx(1 - 1 / 3 + 1 / 13)
    assert float(iou_loss(first, second, "ciou")) == pytest.approx(1 - 1 / 3 + 1 / 13)
    wide = torch.tensor([0.0, 0.0, 4.0, 1.0])  # centre the same: IoU 2 / (4 + 4 − 2), proportions 4:1 against 1:1
    v = 4 / math.pi**2 * (math.atan(4) - math.atan(1)) ** 2
    assert float(iou_loss(first, wide, "ciou")) == pytest.approx(1 - 1 / 3 + v * v / (1 - 1 / 3 + v))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_does_not_depend_on_scale_and_position(kind: str) -> None:
    first, second = random_boxes()
    moved = torch.tensor([5.0, -3.0, 0.0, 0.0])
    torch.testing.assert_close(
        iou_loss(first * 7 + moved, second * 7 + moved, kind), iou_loss(first, second, kind), atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_that_are_apart_are_drawn_together(kind: str) -> None:
    predicted = torch.tensor([0.8, 0.5, 0.1, 0.1], requires_grad=True)
    iou_loss(predicted, torch.tensor([0.2, 0.5, 0.1, 0.1]), kind).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all() and float(predicted.grad[0]) > 0  # a step against it moves left


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    first, second = random_boxes(6)
    first = first.double().requires_grad_()
    # In float32 inside, hence the wide tolerance; `ciou` holds α still, so its own gradient is not that of its value.
    if kind != "ciou":
        assert torch.autograd.gradcheck(
            lambda x: iou_loss(x, second, kind).double(), (first,), eps=1e-3, atol=2e-2, rtol=2e-2, nondet_tol=0
        )


def test_no_boxes_have_no_loss() -> None:
    assert iou_loss(torch.zeros(0, 4), torch.zeros(0, 4), "giou").shape == (0,)

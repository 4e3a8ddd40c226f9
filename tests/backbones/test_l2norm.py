from __future__ import annotations

import torch

from singleshot.backbones.l2norm import L2Norm


def test_each_cell_has_the_length_of_the_scale():
    features = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    result = L2Norm(2, scale=20.0)(features)
    torch.testing.assert_close(result.flatten(), torch.tensor([12.0, 16.0]))


def test_the_scale_is_learned_channel_by_channel():
    norm = L2Norm(2)
    norm(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).sum().backward()
    assert norm.scale.grad is not None
    torch.testing.assert_close(norm.scale.grad, torch.tensor([0.6, 0.8]))


def test_a_silent_cell_stays_silent_with_finite_gradients():
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    result = L2Norm(3)(features)
    result.sum().backward()
    assert result.abs().max() == 0
    assert features.grad is not None and features.grad.isfinite().all()


def test_half_precision_does_not_overflow():
    features = torch.full((1, 512, 1, 1), 200.0, dtype=torch.float16)  # the squares sum up to 2e7
    result = L2Norm(512)(features)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float().flatten(), torch.full((512,), 20 / 512**0.5), rtol=1e-3, atol=0)


def test_no_pictures_give_no_maps():
    assert L2Norm(4)(torch.zeros(0, 4, 2, 2)).shape == (0, 4, 2, 2)

from __future__ import annotations

from typing import Any

import pytest
import torch

from singleshot.segmentation.upsampling import TrainedUpsampling, bilinear_kernel, enlarge_bilinearly


@pytest.mark.parametrize("factor", [2, 3, 8, 16, 32])
def test_copies_of_the_kernel_a_factor_apart_add_up_to_one(factor: int) -> None:
    kernel = bilinear_kernel(factor)
    assert kernel.shape == (2 * factor - factor % 2,) * 2
    ones = enlarge_bilinearly(torch.ones(1, 1, 4, 5), factor)
    inside = ones[0, 0, factor:-factor, factor:-factor]
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_doubling_by_hand() -> None:
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


def test_no_pictures_give_no_pictures() -> None:
    assert TrainedUpsampling(2, 8)(torch.zeros(0, 2, 3, 3)).shape == (0, 2, 24, 24)


def test_the_kernel_is_made_where_the_scores_are(device_watch: Any) -> None:
    with device_watch:
        assert enlarge_bilinearly(torch.empty(1, 3, 4, 5, device="meta"), 8).shape == (1, 3, 40, 48)
    assert device_watch.on_host == []

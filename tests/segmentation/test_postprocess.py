from __future__ import annotations

import pytest
import torch

from singleshot.preprocess import Preprocess
from singleshot.segmentation import postprocess
from singleshot.segmentation.postprocess import at_size, class_maps, probabilities, without_margin


def test_every_image_comes_back_at_its_own_size() -> None:
    logits = torch.zeros(2, 3, 8, 8)
    logits[0, 2] = 1.0
    sizes = [(5, 7), (16, 20)]
    first, second = class_maps(logits, sizes, Preprocess(size_hw=(8, 8)))
    assert [tuple(first.shape), tuple(second.shape)] == sizes
    assert first.unique().tolist() == [2] and second.unique().tolist() == [0]  # of equal scores the lower id


def test_scores_are_enlarged_before_the_decision() -> None:
    # Class 0 scores 1, 0; class 1 scores 0, 3: halfway it is 0.5 against 1.5, so that the border moves to the left.
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]]]])
    (found,) = class_maps(logits, [(1, 8)], Preprocess(size_hw=(1, 2)))
    assert found.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]


def test_the_margin_of_a_letterboxed_image_is_cut_off() -> None:
    letterbox = Preprocess(size_hw=(8, 8), fit="letterbox")
    scores = torch.zeros(2, 8, 8)
    scores[1, 4:] = 9.0  # the margin of a picture twice as wide as high
    assert without_margin(scores, (10, 20), letterbox).shape == (2, 4, 8)
    (found,) = class_maps(scores[None], [(10, 20)], letterbox)
    assert found.shape == (10, 20) and found.max() == 0


def test_probabilities_sum_to_one() -> None:
    found = probabilities(torch.randn(4, 6, 6), (9, 11))
    torch.testing.assert_close(found.sum(dim=0), torch.ones(9, 11))


def test_no_images_give_no_maps() -> None:
    assert class_maps(torch.zeros(0, 3, 8, 8), [], Preprocess(size_hw=(8, 8))) == []


@pytest.mark.parametrize("size_hw", [(37, 23), (6, 40), (3, 5), (200, 9)])
def test_a_huge_image_is_decided_band_by_band_and_alike(
    size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    scores, largest = torch.randn(4, 6, 7), list[int]()
    whole = at_size(scores, size_hw)
    bands = [postprocess._band(scores, top, min(top + 2, size_hw[0]), size_hw) for top in range(0, size_hw[0], 2)]
    torch.testing.assert_close(torch.cat(bands, dim=1), whole)

    def watched(seen: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        largest.append(len(seen) * size[0] * size[1])
        return at_size(seen, size)

    monkeypatch.setattr(postprocess, "AT_ONCE", 2 * 4 * size_hw[1])
    monkeypatch.setattr(postprocess, "at_size", watched)
    (found,) = class_maps(scores[None], [size_hw], Preprocess(size_hw=(6, 7)))
    assert torch.equal(found, whole.argmax(dim=0).to(torch.uint8)) and max(largest) <= 2 * 4 * size_hw[1]

from __future__ import annotations

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection.coding import decode
from singleshot.detection.detect_loops import BLOCK, detect_compiled
from singleshot.detection.raw import RawDetections

EDGES = np.ones((1, 2), np.float32)


def all_of(logits: torch.Tensor, offsets: torch.Tensor, anchors: torch.Tensor, threshold: float = 0.0) -> np.ndarray:
    """Every box of every class above the threshold: nothing overlaps by more than 1."""
    rows, counts = detect_compiled(
        RawDetections(logits[None], offsets[None]), anchors, EDGES, threshold, 1.0, 10_000, 10_000, False
    )
    return rows[0, : counts[0]]


@pytest.mark.parametrize("anchors", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_scores_are_the_softmax_and_boxes_the_decoded_ones(anchors: int) -> None:
    generator = torch.Generator().manual_seed(anchors)
    logits = torch.randn(anchors, 6, generator=generator) * 4
    offsets, defaults = torch.randn(anchors, 4, generator=generator), torch.rand(anchors, 4, generator=generator)
    rows = all_of(logits, offsets, defaults)
    scores = logits.softmax(-1)[:, 1:].T.flatten().numpy()
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_allclose(rows[:, 4], scores[order], rtol=2e-6, atol=1e-30)
    np.testing.assert_array_equal(rows[:, 5], np.repeat(np.arange(5), anchors)[order])
    corners = np.tile(boxes.cxcywh_to_xyxy(decode(offsets, defaults)).numpy(), (5, 1))
    np.testing.assert_allclose(rows[:, :4], corners[order], rtol=1e-5, atol=1e-6)


def test_a_class_that_is_masked_with_minus_infinity_is_never_found() -> None:
    """Also at threshold 0, where room is made for what is above minus infinity only."""
    logits = torch.zeros(40, 4)
    logits[:, 2] = -torch.inf
    rows = all_of(logits, torch.zeros(40, 4), torch.full((40, 4), 0.5))
    assert len(rows) == 80 and set(rows[:, 5]) == {0.0, 2.0}


def test_the_best_of_a_class_enter_suppression_and_ties_keep_their_order() -> None:
    logits = torch.zeros(10, 2)
    logits[:, 1] = torch.tensor([1.0, 3, 2, 3, 1, 1, 1, 1, 1, 1])
    anchors = torch.tensor([[0.1 * i, 0.5, 0.01, 0.01] for i in range(10)])
    raw = RawDetections(logits[None], torch.zeros(1, 10, 4))
    rows, counts = detect_compiled(raw, anchors, EDGES, 0.01, 0.45, 4, 100, False)
    assert counts.tolist() == [4]
    np.testing.assert_allclose(rows[0, :4, [0, 2]].mean(0), [0.1, 0.3, 0.2, 0.0], atol=1e-6)


def test_no_picture_in_none_out() -> None:
    raw = RawDetections(torch.zeros(0, 10, 3), torch.zeros(0, 10, 4))
    rows, counts = detect_compiled(raw, torch.rand(10, 4), EDGES[:0], 0.01, 0.45, 400, 200, False)
    assert rows.shape == (0, 200, 6) and counts.shape == (0,)

from __future__ import annotations

import numpy as np
import pytest
import torch

from singleshot.detection.postprocess import nms
from singleshot.exporting.suppression import LoopSuppression, OperatorSuppression, loop


@pytest.mark.parametrize("nms_iou", [0.3, 0.45, 0.7])
def test_the_loop_is_greedy_suppression(nms_iou: float):
    rng = np.random.default_rng(1)
    corner, size = rng.random((4, 200, 2)), rng.random((4, 200, 2)) * 0.4
    boxes = np.concatenate([corner, corner + size], axis=2).astype(np.float32)
    scores = -np.sort(-rng.random((4, 200))).astype(np.float32)
    kept = loop(torch.from_numpy(boxes), torch.from_numpy(scores), nms_iou).numpy()
    for row in range(4):
        assert np.array_equal(np.flatnonzero(kept[row]), np.sort(nms(boxes[row], scores[row], nms_iou)))


def test_an_overlap_of_exactly_the_threshold_is_kept_and_absent_rows_suppress_nothing():
    boxes = torch.tensor([[[0.0, 0, 2, 1], [1.0, 0, 3, 1], [0.0, 0, 2, 1]]])  # the first two share 1 of 3
    assert loop(boxes, torch.tensor([[0.9, 0.8, 0.0]]), 1 / 3).tolist() == [[True, True, False]]
    assert loop(boxes, torch.tensor([[0.9, 0.8, 0.7]]), 0.33).tolist() == [[True, False, False]]
    assert loop(boxes, torch.zeros(1, 3), 0.33).tolist() == [[False, False, False]]


def test_the_greatest_come_first_and_of_equals_the_earlier():
    values = torch.tensor([[0.25, 0.5, 0.0, 0.5, 0.25, 0.5]])
    best, places = LoopSuppression().greatest(values, 4)
    assert best.tolist() == [[0.5, 0.5, 0.5, 0.25]] and places.tolist() == [[1, 3, 5, 0]]
    assert torch.equal(OperatorSuppression().greatest(values, 4)[0], best)


def test_the_operator_run_by_torch_is_the_loop():
    boxes = torch.tensor([[[0.0, 0, 2, 2], [0.0, 0, 2, 1.9], [5.0, 5, 6, 6]]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    for way in (LoopSuppression(), OperatorSuppression()):
        assert way.suppress(boxes, scores, 0.45).tolist() == [[pytest.approx(0.9), 0.0, pytest.approx(0.7)]]

from __future__ import annotations

import numpy as np
import pytest

from singleshot.boxes import pairwise_iou
from singleshot.detection.nms import nms


def nms_by_hand(boxes_xyxy: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        overlaps = pairwise_iou(boxes_xyxy[i : i + 1], boxes_xyxy[kept])[0] if kept else np.zeros(0)
        if not (overlaps > threshold).any():
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_the_survivors_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((300, 2)) * 10
    boxes = np.concatenate([low, low + rng.random((300, 2)) * 6 + 0.1], axis=1).astype(np.float32)
    scores = (rng.integers(0, 40, 300) / 40).astype(np.float32)
    assert nms(boxes, scores, 0.45).tolist() == nms_by_hand(boxes, scores, 0.45)


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], dtype=np.float32)
    scores = np.array([0.9, 0.8], dtype=np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49).tolist() == [0]


def test_equal_scores_keep_their_order() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6]], dtype=np.float32)
    assert nms(boxes, np.full(3, 0.5, dtype=np.float32), 0.45).tolist() == [0, 2]


def test_nothing_in_nothing_out() -> None:
    assert nms(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.float32), 0.45).shape == (0,)

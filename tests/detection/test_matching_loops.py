from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from singleshot import boxes
from singleshot.detection.matching_loops import LOOKS, RUNGS, _first_best, match_compiled


def grid(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    low = rng.random((count, 2)).astype(np.float32) * 0.7
    return np.concatenate([low, low + 0.3], axis=1)


@pytest.mark.parametrize("crowd", [LOOKS - 2, 4 * LOOKS, 2 * RUNGS + LOOKS])
def test_equal_boxes_take_the_best_anchors_one_each_however_many_they_are(crowd: int) -> None:
    """Beyond `LOOKS` disappointments a ground truth walks down its sorted list; the answer must not change."""
    anchors, box = grid(4 * crowd + 100), np.array([0.3, 0.3, 0.6, 0.6], np.float32)
    iou = boxes.pairwise_iou(anchors, box[None])[:, 0]
    best = np.argsort(-iou, kind="stable")[:crowd]
    assert iou[best].min() > 0
    truths, present = np.tile(box, (1, crowd, 1)), np.ones((1, crowd), np.bool_)
    matched, best_iou = match_compiled(anchors, truths, present, "bipartite", 2.0)
    assert matched[0, best].tolist() == list(range(crowd))
    assert (matched[0] >= 0).sum() == crowd
    np.testing.assert_array_equal(best_iou[0], iou)


def test_b22_ten_thousand_boxes_are_matched_in_little_memory() -> None:
    """Copies of a few boxes, so that thousands want the same anchors: whole ladders would take a gigabyte."""
    anchors = grid(8732)
    truths = np.tile(grid(20), (500, 1))[None]
    limits = resource.getrlimit(resource.RLIMIT_AS)
    match_compiled(anchors[:9], truths[:, :2], np.ones((1, 2), np.bool_), "bipartite", 0.5)  # compiles
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), limits[1]))
    try:
        matched, _ = match_compiled(anchors, truths, np.ones((1, 10_000), np.bool_), "bipartite", 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert (matched >= 0).mean() > 0.9


def test_more_boxes_than_anchors_leave_some_without_one() -> None:
    anchors = grid(5)
    truths = np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (1, 40, 1))
    matched, _ = match_compiled(anchors, truths, np.ones((1, 40), np.bool_), "bipartite", 2.0)
    assert sorted(matched[0].tolist()) == list(range(5))


def test_boxes_that_meet_no_anchor_join_none() -> None:
    truths = np.array([[[2.0, 2.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]], np.float32)
    matched, best_iou = match_compiled(grid(50), truths, np.ones((1, 2), np.bool_), "bipartite", 0.5)
    assert (matched == -1).all() and (best_iou == 0).all()


def test_without_boxes_every_anchor_is_free() -> None:
    nothing, present = np.empty((2, 0, 4), np.float32), np.empty((2, 0), np.bool_)
    matched, best_iou = match_compiled(grid(9), nothing, present, "bipartite", 0.5)
    assert matched.tolist() == [[-1] * 9] * 2 and best_iou.tolist() == [[0.0] * 9] * 2


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_the_first_of_equal_maxima_is_found(count: int) -> None:
    iou = (np.random.default_rng(count).integers(0, 50, count) / 50).astype(np.float32) - np.float32(0.5)
    assert _first_best(iou) == np.argmax(iou)

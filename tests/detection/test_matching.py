from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from singleshot import boxes
from singleshot.detection import matching
from singleshot.detection.matching import (
    BACKGROUND,
    IGNORED,
    LEAST_OVERLAP,
    Matcher,
    Rule,
    match_compiled,
    match_tensors,
)

RULES: tuple[Rule, ...] = ("bipartite", "per-prediction", "force-best")


def random_case(seed: int, batch: int = 4, count: int = 9, anchors: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors and boxes on a coarse grid, so that equal overlaps are common."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 10, (anchors, 2)) / 10
    sizes = rng.integers(1, 5, (anchors, 2)) / 10
    truths = np.concatenate([rng.integers(0, 10, (batch, count, 2)), rng.integers(1, 5, (batch, count, 2))], -1) / 10
    present = rng.random((batch, count)) < 0.7
    as_float = np.concatenate([centres, sizes], -1).astype(np.float32)
    return torch.from_numpy(as_float), torch.from_numpy(truths.astype(np.float32)), torch.from_numpy(present)


def match(anchors: Tensor, truths: Tensor, present: Tensor, rule: Rule = "bipartite") -> Tensor:
    """The assignments where no unmatched anchor is ignored."""
    return Matcher(anchors, rule, negative_iou=None).match_batch(truths, present)


def greedy_by_hand(iou: np.ndarray, present: np.ndarray, threshold: float) -> np.ndarray:
    """The Caffe reference's text, one pair at a time: anchors outside, ground truths inside, first maximum wins."""
    anchors, count = iou.shape
    matched = np.full(anchors, -1)
    free_truths = {n for n in range(count) if present[n]}
    while free_truths:
        best, pair = LEAST_OVERLAP, None
        for a in range(anchors):
            if matched[a] >= 0:
                continue
            for n in sorted(free_truths):
                if iou[a, n] > best:
                    best, pair = iou[a, n], (a, n)
        if pair is None:
            break
        matched[pair[0]] = pair[1]
        free_truths.remove(pair[1])
    for a in range(anchors):
        candidates = [n for n in range(count) if present[n]]
        if matched[a] < 0 and candidates:
            n = max(candidates, key=lambda n: (iou[a, n], -n))
            if iou[a, n] >= threshold:
                matched[a] = n
    return matched


@pytest.mark.parametrize("seed", range(6))
def test_bipartite_follows_the_text_of_the_reference(seed: int) -> None:
    anchors, truths, present = random_case(seed, batch=2, count=7, anchors=60)
    found = match(anchors, truths, present)
    for b in range(len(truths)):
        iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(anchors), boxes.cxcywh_to_xyxy(truths[b])).numpy()
        np.testing.assert_array_equal(found[b].numpy(), greedy_by_hand(iou, present[b].numpy(), 0.5))


@pytest.mark.parametrize("negative_iou", [None, 0.5, 0.3, 0.0])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_compiled_and_tensor_paths_agree_even_on_ties(rule: Rule, seed: int, negative_iou: float | None) -> None:
    anchors, truths, present = random_case(seed)
    compiled = Matcher(anchors, rule, negative_iou=negative_iou).match_batch(truths, present)
    corners = boxes.cxcywh_to_xyxy(anchors), boxes.cxcywh_to_xyxy(truths)
    assert torch.equal(compiled, match_tensors(*corners, present, rule, negative_iou=negative_iou))


@pytest.mark.parametrize("rule", RULES)
def test_one_image_in_a_data_worker_is_matched_as_in_its_batch(rule: Rule) -> None:
    anchors, truths, _ = random_case(5)
    matcher = Matcher(anchors, rule)
    batch = matcher.match_batch(truths, torch.ones(truths.shape[:2], dtype=torch.bool))
    for image, assignments in zip(truths, batch, strict=True):
        np.testing.assert_array_equal(matcher(image.numpy()), assignments.numpy())
    assert matcher(np.empty((0, 4), np.float32)).tolist() == [BACKGROUND] * len(anchors)


@pytest.mark.parametrize("rule", RULES)
def test_unmatched_anchors_that_overlap_an_object_by_the_negative_iou_are_ignored(rule: Rule) -> None:
    anchors, truths, present = random_case(6)
    free = match(anchors, truths, present, rule)
    found = Matcher(anchors, rule, negative_iou=0.2).match_batch(truths, present)
    iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(anchors)[None], boxes.cxcywh_to_xyxy(truths))
    near = torch.where(present[:, None], iou, 0.0).amax(dim=2) >= 0.2
    assert torch.equal(found, torch.where((free == BACKGROUND) & near, IGNORED, free))
    assert found.dtype == torch.int32 and (found == IGNORED).any()


@pytest.mark.parametrize("rule", RULES)
def test_images_whose_overlaps_do_not_fit_into_memory_together_are_matched_one_by_one(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors, truths, present = random_case(3)
    corners = boxes.cxcywh_to_xyxy(anchors), boxes.cxcywh_to_xyxy(truths)
    whole = match_tensors(*corners, present, rule)
    pairs: list[int] = []
    honest = boxes.pairwise_iou

    def counted(first: Tensor, second: Tensor) -> Tensor:
        pairs.append(first.shape[-2] * second.shape[0] * second.shape[1])
        return honest(first, second)

    monkeypatch.setattr(boxes, "pairwise_iou", counted)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 2 * 200 * 9)
    assert torch.equal(whole, match_tensors(*corners, present, rule))
    assert pairs == [2 * 200 * 9] * 2
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 200 * 9 - 1)  # not even one image fits: compiled loops
    assert torch.equal(whole, match_tensors(*corners, present, rule))
    assert len(pairs) == 2


@pytest.mark.parametrize("path", [match_compiled, match_tensors])
def test_a_hundred_thousand_objects_are_matched_in_little_memory(path: Any, memory_limit: Any) -> None:
    """A table of all overlaps would take ten gigabytes; rows beyond int16 are numbered too."""
    anchors, truths = grid(24_564), grid(100_000)[None, ::-1].copy()
    present = np.ones((1, 100_000), np.bool_)
    arrays = (anchors, truths, present)
    if path is match_tensors:
        arrays = tuple(torch.from_numpy(each) for each in arrays)
    match_compiled(grid(9), grid(2)[None], np.ones((1, 2), np.bool_), "bipartite")  # compiles
    with memory_limit(512 << 20):
        assignments = np.asarray(path(*arrays, "per-prediction", iou_threshold=0.9))
    assert assignments.dtype == np.int32 and assignments.max() > 2**15


def test_every_ground_truth_gets_an_anchor_of_its_own() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]])
    twice_the_same = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.4]]])
    found = match(anchors, twice_the_same, torch.ones(1, 2, dtype=torch.bool))
    assert found.tolist() == [[0, 1, -1]]


def test_an_object_that_no_anchor_reaches_is_lost_per_prediction_and_kept_by_the_other_rules() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.4, 0.4]])
    tiny, present = torch.tensor([[[0.5, 0.5, 0.05, 0.05]]]), torch.ones(1, 1, dtype=torch.bool)
    found = {rule: match(anchors, tiny, present, rule=rule).tolist() for rule in RULES}
    assert found == {"bipartite": [[0, -1]], "per-prediction": [[-1, -1]], "force-best": [[0, -1]]}


def test_an_overlap_of_exactly_the_threshold_matches_except_per_prediction() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.0]])
    truth, present = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]), torch.ones(1, 1, dtype=torch.bool)
    assert match(anchors, truth, present, rule="bipartite").tolist() == [[0, 0]]
    assert match(anchors, truth, present, rule="per-prediction").tolist() == [[0, -1]]


def test_force_best_takes_even_an_anchor_without_overlap_and_bipartite_does_not() -> None:
    anchors = torch.tensor([[0.1, 0.1, 0.1, 0.1]])
    far, present = torch.tensor([[[0.9, 0.9, 0.1, 0.1]]]), torch.ones(1, 1, dtype=torch.bool)
    assert match(anchors, far, present, rule="force-best").tolist() == [[0]]
    assert match(anchors, far, present, rule="bipartite").tolist() == [[-1]]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [0, 3])
def test_an_image_without_objects_matches_nothing(rule: Rule, count: int) -> None:
    anchors = torch.rand(50, 4)
    nothing = match(anchors, torch.zeros(2, count, 4), torch.zeros(2, count, dtype=torch.bool), rule=rule)
    assert nothing.shape == (2, 50) and nothing.eq(BACKGROUND).all()


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_force_best_is_torchvisions_matching(name: str, shared: Path) -> None:
    """In pixels, as the golden numbers were made: several best overlaps differ in the last bit only."""
    golden = np.load(shared / "golden" / f"torchvision_{name}.npz")
    truths = torch.from_numpy(golden["gt_boxes_xyxy_pixels"])[None]
    anchors = torch.from_numpy(golden["anchors_xyxy_pixels"])
    present = torch.ones(1, truths.shape[1], dtype=torch.bool)
    found = match_tensors(anchors, truths, present, "force-best", negative_iou=None)
    np.testing.assert_array_equal(found[0].numpy(), golden["matched_gt_per_anchor"])


def grid(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    low = rng.random((count, 2)).astype(np.float32) * 0.7
    return np.concatenate([low, low + 0.3], axis=1)


@pytest.mark.parametrize("crowd", [6, 32, 520])
def test_equal_boxes_take_the_best_anchors_one_each_however_many_they_are(crowd: int) -> None:
    """After `_RECOMPUTATIONS` of its row a ground truth walks down its sorted list; the result must not change."""
    anchors, box = grid(4 * crowd + 100), np.array([0.3, 0.3, 0.6, 0.6], np.float32)
    iou = boxes.pairwise_iou(anchors, box[None])[:, 0]
    best = np.argsort(-iou, kind="stable")[:crowd]
    assert iou[best].min() > 0
    truths, present = np.tile(box, (1, crowd, 1)), np.ones((1, crowd), np.bool_)
    matched = match_compiled(anchors, truths, present, "bipartite", iou_threshold=2.0)
    assert matched[0, best].tolist() == list(range(crowd))
    assert (matched[0] >= 0).sum() == crowd
    np.testing.assert_array_equal(matched[0] == IGNORED, (matched[0] < 0) & (iou >= np.float32(0.5)))


def test_b22_ten_thousand_boxes_are_matched_in_little_memory(memory_limit: Any) -> None:
    """Copies of a few boxes, so that thousands want the same anchors: whole ladders would take a gigabyte."""
    anchors = grid(8732)
    truths = np.tile(grid(20), (500, 1))[None]
    match_compiled(grid(9), grid(2)[None], np.ones((1, 2), np.bool_), "bipartite")  # compiles
    with memory_limit(256 << 20):
        matched = match_compiled(anchors, truths, np.ones((1, 10_000), np.bool_), "bipartite")
    assert (matched >= 0).mean() > 0.9


def test_more_boxes_than_anchors_leave_some_without_one() -> None:
    anchors = grid(5)
    truths = np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (1, 40, 1))
    matched = match_compiled(anchors, truths, np.ones((1, 40), np.bool_), "bipartite", iou_threshold=2.0)
    assert sorted(matched[0].tolist()) == list(range(5))


def test_boxes_that_overlap_no_anchor_match_none() -> None:
    truths = np.array([[[2.0, 2.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]], np.float32)
    matched = match_compiled(grid(50), truths, np.ones((1, 2), np.bool_), "bipartite", negative_iou=1e-6)
    assert (matched == BACKGROUND).all()


def test_without_boxes_every_anchor_is_background() -> None:
    nothing, present = np.empty((2, 0, 4), np.float32), np.empty((2, 0), np.bool_)
    matched = match_compiled(grid(9), nothing, present, "bipartite", negative_iou=1e-6)
    assert matched.tolist() == [[BACKGROUND] * 9] * 2


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_the_first_of_equal_maxima_is_found(count: int) -> None:
    iou = (np.random.default_rng(count).integers(0, 50, count) / 50).astype(np.float32) - np.float32(0.5)
    assert matching._first_best(iou) == np.argmax(iou)

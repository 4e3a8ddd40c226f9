from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from singleshot import boxes
from singleshot.detection.matching import LEAST_OVERLAP, Matches, Rule, match, match_tensors

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
def test_bipartite_is_the_reference_read_aloud(seed: int) -> None:
    anchors, truths, present = random_case(seed, batch=2, count=7, anchors=60)
    found = match(anchors, truths, present, rule="bipartite").ground_truths
    for b in range(len(truths)):
        iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(anchors), boxes.cxcywh_to_xyxy(truths[b])).numpy()
        np.testing.assert_array_equal(found[b].numpy(), greedy_by_hand(iou, present[b].numpy(), 0.5))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_compiled_and_tensor_paths_agree_even_on_ties(rule: Rule, seed: int) -> None:
    anchors, truths, present = random_case(seed)
    compiled = match(anchors, truths, present, rule=rule)
    tensors = match_tensors(
        boxes.cxcywh_to_xyxy(anchors), boxes.cxcywh_to_xyxy(truths), present, rule=rule, iou_threshold=0.5
    )
    torch.testing.assert_close(compiled.ground_truths, tensors.ground_truths, rtol=0, atol=0)
    torch.testing.assert_close(compiled.best_iou, tensors.best_iou, rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
def test_pictures_that_do_not_fit_into_memory_together_are_matched_one_by_one(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors, truths, present = random_case(3)
    whole = match_tensors(anchors, truths, present, rule=rule, iou_threshold=0.5)
    monkeypatch.setattr("singleshot.detection.matching.PAIRS_AT_ONCE", 2 * 200 * 9)
    parts = match_tensors(anchors, truths, present, rule=rule, iou_threshold=0.5)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_every_ground_truth_gets_an_anchor_of_its_own() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]])
    twice_the_same = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.4]]])
    found = match(anchors, twice_the_same, torch.ones(1, 2, dtype=torch.bool)).ground_truths
    assert found.tolist() == [[0, 1, -1]]


def test_an_object_that_no_anchor_reaches_is_lost_per_prediction_and_kept_by_the_other_rules() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.4, 0.4]])
    tiny, present = torch.tensor([[[0.5, 0.5, 0.05, 0.05]]]), torch.ones(1, 1, dtype=torch.bool)
    found = {rule: match(anchors, tiny, present, rule=rule).ground_truths.tolist() for rule in RULES}
    assert found == {"bipartite": [[0, -1]], "per-prediction": [[-1, -1]], "force-best": [[0, -1]]}


def test_an_overlap_of_exactly_the_threshold_matches_except_per_prediction() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.0]])
    truth, present = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]), torch.ones(1, 1, dtype=torch.bool)
    assert match(anchors, truth, present, rule="bipartite").ground_truths.tolist() == [[0, 0]]
    assert match(anchors, truth, present, rule="per-prediction").ground_truths.tolist() == [[0, -1]]


def test_force_best_takes_even_an_anchor_without_overlap_and_bipartite_does_not() -> None:
    anchors = torch.tensor([[0.1, 0.1, 0.1, 0.1]])
    far, present = torch.tensor([[[0.9, 0.9, 0.1, 0.1]]]), torch.ones(1, 1, dtype=torch.bool)
    assert match(anchors, far, present, rule="force-best").ground_truths.tolist() == [[0]]
    assert match(anchors, far, present, rule="bipartite").ground_truths.tolist() == [[-1]]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [0, 3])
def test_a_picture_without_objects_matches_nothing(rule: Rule, count: int) -> None:
    anchors = torch.rand(50, 4)
    nothing = match(anchors, torch.zeros(2, count, 4), torch.zeros(2, count, dtype=torch.bool), rule=rule)
    assert isinstance(nothing, Matches)
    assert nothing.ground_truths.eq(-1).all() and nothing.best_iou.eq(0).all()


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_force_best_is_torchvisions_matching(name: str, shared: Path) -> None:
    """In pixels, as the golden numbers were made: several best overlaps differ in the last bit only."""
    golden = np.load(shared / "golden" / f"torchvision_{name}.npz")
    truths = torch.from_numpy(golden["gt_boxes_xyxy_pixels"])[None]
    anchors = torch.from_numpy(golden["anchors_xyxy_pixels"])
    present = torch.ones(1, truths.shape[1], dtype=torch.bool)
    found = match_tensors(anchors, truths, present, rule="force-best", iou_threshold=0.5)
    np.testing.assert_array_equal(found.ground_truths[0].numpy(), golden["matched_gt_per_anchor"])

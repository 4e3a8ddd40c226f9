from __future__ import annotations

import pytest
import torch

from singleshot import boxes
from singleshot.detection import adaptive
from singleshot.detection.adaptive import NEAREST, TOPK, atss, task_aligned
from singleshot.detection.anchors import AnchorLevel, anchors_cxcywh
from singleshot.detection.matching import BACKGROUND

LEVELS = (
    AnchorLevel(size_hw=(16, 16), step=None, min_size=16.0, max_size=None, ratios=()),
    AnchorLevel(size_hw=(8, 8), step=None, min_size=40.0, max_size=60.0, ratios=(2.0,)),
)
ANCHORS = anchors_cxcywh(LEVELS, (128, 128), "none")
FAR = torch.tensor([0.25, 0.25, 0.3, 0.3])


def batch(*images: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    count = max(map(len, images))
    padded, present = torch.zeros(len(images), count, 4), torch.zeros(len(images), count, dtype=torch.bool)
    for row, image in enumerate(images):
        if image:
            padded[row, : len(image)] = torch.tensor(image)
            present[row, : len(image)] = True
    return padded, present


def by_the_paper(truth: torch.Tensor) -> list[int]:
    """Algorithm 1 of ATSS for one object, word for word."""
    anchors = boxes.cxcywh_to_xyxy(ANCHORS)
    iou = boxes.pairwise_iou(anchors, boxes.cxcywh_to_xyxy(truth[None]))[:, 0]
    candidates: list[int] = []
    start = 0
    for level in LEVELS:
        distance = (ANCHORS[start : start + level.num_anchors, :2] - truth[:2]).norm(dim=1)
        nearest = distance.sort(stable=True).indices[: NEAREST * level.anchors_per_cell]
        candidates += [start + int(index) for index in nearest]
        start += level.num_anchors
    overlaps = iou[candidates]
    threshold = overlaps.mean() + overlaps.std()
    inside = ((ANCHORS[:, :2] - truth[:2]).abs() < truth[2:] / 2).all(dim=1)
    return sorted(index for index in candidates if iou[index] >= threshold and inside[index])


@pytest.mark.parametrize("box", [[0.31, 0.27, 0.3, 0.25], [0.6, 0.61, 0.12, 0.13], [0.5, 0.5, 0.9, 0.4]])
def test_atss_takes_the_anchors_of_the_papers_algorithm(box: list[float]) -> None:
    assigned = atss(ANCHORS, LEVELS, *batch([box]))
    assert (assigned[0] >= 0).nonzero()[:, 0].tolist() == by_the_paper(torch.tensor(box))


def test_every_object_gets_an_anchor_however_small_it_is() -> None:
    tiny = [[0.263, 0.4, 0.004, 0.004], [0.9, 0.1, 0.01, 0.01]]
    assigned = atss(ANCHORS, LEVELS, *batch(tiny))
    assert {0, 1} <= set(assigned[0].tolist())


def test_an_anchor_goes_to_the_object_that_it_overlaps_most() -> None:
    inner, outer = [0.5, 0.5, 0.3, 0.3], [0.5, 0.5, 0.5, 0.5]
    assigned = atss(ANCHORS, LEVELS, *batch([inner, outer]))[0]
    iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(ANCHORS), boxes.cxcywh_to_xyxy(torch.tensor([inner, outer])))
    alone = [atss(ANCHORS, LEVELS, *batch([box]))[0] >= 0 for box in (inner, outer)]
    shared = alone[0] & alone[1]
    assert shared.any()
    assert torch.equal(assigned[shared], iou[shared].argmax(dim=1).int())


def test_padding_rows_and_empty_images_learn_nothing() -> None:
    padded, present = batch([FAR.tolist(), FAR.tolist()], [])
    present[0, 0] = False
    assigned = atss(ANCHORS, LEVELS, padded, present)
    assert set(assigned[0].tolist()) == {BACKGROUND, 1} and set(assigned[1].tolist()) == {BACKGROUND}
    assert set(atss(ANCHORS, LEVELS, torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool))[0].tolist()) == {-1}


def outputs(**favoured: float) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.full((1, len(ANCHORS), 2), 0.1)
    for index, score in favoured.items():
        scores[0, int(index[1:]), 0] = score
    return scores, ANCHORS[None].clone()


def test_task_aligned_takes_the_anchors_of_greatest_score_and_overlap() -> None:
    truth, present = batch([FAR.tolist()])
    ids = torch.where(present, 0, -1)
    scores, predicted = outputs()
    assigned = task_aligned(ANCHORS, truth, ids, scores, predicted)[0]
    iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(predicted[0]), boxes.cxcywh_to_xyxy(FAR[None]))[:, 0]
    inside = ((ANCHORS[:, :2] - FAR[:2]).abs() < FAR[2:] / 2).all(dim=1)
    expected = torch.where(inside, iou, -1).topk(TOPK).indices.sort().values
    assert torch.equal((assigned >= 0).nonzero()[:, 0], expected)


def test_a_better_prediction_displaces_the_least_of_the_chosen() -> None:
    truth, present = batch([FAR.tolist()])
    ids = torch.where(present, 0, -1)
    scores, predicted = outputs()
    inside = ((ANCHORS[:, :2] - FAR[:2]).abs() < FAR[2:] / 2).all(dim=1).nonzero()[:, 0]
    before = task_aligned(ANCHORS, truth, ids, scores, predicted)[0] >= 0
    outsider = next(int(index) for index in inside if not before[index])
    predicted[0, outsider] = FAR  # now its box is perfect
    after = task_aligned(ANCHORS, truth, ids, scores, predicted)[0] >= 0
    assert after[outsider] and int(after.sum()) == TOPK and int((before & ~after).sum()) == 1


def test_the_score_of_another_class_does_not_count() -> None:
    truth, present = batch([FAR.tolist()])
    scores, predicted = outputs()
    inside = ((ANCHORS[:, :2] - FAR[:2]).abs() < FAR[2:] / 2).all(dim=1).nonzero()[:, 0]
    weak = int(inside[-1])
    scores[0, weak, 1] = 1.0
    first = task_aligned(ANCHORS, truth, torch.where(present, 0, -1), scores, predicted)
    scores[0, weak, 1] = 0.1
    assert torch.equal(first, task_aligned(ANCHORS, truth, torch.where(present, 0, -1), scores, predicted))


def test_task_aligned_has_no_objects_in_an_empty_image() -> None:
    scores, predicted = outputs()
    for count in (0, 2):
        ids = torch.full((1, count), -1)
        assigned = task_aligned(ANCHORS, torch.zeros(1, count, 4), ids, scores, predicted)
        assert set(assigned[0].tolist()) == {BACKGROUND}


def test_a_padded_batch_matched_together_as_on_a_gpu_gives_what_its_images_give_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    sides = 0.05 + 0.4 * torch.rand(6, 9, 2, generator=generator)
    truth = torch.cat([sides / 2 + (1 - sides) * torch.rand(6, 9, 2, generator=generator), sides], dim=2)
    present = torch.rand(6, 9, generator=generator) < torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0, 1.0])[:, None]
    truth = torch.where(present[..., None], truth, 0.0)
    truth[4, :3, 2:] = 0.004  # too small for any anchor's centre, and two of them at one place
    truth[4, 1] = truth[4, 0]
    together = adaptive._atss_part(ANCHORS, LEVELS, truth, present)
    assert torch.equal(together, atss(ANCHORS, LEVELS, truth, present))
    ids = torch.where(present, torch.randint(0, 2, present.shape, generator=generator), -1)
    scores = torch.rand(6, len(ANCHORS), 2, generator=generator)
    predicted = ANCHORS + 0.02 * torch.randn(6, len(ANCHORS), 4, generator=generator)
    together = adaptive._task_aligned_part(ANCHORS, truth, ids, scores, predicted)
    assert torch.equal(together, task_aligned(ANCHORS, truth, ids, scores, predicted))
    assert set(together[0].tolist()) == {BACKGROUND} and (together[5].unique() >= 0).sum() == 9

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection.loss import LossConfig, LossParts, multibox_loss
from singleshot.detection.matching import match, match_tensors
from singleshot.detection.raw import RawDetections

ANCHORS = torch.tensor([[x / 8, y / 8, 0.2, 0.2] for y in range(8) for x in range(8)])


def loss_of(logits: torch.Tensor, offsets: torch.Tensor, truths: list[list[list[float]]], **choices: Any) -> LossParts:
    """The loss of one-class pictures whose boxes (cx, cy, w, h) are given picture by picture."""
    count = max(map(len, truths))
    padded, class_ids = torch.zeros(len(truths), count, 4), torch.full((len(truths), count), -1)
    for row, picture in enumerate(truths):
        if picture:
            padded[row, : len(picture)] = torch.tensor(picture)
            class_ids[row, : len(picture)] = 0
    config = LossConfig(**choices)
    matches = match(ANCHORS, padded, class_ids >= 0, rule=config.matching, iou_threshold=config.iou_threshold)
    return multibox_loss(RawDetections(logits, offsets), ANCHORS, padded, class_ids, matches, config)


def test_one_match_and_three_negatives_cost_four_times_log_two() -> None:
    """Two classes with equal logits say log 2 each; one anchor fits exactly, three others are mined."""
    parts = loss_of(torch.zeros(1, 64, 2), torch.zeros(1, 64, 4), [[ANCHORS[20].tolist()]])
    assert parts.matches == 1
    torch.testing.assert_close(parts.classification, torch.tensor(4 * math.log(2)))
    torch.testing.assert_close(parts.localisation, torch.tensor(0.0))


def test_smooth_l1_is_a_parabola_within_one_and_a_line_beyond() -> None:
    offsets = torch.zeros(1, 64, 4)
    offsets[0, 20] = torch.tensor([0.5, 0.0, 3.0, 0.0])
    parts = loss_of(torch.zeros(1, 64, 2), offsets, [[ANCHORS[20].tolist()]])
    torch.testing.assert_close(parts.localisation, torch.tensor(0.5 * 0.25 + 2.5))


def test_the_most_mistaken_background_anchors_are_mined() -> None:
    logits = torch.zeros(1, 64, 2)
    logits[0, :, 0] = 5.0
    logits[0, [3, 40, 60], 1] = 10.0
    logits[0, 20] = torch.tensor([0.0, 50.0])
    parts = loss_of(logits, torch.zeros(1, 64, 4), [[ANCHORS[20].tolist()]])
    torch.testing.assert_close(parts.classification, torch.tensor(3 * math.log1p(math.exp(5.0))))


def test_background_that_overlaps_an_object_by_half_is_never_mined_in_the_reference() -> None:
    """Anchor 1 overlaps the object by 0.6 but the object is matched elsewhere only under a higher threshold."""
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.24], [0.1, 0.1, 0.1, 0.1]])
    truth, ids = torch.tensor([[[0.5, 0.5, 0.4, 0.4]]]), torch.zeros(1, 1, dtype=torch.long)
    raw = RawDetections(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4))
    matches = match(anchors, truth, ids >= 0, iou_threshold=0.9)
    reference = multibox_loss(raw, anchors, truth, ids, matches, LossConfig(iou_threshold=0.9))
    torchvision = multibox_loss(raw, anchors, truth, ids, matches, LossConfig(iou_threshold=0.9, negative_iou=None))
    torch.testing.assert_close(reference.classification, torch.tensor(2 * math.log(2)))
    torch.testing.assert_close(torchvision.classification, torch.tensor(3 * math.log(2)))


@pytest.mark.parametrize("normaliser", ["batch", "image"])
@pytest.mark.parametrize("padding", [0, 2])
def test_f18_a_batch_with_no_boxes_at_all_has_a_finite_loss_and_gradient(normaliser: str, padding: int) -> None:
    logits = torch.randn(2, 64, 2, requires_grad=True)
    offsets = torch.randn(2, 64, 4, requires_grad=True)
    ids = torch.full((2, padding), -1)
    matches = match(ANCHORS, torch.zeros(2, padding, 4), ids >= 0)
    config = LossConfig(normaliser=normaliser)  # pyright: ignore[reportArgumentType]
    raw = RawDetections(logits, offsets)
    parts = multibox_loss(raw, ANCHORS, torch.zeros(2, padding, 4), ids, matches, config)
    parts.total.backward()
    assert parts.total == 0
    assert logits.grad is not None and offsets.grad is not None
    assert logits.grad.eq(0).all() and offsets.grad.eq(0).all()


def test_pictures_without_objects_teach_only_when_asked() -> None:
    logits = torch.zeros(2, 64, 2)
    one_and_none = [[ANCHORS[20].tolist()], []]
    reference = loss_of(logits, torch.zeros(2, 64, 4), one_and_none)
    counted = loss_of(logits, torch.zeros(2, 64, 4), one_and_none, negatives_when_empty=5)
    automatic = loss_of(logits, torch.zeros(2, 64, 4), one_and_none, negatives_when_empty="auto")
    torch.testing.assert_close(reference.classification, torch.tensor(4 * math.log(2)))
    torch.testing.assert_close(counted.classification, torch.tensor(9 * math.log(2)))
    torch.testing.assert_close(automatic.classification, torch.tensor(7 * math.log(2)))


def test_the_batch_normaliser_weighs_matches_and_the_image_normaliser_pictures() -> None:
    truths = [[ANCHORS[20].tolist()], [ANCHORS[10].tolist(), ANCHORS[50].tolist(), ANCHORS[37].tolist()]]
    offsets = torch.zeros(2, 64, 4)
    offsets[0, 20, 0] = 1.5  # smooth L1: 1.0, on the picture with one match
    batch = loss_of(torch.zeros(2, 64, 2), offsets, truths)
    image = loss_of(torch.zeros(2, 64, 2), offsets, truths, normaliser="image")
    torch.testing.assert_close(batch.localisation, torch.tensor(1 / 4))
    torch.testing.assert_close(image.localisation, torch.tensor(1 / 2))


def test_matches_are_summed_over_ranks() -> None:
    truth, ids = ANCHORS[20][None, None], torch.zeros(1, 1, dtype=torch.long)
    raw = RawDetections(torch.zeros(1, 64, 2), torch.zeros(1, 64, 4))
    matches = match(ANCHORS, truth, ids >= 0)
    alone = multibox_loss(raw, ANCHORS, truth, ids, matches, LossConfig())
    # The other rank has three matches: the mean over two ranks is two.
    shared = multibox_loss(raw, ANCHORS, truth, ids, matches, LossConfig(), sum_over_ranks=lambda n: (n + 3) / 2)
    torch.testing.assert_close(shared.classification * 2, alone.classification)


def test_half_precision_answers_are_judged_in_full_precision() -> None:
    logits = torch.zeros(1, 64, 2, dtype=torch.bfloat16)
    parts = loss_of(logits, torch.zeros(1, 64, 4, dtype=torch.bfloat16), [[ANCHORS[20].tolist()]])
    assert parts.classification.dtype == torch.float32


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_both_losses_are_torchvisions(name: str, shared: Path) -> None:
    golden = np.load(shared / "golden" / f"torchvision_{name}.npz")
    size = 300 if name == "ssd300_vgg16" else 320
    anchors = boxes.xyxy_to_cxcywh(torch.from_numpy(golden["anchors_xyxy_pixels"]) / size).float()
    truths = boxes.xyxy_to_cxcywh(torch.from_numpy(golden["gt_boxes_xyxy_pixels"]) / size).float()[None]
    class_ids = torch.from_numpy(golden["gt_labels"].astype(np.int64))[None] - 1
    raw = RawDetections(
        torch.from_numpy(golden["full_cls_logits"]).reshape(1, len(anchors), -1).float(),
        torch.from_numpy(golden["full_bbox_regression"]).reshape(1, len(anchors), 4).float(),
    )
    config = LossConfig(matching="force-best", negative_iou=None)
    corners = (torch.from_numpy(golden["anchors_xyxy_pixels"]), torch.from_numpy(golden["gt_boxes_xyxy_pixels"])[None])
    matches = match_tensors(*corners, class_ids >= 0, rule=config.matching, iou_threshold=0.5)
    parts = multibox_loss(raw, anchors, truths, class_ids, matches, config)
    assert parts.localisation.item() == pytest.approx(float(golden["loss_bbox_regression"]), rel=1e-5)
    assert parts.classification.item() == pytest.approx(float(golden["loss_classification"]), rel=1e-5)

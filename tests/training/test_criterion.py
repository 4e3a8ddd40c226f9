"""The loss of a batch that parts and ranks share: their sum, or mean, is the loss of the whole batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from singleshot.detection.coding import RawDetections
from singleshot.detection.loss import LossConfig
from singleshot.detection.ssd import SSD, config_for
from singleshot.preprocess import Preprocess, normalise
from singleshot.segmentation.loss import PixelLossConfig, pixel_loss
from singleshot.structures import VOID, Batch, BoxTargets
from singleshot.training.criterion import DetectionCriterion, SegmentationCriterion

PREPROCESS = Preprocess(size_hw=(4, 4))


def made_batch(masks: Tensor) -> Batch[Tensor]:
    images = torch.randint(0, 255, (*masks.shape, 3), dtype=torch.uint8)
    names = tuple(f"{index}" for index in range(len(masks)))
    blank, sizes_hw = (masks == VOID).all(dim=2).all(dim=1), torch.tensor([masks.shape[1:]] * len(masks))
    return Batch(images, masks, names, torch.arange(len(masks)), sizes_hw, blank)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 7.0])])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(class_weights: Tensor | None, parts: int) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(3, 2, 1)
    masks = torch.randint(0, 2, (4, 4, 4), dtype=torch.uint8)
    masks[0] = VOID  # the first rank has fewer pixels that count
    masks[1, 1:] = VOID
    batch = made_batch(masks)
    criterion = SegmentationCriterion(PixelLossConfig(), class_weights)

    def loss(batch: Batch[Tensor], totals: Tensor | None = None) -> Tensor:
        logits, targets = module(normalise(batch.images, PREPROCESS)), criterion.targets(batch)
        return criterion(logits, targets, criterion.totals(targets) if totals is None else totals)["pixel"]

    wanted = loss(batch)
    by_rank = [batch[start : start + 2] for start in (0, 2)]
    totals = torch.stack([criterion.totals(criterion.targets(each)) for each in by_rank]).sum(dim=0)
    size = 2 // parts
    of_ranks = [sum(loss(each[at : at + size], totals) for at in range(0, 2, size)) for each in by_rank]
    torch.testing.assert_close(torch.stack(of_ranks).mean(), wanted)
    uneven = torch.stack([loss(each) for each in by_rank]).mean()
    assert not torch.isclose(uneven, wanted, rtol=1e-4)  # what a plain mean over ranks would be


def test_one_part_on_one_rank_is_the_plain_loss_bit_for_bit() -> None:
    torch.manual_seed(0)
    masks = torch.randint(0, 2, (3, 4, 4), dtype=torch.uint8)
    logits = torch.randn(3, 2, 4, 4)
    weights = torch.tensor([1.0, 7.0])
    criterion = SegmentationCriterion(PixelLossConfig(soft_iou=0.5), weights)
    losses = criterion(logits, masks, criterion.totals(masks))
    plain = pixel_loss(logits, masks, PixelLossConfig(soft_iou=0.5), weights)
    assert all(torch.equal(losses[name], plain[name]) for name in ("pixel", "soft_iou"))


def test_a_batch_that_is_void_everywhere_teaches_nothing_and_is_no_nan() -> None:
    masks = torch.full((1, 4, 4), VOID, dtype=torch.uint8)
    criterion = SegmentationCriterion(PixelLossConfig())
    assert criterion(torch.randn(1, 2, 4, 4), masks, criterion.totals(masks))["pixel"].item() == 0.0


def detection_batch() -> Batch[BoxTargets]:
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [50.0, 10.0, 62.0, 24.0]], [[20.0, 30.0, 60.0, 70.0], [0, 0, 0, 0]]])
    targets = BoxTargets(boxes, torch.tensor([[0, 1], [1, -1]]))
    images, sizes_hw = torch.zeros(2, 64, 96, 3, dtype=torch.uint8), torch.tensor([[64, 96]] * 2)
    return Batch(images, targets, ("a", "b"), torch.arange(2), sizes_hw, torch.zeros(2, dtype=torch.bool))


@pytest.mark.parametrize("matching", ["bipartite", "atss", "task-aligned"])
@pytest.mark.parametrize(("box_iou", "quality"), [(None, None), ("giou", None), ("diou", 2.0), ("ciou", 2.0)])
def test_parts_of_a_detectors_batch_add_up_to_the_whole_by_every_rule(
    matching: str, box_iou: str | None, quality: float | None
) -> None:
    torch.manual_seed(0)
    config = config_for("lite320-fine", ("car", "bus"), (64, 96))
    network = SSD(replace(config, scores="softmax" if quality is None else "sigmoid")).eval()
    criterion = DetectionCriterion(network, LossConfig(matching=matching, box_iou=box_iou, quality=quality))  # pyright: ignore[reportArgumentType]
    targets = criterion.targets(detection_batch())
    totals = criterion.totals(targets)
    raw = network(torch.randn(2, 3, 64, 96))
    whole = criterion(raw, targets, totals)
    assert all(bool(loss.isfinite()) and float(loss.detach()) > 0 for loss in whole.values())
    parts = [
        criterion(RawDetections(raw.class_logits[rows], raw.box_offsets[rows]), targets[rows], totals)
        for rows in (slice(0, 1), slice(1, 2))
    ]
    for name, loss in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), loss)
    torch.stack(list(whole.values())).sum().backward()
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in network.parameters())

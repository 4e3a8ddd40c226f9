from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection.loss import LossConfig, LossParts, losses_of_all, multibox_loss
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


@pytest.mark.parametrize("rows", [True, False])
def test_a_blank_picture_teaches_nothing_whatever_empty_ones_do(rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rows:
        monkeypatch.setattr("singleshot.detection.loss._losses_of_rows", losses_of_all)
    anchors, truths, class_ids, logits, offsets = random_batch(0)  # the picture in row 1 has no boxes
    config = LossConfig(negatives_when_empty=7)
    matches = match(anchors, truths, class_ids >= 0, rule=config.matching)
    blank = torch.tensor([False, True, False, False, False])
    raw = RawDetections(logits.requires_grad_(), offsets)
    empty = multibox_loss(raw, anchors, truths, class_ids, matches, config)
    known = multibox_loss(raw, anchors, truths, class_ids, matches, config, blank=blank)
    assert 0 < float(known.classification.detach()) < float(empty.classification.detach())
    known.total.backward()
    assert logits.grad is not None and not logits.grad[1].any() and logits.grad[0].any()


def test_the_batch_normaliser_weighs_matches_and_the_image_normaliser_pictures() -> None:
    truths = [[ANCHORS[20].tolist()], [ANCHORS[10].tolist(), ANCHORS[50].tolist(), ANCHORS[37].tolist()]]
    offsets = torch.zeros(2, 64, 4)
    offsets[0, 20, 0] = 1.5  # smooth L1: 1.0, on the picture with one match
    batch = loss_of(torch.zeros(2, 64, 2), offsets, truths)
    image = loss_of(torch.zeros(2, 64, 2), offsets, truths, normaliser="image")
    torch.testing.assert_close(batch.localisation, torch.tensor(1 / 4))
    torch.testing.assert_close(image.localisation, torch.tensor(1 / 2))


@pytest.mark.parametrize("boxes", ["some", "one", "none"])
@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_the_mean_over_ranks_is_what_one_process_with_the_whole_batch_gets(normaliser: Any, boxes: str) -> None:
    defaults, truths, class_ids, logits, offsets = random_batch(3, batch=6)
    if boxes != "some":
        class_ids[:] = -1
        class_ids[4, :1] = 0 if boxes == "one" else -1
    config = LossConfig(normaliser=normaliser, negatives_when_empty="auto")

    def loss(rows: slice, joint: torch.Tensor | None = None) -> tuple[LossParts, torch.Tensor]:
        """The parts and the gradient of the logits; `joint` is what adding up over ranks answers."""
        answer = logits[rows].clone().requires_grad_()
        matches = match(defaults, truths[rows], class_ids[rows] >= 0)
        raw = RawDetections(answer, offsets[rows])
        adds_up = None if joint is None else lambda _mine: joint
        parts = multibox_loss(raw, defaults, truths[rows], class_ids[rows], matches, config, sum_over_ranks=adds_up)
        return parts, torch.autograd.grad(parts.total, answer)[0]

    whole, gradient = loss(slice(0, 6))
    joint = torch.stack([whole.matches, torch.tensor(6.0)])
    ranks = [loss(slice(0, 3), joint), loss(slice(3, 6), joint)]
    for part in ("classification", "localisation"):
        mean = sum(getattr(parts, part) for parts, _ in ranks) / 2
        torch.testing.assert_close(mean, getattr(whole, part))
    torch.testing.assert_close(torch.cat([each for _, each in ranks]) / 2, gradient)


def test_half_precision_answers_are_judged_in_full_precision() -> None:
    logits = torch.zeros(1, 64, 2, dtype=torch.bfloat16)
    parts = loss_of(logits, torch.zeros(1, 64, 4, dtype=torch.bfloat16), [[ANCHORS[20].tolist()]])
    assert parts.classification.dtype == torch.float32


def random_batch(seed: int, batch: int = 5, anchors: int = 300) -> tuple[Any, ...]:
    """Anchors, boxes, class ids (one picture without any) and the network's answer for them."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    defaults = torch.cat([some(anchors, 2), some(anchors, 2) * 0.4 + 0.1], 1)
    truths = torch.cat([some(batch, 6, 2), some(batch, 6, 2) * 0.4 + 0.1], 2)
    class_ids = torch.where(some(batch, 6) < 0.7, torch.randint(0, 4, (batch, 6), generator=generator), -1)
    class_ids[1] = -1
    logits = torch.randn(batch, anchors, 5, generator=generator) * 3
    return defaults, truths, class_ids, logits, torch.randn(batch, anchors, 4, generator=generator)


CHOICES: list[dict[str, Any]] = [
    {},
    {"matching": "force-best", "negative_iou": None},
    {"normaliser": "image", "negatives_per_match": 2.5},
    {"negatives_when_empty": "auto", "matching": "per-prediction"},
]


@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize("seed", range(3))
def test_the_cpus_rows_give_the_accelerators_loss_and_gradient(seed: int, choices: dict[str, Any]) -> None:
    anchors, truths, class_ids, logits, offsets = random_batch(seed)
    config = LossConfig(**choices)
    matches = match(anchors, truths, class_ids >= 0, rule=config.matching)
    answers = []
    for rows in (True, False):
        raw = RawDetections(logits.clone().requires_grad_(), offsets.clone().requires_grad_())
        with pytest.MonkeyPatch.context() as patch:
            if not rows:
                patch.setattr("singleshot.detection.loss._losses_of_rows", losses_of_all)
            parts = multibox_loss(raw, anchors, truths, class_ids, matches, config)
        (parts.classification * 2 + parts.localisation * 3).backward()
        answers.append((parts.classification, parts.localisation, raw.class_logits.grad, raw.box_offsets.grad))
    assert matches.ground_truths.ge(0).sum() > 10
    for ours, plain in zip(*answers, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("choices", CHOICES)
def test_on_an_accelerator_nothing_waits_for_the_device(choices: dict[str, Any]) -> None:
    """On the meta device there are shapes and no numbers, so that whatever looks at a number fails."""
    anchors, truths, class_ids, logits, offsets = (each.to("meta") for each in random_batch(0))
    raw, config = RawDetections(logits.requires_grad_(), offsets.requires_grad_()), LossConfig(**choices)
    matches = match(anchors, truths, class_ids >= 0, rule=config.matching)
    multibox_loss(raw, anchors, truths, class_ids, matches, config).total.backward()
    assert raw.class_logits.grad is not None and raw.class_logits.grad.shape == logits.shape


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    """By differences in float32, along one direction: the hardest negatives stay the same over a step so small."""
    anchors, truths, class_ids, logits, offsets = random_batch(9)
    matches, config = match(anchors, truths, class_ids >= 0), LossConfig()
    raw = RawDetections(logits.requires_grad_(), offsets.requires_grad_())
    multibox_loss(raw, anchors, truths, class_ids, matches, config).total.backward()
    assert logits.grad is not None and offsets.grad is not None
    downhill, step = (logits.grad, offsets.grad), 1e-2
    slope = sum(float(g.double().square().sum()) for g in downhill)
    with torch.no_grad():
        ends = [
            multibox_loss(
                RawDetections(logits + sign * step * downhill[0], offsets + sign * step * downhill[1]),
                anchors, truths, class_ids, matches, config,
            ).total.item()
            for sign in (1, -1)
        ]  # fmt: skip
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=2e-2)


def test_half_precision_answers_get_gradients_of_their_own_kind() -> None:
    anchors, truths, class_ids, logits, offsets = random_batch(4)
    matches = match(anchors, truths, class_ids >= 0)
    halves = [each.bfloat16().requires_grad_() for each in (logits, offsets)]
    wholes = [each.detach().float().requires_grad_() for each in halves]
    for some in (halves, wholes):
        multibox_loss(RawDetections(*some), anchors, truths, class_ids, matches, LossConfig()).total.backward()
    for half, whole in zip(halves, wholes, strict=True):
        assert half.grad is not None and whole.grad is not None and half.grad.dtype == torch.bfloat16
        torch.testing.assert_close(half.grad.float(), whole.grad, rtol=1e-2, atol=1e-6)


def test_an_answer_that_is_not_a_number_shows_in_the_loss_wherever_it_is() -> None:
    anchors, truths, class_ids, logits, offsets = random_batch(5)
    matches = match(anchors, truths, class_ids >= 0)
    free = int((matches.best_iou[0] < 0.3).nonzero()[-1])
    logits[0, free, 3] = torch.nan
    parts = multibox_loss(RawDetections(logits, offsets), anchors, truths, class_ids, matches, LossConfig())
    assert parts.classification.isnan() and parts.localisation.isfinite()


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

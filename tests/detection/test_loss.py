from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection.coding import RawDetections
from singleshot.detection.loss import (
    AnchorTargets,
    LossConfig,
    count_matches,
    dense_losses,
    hardest_negatives,
    multibox_loss,
    sparse_losses,
)
from singleshot.detection.matching import BACKGROUND, IGNORED, match_tensors

Losses = dict[str, torch.Tensor]
ANCHORS = torch.tensor([[x / 8, y / 8, 0.2, 0.2] for y in range(8) for x in range(8)])


def loss_of(logits: torch.Tensor, offsets: torch.Tensor, truths: list[list[list[float]]], **choices: Any) -> Losses:
    """The loss of one-class images whose boxes (cx, cy, w, h) are given image by image."""
    count = max(map(len, truths))
    padded, class_ids = torch.zeros(len(truths), count, 4), torch.full((len(truths), count), -1)
    for row, image in enumerate(truths):
        if image:
            padded[row, : len(image)] = torch.tensor(image)
            class_ids[row, : len(image)] = 0
    return matched_loss(RawDetections(logits, offsets), ANCHORS, padded, class_ids, LossConfig(**choices))


def matched_loss(
    raw: RawDetections,
    anchors: torch.Tensor,
    truths: torch.Tensor,
    class_ids: torch.Tensor,
    config: LossConfig | None = None,
    **more: Any,
) -> Losses:
    config = config or LossConfig()
    assignments = config.matcher(anchors).match_batch(truths, class_ids >= 0)
    return multibox_loss(raw, anchors, truths, class_ids, assignments, config, **more)


def total(losses: Losses) -> torch.Tensor:
    return losses["class"] + losses["box"]


def test_one_match_and_three_negatives_cost_four_times_log_two() -> None:
    """Two classes with equal logits say log 2 each; one anchor fits exactly, three others are mined."""
    parts = loss_of(torch.zeros(1, 64, 2), torch.zeros(1, 64, 4), [[ANCHORS[20].tolist()]])
    torch.testing.assert_close(parts["class"], torch.tensor(4 * math.log(2)))
    torch.testing.assert_close(parts["box"], torch.tensor(0.0))


def test_smooth_l1_is_a_parabola_within_one_and_a_line_beyond() -> None:
    offsets = torch.zeros(1, 64, 4)
    offsets[0, 20] = torch.tensor([0.5, 0.0, 3.0, 0.0])
    parts = loss_of(torch.zeros(1, 64, 2), offsets, [[ANCHORS[20].tolist()]])
    torch.testing.assert_close(parts["box"], torch.tensor(0.5 * 0.25 + 2.5))


def test_the_most_mistaken_background_anchors_are_mined() -> None:
    logits = torch.zeros(1, 64, 2)
    logits[0, :, 0] = 5.0
    logits[0, [3, 40, 60], 1] = 10.0
    logits[0, 20] = torch.tensor([0.0, 50.0])
    parts = loss_of(logits, torch.zeros(1, 64, 4), [[ANCHORS[20].tolist()]])
    torch.testing.assert_close(parts["class"], torch.tensor(3 * math.log1p(math.exp(5.0))))


def test_background_that_overlaps_an_object_by_half_is_never_mined_in_the_reference() -> None:
    """Anchor 1 overlaps the object by 0.6 but the object is matched elsewhere only under a higher threshold."""
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.24], [0.1, 0.1, 0.1, 0.1]])
    truth, ids = torch.tensor([[[0.5, 0.5, 0.4, 0.4]]]), torch.zeros(1, 1, dtype=torch.long)
    raw = RawDetections(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4))
    reference = matched_loss(raw, anchors, truth, ids, LossConfig(iou_threshold=0.9))
    torchvision = matched_loss(raw, anchors, truth, ids, LossConfig(iou_threshold=0.9, negative_iou=None))
    torch.testing.assert_close(reference["class"], torch.tensor(2 * math.log(2)))
    torch.testing.assert_close(torchvision["class"], torch.tensor(3 * math.log(2)))


@pytest.mark.parametrize("normaliser", ["batch", "image"])
@pytest.mark.parametrize("padding", [0, 2])
def test_f18_a_batch_with_no_boxes_at_all_has_a_finite_loss_and_gradient(normaliser: str, padding: int) -> None:
    logits = torch.randn(2, 64, 2, requires_grad=True)
    offsets = torch.randn(2, 64, 4, requires_grad=True)
    ids = torch.full((2, padding), -1)
    config = LossConfig(normaliser=normaliser)  # pyright: ignore[reportArgumentType]
    raw = RawDetections(logits, offsets)
    parts = matched_loss(raw, ANCHORS, torch.zeros(2, padding, 4), ids, config)
    total(parts).backward()
    assert total(parts) == 0
    assert logits.grad is not None and offsets.grad is not None
    assert logits.grad.eq(0).all() and offsets.grad.eq(0).all()


def test_images_without_objects_teach_only_when_asked() -> None:
    logits = torch.zeros(2, 64, 2)
    one_and_none = [[ANCHORS[20].tolist()], []]
    reference = loss_of(logits, torch.zeros(2, 64, 4), one_and_none)
    counted = loss_of(logits, torch.zeros(2, 64, 4), one_and_none, negatives_when_empty=5)
    automatic = loss_of(logits, torch.zeros(2, 64, 4), one_and_none, negatives_when_empty="auto")
    torch.testing.assert_close(reference["class"], torch.tensor(4 * math.log(2)))
    torch.testing.assert_close(counted["class"], torch.tensor(9 * math.log(2)))
    torch.testing.assert_close(automatic["class"], torch.tensor(7 * math.log(2)))


@pytest.mark.parametrize("rows", [True, False])
def test_a_blank_image_teaches_nothing_whatever_empty_ones_do(rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rows:
        monkeypatch.setattr("singleshot.detection.loss.sparse_losses", dense_losses)
    anchors, truths, class_ids, logits, offsets = random_batch(0)  # the picture in row 1 has no boxes
    config = LossConfig(negatives_when_empty=7)
    blank = torch.tensor([False, True, False, False, False])
    raw = RawDetections(logits.requires_grad_(), offsets)
    empty = matched_loss(raw, anchors, truths, class_ids, config)
    known = matched_loss(raw, anchors, truths, class_ids, config, blank=blank)
    assert 0 < float(known["class"].detach()) < float(empty["class"].detach())
    total(known).backward()
    assert logits.grad is not None and not logits.grad[1].any() and logits.grad[0].any()


def test_the_batch_normaliser_weighs_matches_and_the_image_normaliser_images() -> None:
    truths = [[ANCHORS[20].tolist()], [ANCHORS[10].tolist(), ANCHORS[50].tolist(), ANCHORS[37].tolist()]]
    offsets = torch.zeros(2, 64, 4)
    offsets[0, 20, 0] = 1.5  # smooth L1: 1.0, on the picture with one match
    batch = loss_of(torch.zeros(2, 64, 2), offsets, truths)
    image = loss_of(torch.zeros(2, 64, 2), offsets, truths, normaliser="image")
    torch.testing.assert_close(batch["box"], torch.tensor(1 / 4))
    torch.testing.assert_close(image["box"], torch.tensor(1 / 2))


@pytest.mark.parametrize("boxes", ["some", "one", "none"])
@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_the_mean_over_ranks_is_what_one_process_with_the_whole_batch_gets(normaliser: Any, boxes: str) -> None:
    defaults, truths, class_ids, logits, offsets = random_batch(3, batch=6)
    if boxes != "some":
        class_ids[:] = -1
        class_ids[4, :1] = 0 if boxes == "one" else -1
    config = LossConfig(normaliser=normaliser, negatives_when_empty="auto")

    def loss(rows: slice, joint: torch.Tensor | None = None) -> tuple[Losses, torch.Tensor]:
        """The losses and the gradient of the logits; `joint` are the totals over both ranks."""
        answer = logits[rows].clone().requires_grad_()
        raw = RawDetections(answer, offsets[rows])
        parts = matched_loss(raw, defaults, truths[rows], class_ids[rows], config, totals=joint)
        return parts, torch.autograd.grad(total(parts), answer)[0]

    whole, gradient = loss(slice(0, 6))
    assignments = config.matcher(defaults).match_batch(truths, class_ids >= 0)
    joint = count_matches(assignments[:3]) + count_matches(assignments[3:])
    assert joint[1:].tolist() == [6, 2]
    ranks = [loss(slice(0, 3), joint), loss(slice(3, 6), joint)]
    for part in ("class", "box"):
        mean = sum(parts[part] for parts, _ in ranks) / 2
        torch.testing.assert_close(mean, whole[part])
    torch.testing.assert_close(torch.cat([each for _, each in ranks]) / 2, gradient)


def test_half_precision_answers_are_evaluated_in_full_precision() -> None:
    logits = torch.zeros(1, 64, 2, dtype=torch.bfloat16)
    parts = loss_of(logits, torch.zeros(1, 64, 4, dtype=torch.bfloat16), [[ANCHORS[20].tolist()]])
    assert parts["class"].dtype == torch.float32


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
    answers = []
    for rows in (True, False):
        raw = RawDetections(logits.clone().requires_grad_(), offsets.clone().requires_grad_())
        with pytest.MonkeyPatch.context() as patch:
            if not rows:
                patch.setattr("singleshot.detection.loss.sparse_losses", dense_losses)
            parts = matched_loss(raw, anchors, truths, class_ids, config)
        (parts["class"] * 2 + parts["box"] * 3).backward()
        answers.append((parts["class"], parts["box"], raw.class_logits.grad, raw.box_offsets.grad))
    assert count_matches(config.matcher(anchors).match_batch(truths, class_ids >= 0))[0] > 10
    for ours, plain in zip(*answers, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("choices", CHOICES)
def test_on_an_accelerator_nothing_waits_for_the_device(choices: dict[str, Any]) -> None:
    """On the meta device there are shapes and no numbers, so that whatever looks at a number fails."""
    anchors, truths, class_ids, logits, offsets = (each.to("meta") for each in random_batch(0))
    raw, config = RawDetections(logits.requires_grad_(), offsets.requires_grad_()), LossConfig(**choices)
    total(matched_loss(raw, anchors, truths, class_ids, config)).backward()
    assert raw.class_logits.grad is not None and raw.class_logits.grad.shape == logits.shape


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    """By differences in float32, along one direction: the hardest negatives stay the same over a step so small."""
    anchors, truths, class_ids, logits, offsets = random_batch(9)
    raw = RawDetections(logits.requires_grad_(), offsets.requires_grad_())
    total(matched_loss(raw, anchors, truths, class_ids)).backward()
    assert logits.grad is not None and offsets.grad is not None
    downhill, step = (logits.grad, offsets.grad), 1e-2
    slope = sum(float(g.double().square().sum()) for g in downhill)
    with torch.no_grad():
        ends = [
            total(
                matched_loss(
                    RawDetections(logits + sign * step * downhill[0], offsets + sign * step * downhill[1]),
                    anchors, truths, class_ids,
                )
            ).item()
            for sign in (1, -1)
        ]  # fmt: skip
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=2e-2)


def test_half_precision_answers_get_gradients_of_their_own_kind() -> None:
    anchors, truths, class_ids, logits, offsets = random_batch(4)
    halves = [each.bfloat16().requires_grad_() for each in (logits, offsets)]
    wholes = [each.detach().float().requires_grad_() for each in halves]
    for some in (halves, wholes):
        total(matched_loss(RawDetections(*some), anchors, truths, class_ids)).backward()
    for half, whole in zip(halves, wholes, strict=True):
        assert half.grad is not None and whole.grad is not None and half.grad.dtype == torch.bfloat16
        torch.testing.assert_close(half.grad.float(), whole.grad, rtol=1e-2, atol=1e-6)


def test_an_answer_that_is_not_a_number_shows_in_the_loss_wherever_it_is() -> None:
    anchors, truths, class_ids, logits, offsets = random_batch(5)
    assignments = LossConfig().matcher(anchors).match_batch(truths, class_ids >= 0)
    free = int((assignments[0] == BACKGROUND).nonzero()[-1])
    logits[0, free, 3] = torch.nan
    parts = matched_loss(RawDetections(logits, offsets), anchors, truths, class_ids)
    assert parts["class"].isnan() and parts["box"].isfinite()


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
    assignments = match_tensors(*corners, class_ids >= 0, "force-best", negative_iou=None)
    parts = multibox_loss(raw, anchors, truths, class_ids, assignments, config)
    assert parts["box"].item() == pytest.approx(float(golden["loss_bbox_regression"]), rel=1e-5)
    assert parts["class"].item() == pytest.approx(float(golden["loss_classification"]), rel=1e-5)


def logits_and_eligible(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 100, 5, generator=generator) * 3, torch.rand(3, 100, generator=generator) < 0.7


@pytest.mark.parametrize("seed", range(4))
def test_hard_negatives_have_the_greatest_losses_as_background(seed: int) -> None:
    logits, eligible = logits_and_eligible(seed)
    loss = torch.where(eligible, -logits.log_softmax(-1)[..., 0], -torch.inf)
    counts = torch.tensor([0, 7, 1000])
    expected = []
    for b, count in enumerate(counts.tolist()):
        best = loss[b].sort(descending=True).indices[: min(count, int(eligible[b].sum()))]
        expected += sorted((b * 100 + best).tolist())
    assert hardest_negatives(logits, eligible, counts).tolist() == expected


def test_ties_of_hard_negatives_go_to_the_earlier_anchor() -> None:
    logits, eligible = torch.zeros(1, 10, 2), torch.ones(1, 10, dtype=torch.bool)
    eligible[0, 1], logits[0, 8, 1] = False, 1.0
    assert hardest_negatives(logits, eligible, torch.tensor([3])).tolist() == [0, 2, 8]


def test_confident_anchors_are_told_apart_where_a_softmax_in_float32_says_zero() -> None:
    logits = torch.zeros(1, 3, 2)
    logits[0, :, 0] = torch.tensor([40.0, 30.0, 35.0])
    assert (logits.log_softmax(-1)[..., 0] == 0).all()
    assert hardest_negatives(logits, torch.ones(1, 3, dtype=torch.bool), torch.tensor([1])).tolist() == [1]


def test_an_answer_that_is_not_a_number_is_chosen_first_so_that_the_loss_shows_it() -> None:
    logits = torch.randn(1, 50, 3)
    logits[0, 33, 2] = torch.nan
    assert hardest_negatives(logits, torch.ones(1, 50, dtype=torch.bool), torch.tensor([1])).tolist() == [33]


@pytest.mark.parametrize("counts", [[0, 0, 0], [5, 5, 5]])
def test_without_eligible_anchors_there_are_no_negatives(counts: list[int]) -> None:
    logits, _ = logits_and_eligible(0)
    assert hardest_negatives(logits, torch.zeros(3, 100, dtype=torch.bool), torch.tensor(counts)).shape == (0,)


def sigmoid_loss(logits: torch.Tensor, truths: list[list[float]], class_ids: list[int], **choices: Any) -> Losses:
    raw = RawDetections(logits, torch.zeros(*logits.shape[:2], 4))
    padded = torch.tensor([truths]) if truths else torch.zeros(1, 0, 4)
    ids = torch.tensor([class_ids], dtype=torch.int64).view(1, -1)
    return matched_loss(raw, ANCHORS, padded, ids, LossConfig(**choices), scores="sigmoid")


def test_a_sigmoid_of_each_class_costs_log_two_a_class_for_the_match_and_three_negatives() -> None:
    """All logits are 0: each of two classes of each of four anchors says log 2."""
    parts = sigmoid_loss(torch.zeros(1, 64, 2), [ANCHORS[20].tolist()], [1])
    torch.testing.assert_close(parts["class"], torch.tensor(4 * 2 * math.log(2)))
    torch.testing.assert_close(parts["box"], torch.tensor(0.0))


def test_negatives_of_sigmoids_are_those_with_the_greatest_logit_not_with_the_greatest_sum() -> None:
    logits = torch.full((1, 64, 2), -30.0)
    logits[0, 20, 1] = 30.0  # the match, right
    logits[0, 40] = torch.tensor([-1.0, -1.0])  # costs more in all
    logits[0, 50] = torch.tensor([0.0, -30.0])
    parts = sigmoid_loss(logits, [ANCHORS[20].tolist()], [1], negatives_per_match=1.0)
    torch.testing.assert_close(parts["class"], torch.tensor(math.log(2)))


def test_sigmoid_gradients_push_the_right_class_up_and_all_others_down() -> None:
    logits = torch.zeros(1, 64, 3, requires_grad=True)
    total(sigmoid_loss(logits, [ANCHORS[20].tolist()], [2])).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0, 20], torch.tensor([0.5, 0.5, -0.5]))
    assert int((logits.grad[0].abs().sum(dim=1) > 0).sum()) == 4


def test_an_image_without_objects_trains_no_sigmoid_unless_asked_for() -> None:
    logits = torch.zeros(1, 64, 2, requires_grad=True)
    losses = sigmoid_loss(logits, [], [])
    total(losses).backward()
    assert losses["class"].item() == 0.0 and logits.grad is not None and not logits.grad.any()
    some = sigmoid_loss(torch.zeros(1, 64, 2), [], [], negatives_when_empty=3)
    torch.testing.assert_close(some["class"], torch.tensor(3 * 2 * math.log(2)))


def test_a_perfect_box_with_a_score_of_one_and_silence_elsewhere_costs_nothing() -> None:
    logits = torch.full((1, 64, 2), -40.0)
    logits[0, 20, 1] = 40.0
    parts = sigmoid_loss(logits, [ANCHORS[20].tolist()], [1], quality=2.0)
    torch.testing.assert_close(parts["class"], torch.tensor(0.0))


def test_the_class_target_is_the_iou_of_the_predicted_box() -> None:
    """The box is a third of the anchor, so IoU is 1/3, and a score of 1/3 has no gradient."""
    box = [*ANCHORS[20, :2].tolist(), 0.2, 0.2 / 3]
    logits = torch.full((1, 64, 1), -40.0)
    logits[0, 20, 0] = -math.log(2)
    logits.requires_grad_()
    parts = sigmoid_loss(logits, [box], [0], quality=2.0, iou_threshold=0.3)
    parts["class"].backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-5, rtol=0)


def test_every_background_anchor_is_trained_by_the_square_of_its_error() -> None:
    """A score of 1/2 costs log 2 times a quarter, for each of two classes of 64 anchors, one image without objects."""
    parts = sigmoid_loss(torch.zeros(1, 64, 2), [], [], quality=2.0)
    torch.testing.assert_close(parts["class"], torch.tensor(128 * math.log(2) / 4))
    plain = sigmoid_loss(torch.zeros(1, 64, 2), [], [], quality=0.0)
    torch.testing.assert_close(plain["class"], torch.tensor(128 * math.log(2)))


def test_ignored_anchors_have_no_class_loss() -> None:
    raw = RawDetections(torch.zeros(1, 64, 1), torch.zeros(1, 64, 4))
    assignments = torch.full((1, 64), BACKGROUND, dtype=torch.int32)
    assignments[0, :60] = IGNORED
    empty = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
    found = multibox_loss(raw, ANCHORS, *empty, assignments, LossConfig(quality=0.0), scores="sigmoid")
    torch.testing.assert_close(found["class"], torch.tensor(4 * math.log(2)))


@pytest.mark.parametrize("box_iou", ["giou", "diou", "ciou"])
def test_tables_of_all_anchors_and_rows_of_the_matched_agree_on_iou_losses(box_iou: str) -> None:
    torch.manual_seed(0)
    raw = RawDetections(torch.randn(1, 64, 3), torch.randn(1, 64, 4))
    truths, ids = ANCHORS[[3, 40]][None] * 1.05, torch.tensor([[0, 1]])
    config = LossConfig(box_iou=box_iou)  # pyright: ignore[reportArgumentType]
    assignments = config.matcher(ANCHORS).match_batch(truths, ids >= 0)
    targets = AnchorTargets(ANCHORS, truths, ids, assignments)
    dense = dense_losses(raw, targets, config, mean_matches=torch.tensor(2.0))
    sparse = sparse_losses(raw, targets, config, mean_matches=torch.tensor(2.0))
    for one, other in zip(dense, sparse, strict=True):
        torch.testing.assert_close(one, other)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection.coding import decode
from singleshot.detection.nms import nms
from singleshot.detection.postprocess import Postprocess, postprocess
from singleshot.detection.raw import RawDetections
from singleshot.preprocess import Preprocess
from singleshot.structures import Detections, LabelMap

NAMES = LabelMap(("cat", "dog", "bird"))
ANCHORS = torch.tensor([[x / 16 + 1 / 32, y / 16 + 1 / 32, 0.15, 0.2] for y in range(16) for x in range(16)])


def random_answer(seed: int, background: float, batch: int = 2) -> RawDetections:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, len(ANCHORS), 4, generator=generator) * 2
    logits[..., 0] += background
    return RawDetections(logits, torch.randn(batch, len(ANCHORS), 4, generator=generator))


def by_definition(raw: RawDetections, size_hw: tuple[int, int], config: Postprocess) -> list[tuple[float, int, list]]:
    """The rules one after the other, on the first picture."""
    probabilities = raw.class_logits[0].softmax(-1)[:, 1:].numpy()
    corners = boxes.cxcywh_to_xyxy(decode(raw.box_offsets[0], ANCHORS)).numpy()
    if config.clip_before_nms:
        corners = corners.clip(0, 1)
    found = []
    for class_id in range(probabilities.shape[1]):
        scores = probabilities[:, class_id]
        order = [a for a in np.argsort(-scores, kind="stable") if scores[a] > config.score_threshold]
        order = order[: config.candidates_per_class]
        for k in nms(corners[order], scores[order], config.nms_iou):
            found.append((float(scores[order][k]), class_id, corners[order][k] * np.tile(size_hw[::-1], 2)))
    return sorted(found, key=lambda row: -row[0])[: config.max_detections]


@pytest.mark.parametrize("background", [-2.0, 3.0, 8.0])
@pytest.mark.parametrize("clip", [False, True])
def test_the_compiled_pass_follows_the_rules_one_by_one(background: float, clip: bool) -> None:
    config = Postprocess(candidates_per_class=50, max_detections=40, clip_before_nms=clip)
    raw = random_answer(1, background)
    result = postprocess(raw, ANCHORS, [(480, 640), (100, 100)], NAMES, config, Preprocess())[0]
    expected = by_definition(raw, (480, 640), config)
    assert len(result) == len(expected) > 0
    np.testing.assert_allclose(result.scores, [score for score, _, _ in expected], rtol=1e-5)
    np.testing.assert_array_equal(result.class_ids, [class_id for _, class_id, _ in expected])
    np.testing.assert_allclose(result.boxes_xyxy, np.stack([box for _, _, box in expected]), atol=1e-2)


def test_a_certain_anchor_becomes_a_box_in_pixels_of_its_own_picture() -> None:
    logits = torch.zeros(1, len(ANCHORS), 4)
    logits[..., 0] = 20.0
    logits[0, 0, 2] = 50.0
    raw = RawDetections(logits, torch.zeros(1, 256, 4))
    found = postprocess(raw, ANCHORS, [(320, 160)], NAMES, Postprocess(), Preprocess())[0]
    assert found.class_names.tolist() == ["dog"] and found.scores[0] == pytest.approx(1.0)
    # Anchor 0: centre (1/32, 1/32), size (0.15, 0.2), in a picture 160 wide and 320 high.
    np.testing.assert_allclose(found.boxes_xyxy, [[5 - 12, 10 - 32, 5 + 12, 10 + 32]], atol=1e-4)


def test_nothing_above_the_threshold_gives_empty_detections() -> None:
    logits = torch.zeros(2, len(ANCHORS), 4)
    logits[..., 0] = 30.0
    raw = RawDetections(logits, torch.zeros(2, 256, 4))
    for found in postprocess(raw, ANCHORS, [(10, 10), (20, 20)], NAMES, Postprocess(), Preprocess()):
        assert isinstance(found, Detections) and len(found) == 0 and found.boxes_xyxy.shape == (0, 4)


def test_answers_that_are_not_finite_never_become_detections() -> None:
    raw = random_answer(2, -2.0, batch=1)
    raw.class_logits[0, ::3, 1] = torch.nan
    raw.box_offsets[0, ::5] = torch.nan
    found = postprocess(raw, ANCHORS, [(100, 100)], NAMES, Postprocess(), Preprocess())[0]
    assert len(found) > 0
    assert np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()


def test_a_threshold_of_zero_keeps_every_class_of_every_anchor_as_candidate() -> None:
    raw = random_answer(3, 0.0, batch=1)
    config = Postprocess(score_threshold=0.0, nms_iou=1.0, candidates_per_class=10_000, max_detections=10_000)
    assert len(postprocess(raw, ANCHORS, [(100, 100)], NAMES, config, Preprocess())[0]) == len(ANCHORS) * 3


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_final_detections_are_torchvisions(name: str, shared: Path) -> None:
    golden = np.load(shared / "golden" / f"torchvision_{name}.npz")
    large = name == "ssd300_vgg16"
    size = 300 if large else 320
    config = (
        Postprocess(0.01, 0.45, 400, 200, clip_before_nms=True)
        if large
        else Postprocess(0.001, 0.55, 300, 300, clip_before_nms=True)
    )
    anchors = boxes.xyxy_to_cxcywh(torch.from_numpy(golden["anchors_xyxy_pixels"]) / size).float()
    raw = RawDetections(
        torch.from_numpy(golden["full_cls_logits"]).reshape(1, len(anchors), -1).float(),
        torch.from_numpy(golden["full_bbox_regression"]).reshape(1, len(anchors), 4).float(),
    )
    names = LabelMap(tuple(f"class {k}" for k in range(1, raw.class_logits.shape[2])))
    found = postprocess(raw, anchors, [(size, size)], names, config, Preprocess())[0]
    assert len(found) == len(golden["scores"])
    for box, score, label in zip(golden["boxes"], golden["scores"], golden["labels"], strict=True):
        same = (found.class_ids == label - 1) & (abs(found.scores - score) < 1e-3)
        overlaps = boxes.pairwise_iou(box[None].astype(np.float32), found.boxes_xyxy[same])
        # Two golden boxes were clipped to a line: without area they have no IoU, so corners decide.
        distance = abs(found.boxes_xyxy[same] - box).max(axis=1, initial=0.0)
        assert overlaps.max(initial=0.0) > 0.99 or distance.min(initial=np.inf) < 1e-3, (label, score)


def one_box(*, clip: bool, fit: str) -> np.ndarray:
    """The only detection, (0.4…0.6, 0.2…1.1) of the input, in pixels of a picture of 100×200 brought to 300×300."""
    anchors = torch.tensor([[0.5, 0.65, 0.2, 0.9]])
    raw = RawDetections(torch.tensor([[[0.0, 9.0]]]), torch.zeros(1, 1, 4))
    config = Postprocess(clip_before_nms=clip)
    found = postprocess(raw, anchors, [(100, 200)], LabelMap(("cat",)), config, Preprocess(fit=fit))[0]
    assert found.size_hw == (100, 200) and len(found) == 1
    return found.boxes_xyxy[0]


def test_a_letterboxed_box_comes_back_in_the_pictures_pixels():
    # By hand: 100×200 becomes 150×300, a scale of 1.5: 0.4·300/1.5 = 80, 0.2·200 = 40, 0.6·200 = 120, 1.1·200 = 220.
    assert one_box(clip=False, fit="letterbox").tolist() == pytest.approx([80, 40, 120, 220], abs=1e-3)
    assert one_box(clip=False, fit="warp").tolist() == pytest.approx([80, 20, 120, 110], abs=1e-3)


def test_clipping_ends_at_the_edge_of_the_picture_and_not_at_that_of_its_margin():
    assert one_box(clip=True, fit="letterbox").tolist() == pytest.approx([80, 40, 120, 100], abs=1e-3)
    assert one_box(clip=True, fit="warp").tolist() == pytest.approx([80, 20, 120, 100], abs=1e-3)

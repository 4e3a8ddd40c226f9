from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import boxes
from singleshot.detection import postprocess as module
from singleshot.detection.coding import RawDetections, decode
from singleshot.detection.postprocess import (
    Postprocess,
    detect_compiled,
    detect_tensors,
    nms,
    postprocess,
    suppress,
    suppress_tensors,
)
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
    if config.class_agnostic_nms:
        rows = []
        for class_id in range(probabilities.shape[1]):
            scores = probabilities[:, class_id]
            order = [a for a in np.argsort(-scores, kind="stable") if scores[a] > config.score_threshold]
            rows += [(float(scores[a]), class_id, corners[a]) for a in order[: config.candidates_per_class]]
        kept = nms(np.stack([row[2] for row in rows]), np.array([row[0] for row in rows]), config.nms_iou)
        found = [(rows[k][0], rows[k][1], rows[k][2] * np.tile(size_hw[::-1], 2)) for k in kept]
        return found[: config.max_detections]
    for class_id in range(probabilities.shape[1]):
        scores = probabilities[:, class_id]
        order = [a for a in np.argsort(-scores, kind="stable") if scores[a] > config.score_threshold]
        order = order[: config.candidates_per_class]
        for k in nms(corners[order], scores[order], config.nms_iou):
            found.append((float(scores[order][k]), class_id, corners[order][k] * np.tile(size_hw[::-1], 2)))
    return sorted(found, key=lambda row: -row[0])[: config.max_detections]


@pytest.mark.parametrize("background", [-2.0, 3.0, 8.0])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
def test_the_compiled_pass_follows_the_rules_one_by_one(background: float, clip: bool, agnostic: bool) -> None:
    config = Postprocess(candidates_per_class=50, max_detections=40, clip_before_nms=clip, class_agnostic_nms=agnostic)
    raw = random_answer(1, background)
    result = postprocess(raw, ANCHORS, [(480, 640), (100, 100)], NAMES, config, Preprocess())[0]
    expected = by_definition(raw, (480, 640), config)
    assert len(result) == len(expected) > 0
    np.testing.assert_allclose(result.scores, [score for score, _, _ in expected], rtol=1e-5)
    np.testing.assert_array_equal(result.class_ids, [class_id for _, class_id, _ in expected])
    np.testing.assert_allclose(result.boxes_xyxy, np.stack([box for _, _, box in expected]), atol=1e-2)


def test_a_certain_anchor_becomes_a_box_in_pixels_of_its_own_image() -> None:
    logits = torch.zeros(1, len(ANCHORS), 4)
    logits[..., 0] = 20.0
    logits[0, 0, 2] = 50.0
    raw = RawDetections(logits, torch.zeros(1, 256, 4))
    found = postprocess(raw, ANCHORS, [(320, 160)], NAMES, Postprocess(), Preprocess())[0]
    assert found.class_names.tolist() == ["dog"] and found.scores[0] == pytest.approx(1.0)
    # Anchor 0: centre (1/32, 1/32), size (0.15, 0.2), in a picture 160 wide and 320 high.
    np.testing.assert_allclose(found.boxes_xyxy, [[5 - 12, 10 - 32, 5 + 12, 10 + 32]], atol=1e-4)


def test_class_agnostic_nms_gives_an_object_one_class_and_the_default_one_for_each() -> None:
    logits = torch.full((1, len(ANCHORS), 4), -20.0)
    logits[..., 0] = 20.0
    logits[0, 0] = torch.tensor([0.0, 2.0, 1.0, -20.0])  # one anchor is a cat and, less so, a dog
    logits[0, 255] = torch.tensor([0.0, -20.0, 3.0, -20.0])  # another, far away, is a dog
    raw = RawDetections(logits, torch.zeros(1, 256, 4))

    def names(**changes: Any) -> list[str]:
        found = postprocess(raw, ANCHORS, [(320, 160)], NAMES, Postprocess(**changes), Preprocess())[0]
        return found.class_names.tolist()

    assert names() == ["dog", "cat", "dog"]
    assert names(class_agnostic_nms=True) == ["dog", "cat"]
    assert names(class_agnostic_nms=True, max_detections=1) == ["dog"]
    assert names(class_agnostic_nms=True, max_detections=0) == []
    assert names(class_agnostic_nms=True, score_threshold=0.999) == []


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


def test_a_letterboxed_box_comes_back_in_the_images_pixels():
    # By hand: 100×200 becomes 150×300, a scale of 1.5: 0.4·300/1.5 = 80, 0.2·200 = 40, 0.6·200 = 120, 1.1·200 = 220.
    assert one_box(clip=False, fit="letterbox").tolist() == pytest.approx([80, 40, 120, 220], abs=1e-3)
    assert one_box(clip=False, fit="warp").tolist() == pytest.approx([80, 20, 120, 110], abs=1e-3)


def test_clipping_ends_at_the_edge_of_the_image_and_not_at_that_of_its_margin():
    assert one_box(clip=True, fit="letterbox").tolist() == pytest.approx([80, 40, 120, 100], abs=1e-3)
    assert one_box(clip=True, fit="warp").tolist() == pytest.approx([80, 20, 120, 100], abs=1e-3)


EDGES = np.ones((1, 2), np.float32)


def all_of(logits: torch.Tensor, offsets: torch.Tensor, anchors: torch.Tensor, threshold: float = 0.0) -> np.ndarray:
    """Every box of every class above the threshold: nothing overlaps by more than 1."""
    everything = Postprocess(threshold, nms_iou=1.0, candidates_per_class=10_000, max_detections=10_000)
    rows, counts = detect_compiled(RawDetections(logits[None], offsets[None]), anchors, EDGES, everything)
    return rows[0, : counts[0]]


@pytest.mark.parametrize("anchors", [1, 31, 32, 101])
def test_scores_are_the_softmax_and_boxes_the_decoded_ones(anchors: int) -> None:
    generator = torch.Generator().manual_seed(anchors)
    logits = torch.randn(anchors, 6, generator=generator) * 4
    offsets, defaults = torch.randn(anchors, 4, generator=generator), torch.rand(anchors, 4, generator=generator)
    rows = all_of(logits, offsets, defaults)
    scores = logits.softmax(-1)[:, 1:].T.flatten().numpy()
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_allclose(rows[:, 4], scores[order], rtol=2e-6, atol=1e-30)
    np.testing.assert_array_equal(rows[:, 5], np.repeat(np.arange(5), anchors)[order])
    corners = np.tile(boxes.cxcywh_to_xyxy(decode(offsets, defaults)).numpy(), (5, 1))
    np.testing.assert_allclose(rows[:, :4], corners[order], rtol=1e-5, atol=1e-6)


def test_a_class_that_is_masked_with_minus_infinity_is_never_found() -> None:
    """Also at threshold 0, where room is made for what is above minus infinity only."""
    logits = torch.zeros(40, 4)
    logits[:, 2] = -torch.inf
    rows = all_of(logits, torch.zeros(40, 4), torch.full((40, 4), 0.5))
    assert len(rows) == 80 and set(rows[:, 5]) == {0.0, 2.0}


def test_the_best_of_a_class_enter_suppression_and_ties_keep_their_order() -> None:
    logits = torch.zeros(10, 2)
    logits[:, 1] = torch.tensor([1.0, 3, 2, 3, 1, 1, 1, 1, 1, 1])
    anchors = torch.tensor([[0.1 * i, 0.5, 0.01, 0.01] for i in range(10)])
    raw = RawDetections(logits[None], torch.zeros(1, 10, 4))
    rows, counts = detect_compiled(raw, anchors, EDGES, Postprocess(candidates_per_class=4, max_detections=100))
    assert counts.tolist() == [4]
    np.testing.assert_allclose(rows[0, :4, [0, 2]].mean(0), [0.1, 0.3, 0.2, 0.0], atol=1e-6)


def test_no_image_gives_no_rows() -> None:
    raw = RawDetections(torch.zeros(0, 10, 3), torch.zeros(0, 10, 4))
    rows, counts = detect_compiled(raw, torch.rand(10, 4), EDGES[:0], Postprocess())
    assert rows.shape == (0, 200, 6) and counts.shape == (0,)


def both(raw: RawDetections, **choices) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    config = Postprocess(**{"candidates_per_class": 50, "max_detections": 40} | choices)
    edges = np.array([[1.0, 1.0], [0.6, 0.9]], np.float32)[: len(raw.class_logits)]
    tables = detect_tensors(raw, ANCHORS, torch.from_numpy(edges), config)
    return detect_compiled(raw, ANCHORS, edges, config), (tables[0].numpy(), tables[1].numpy())


def assert_same(loops: tuple[np.ndarray, np.ndarray], tables: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(loops[1], tables[1])
    np.testing.assert_array_equal(loops[0][..., 5], tables[0][..., 5])
    np.testing.assert_allclose(loops[0], tables[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("background", [-2.0, 3.0, 8.0])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tables_and_loops_keep_the_same_boxes(background: float, clip: bool, seed: int) -> None:
    loops, tables = both(random_answer(seed, background), clip_before_nms=clip)
    assert loops[1].min() > 0
    assert_same(loops, tables)


@pytest.mark.parametrize(
    ("scores", "pairs"), [(1, 1 << 25), (1 << 25, 1), (1 << 25, 50 * 50 * 4), (3 * 257 * 4, 50 * 50)]
)
def test_results_do_not_depend_on_the_parts_that_memory_allows(
    scores: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are sorted in parts, rows of candidates compared in parts: never more than the limit, or one of them."""
    sizes: list[int] = []
    honest = boxes.pairwise_intersection

    def counted(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        sizes.append(first.shape[0] * first.shape[1] * second.shape[1])
        return honest(first, second)

    monkeypatch.setattr(boxes, "pairwise_intersection", counted)
    monkeypatch.setattr(module, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs)
    assert_same(*both(random_answer(1, 3.0)))
    assert max(sizes) <= max(pairs, 50 * 50)


def test_every_anchor_as_candidate_of_every_class_takes_little_memory(memory_limit: Any) -> None:
    """As in weights of lufficc, where a table of all pairs of a class would take 2.4 GB, and of all classes 190 GB."""
    generator = torch.Generator().manual_seed(3)
    anchors = torch.cat([torch.rand(24_564, 2, generator=generator), torch.full((24_564, 2), 0.02)], dim=1)
    logits = torch.full((1, 24_564, 81), -9.0)
    logits[..., 0] = 0.0
    logits[0, :, 7] = torch.randn(24_564, generator=generator)
    raw, edges = RawDetections(logits, torch.zeros(1, 24_564, 4)), np.ones((1, 2), np.float32)
    config = Postprocess(nms_iou=0.5, candidates_per_class=24_564, max_detections=100)
    loops = detect_compiled(raw, anchors, edges, config)
    with memory_limit(1 << 30):
        tables = detect_tensors(raw, anchors, torch.from_numpy(edges), config)
    assert tables[1].tolist() == [100]
    assert_same(loops, (tables[0].numpy(), tables[1].numpy()))


def test_no_image_gives_no_rows_from_tables_either() -> None:
    raw = RawDetections(torch.zeros(0, 256, 4), torch.zeros(0, 256, 4))
    found, counts = detect_tensors(raw, ANCHORS, torch.zeros(0, 2), Postprocess(max_detections=40))
    assert found.shape == (0, 40, 6) and counts.shape == (0,)


def test_equal_scores_keep_the_order_of_class_and_anchor_on_both_paths() -> None:
    raw = random_answer(5, 0.0)
    raw = RawDetections(raw.class_logits.round().clamp(-1, 1), raw.box_offsets)
    loops, tables = both(raw, nms_iou=0.8)
    assert len(np.unique(loops[0][0, :, 4])) < 10
    assert_same(loops, tables)


def test_fewer_candidates_than_detections_and_none_at_all_are_fine() -> None:
    assert_same(*both(random_answer(6, 3.0), candidates_per_class=3, max_detections=500))
    loops, tables = both(random_answer(7, 60.0))
    assert loops[1].tolist() == tables[1].tolist() == [0, 0]
    assert not tables[0].any()


def test_outputs_that_are_not_finite_are_left_out_on_both_paths() -> None:
    raw = random_answer(8, -2.0)
    raw.class_logits[0, ::3, 1] = torch.nan
    raw.box_offsets[0, ::5] = torch.nan
    loops, tables = both(raw)
    assert np.isfinite(tables[0]).all() and tables[1].min() > 0
    assert_same(loops, tables)


@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_suppressed_as_by_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((3, 300, 2)).astype(np.float32)
    boxes_xyxy = np.concatenate([low, low + rng.random((3, 300, 2)).astype(np.float32) * 0.4], axis=2)
    alive = suppress_tensors(torch.from_numpy(boxes_xyxy), torch.ones(3, 300, dtype=torch.bool), 0.45)
    for c in range(3):
        kept = np.empty(300, np.int64)
        count = suppress(boxes_xyxy[c], np.float32(0.45), kept)
        assert alive[c].nonzero()[:, 0].tolist() == kept[:count].tolist()


def test_tables_never_wait_for_the_device() -> None:
    """On the meta device there are shapes and no numbers, so that whatever looks at a number fails."""
    raw = RawDetections(torch.empty(2, 256, 4, device="meta"), torch.empty(2, 256, 4, device="meta"))
    config = Postprocess(max_detections=40, clip_before_nms=True)
    found, counts = detect_tensors(raw, ANCHORS.to("meta"), torch.empty(2, 2, device="meta"), config)
    assert found.shape == (2, 40, 6) and counts.shape == (2,)


def nms_by_hand(boxes_xyxy: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        overlaps = boxes.pairwise_iou(boxes_xyxy[i : i + 1], boxes_xyxy[kept])[0] if kept else np.zeros(0)
        if not (overlaps > threshold).any():
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_nms_keeps_the_boxes_of_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((300, 2)) * 10
    corners = np.concatenate([low, low + rng.random((300, 2)) * 6 + 0.1], axis=1).astype(np.float32)
    scores = (rng.integers(0, 40, 300) / 40).astype(np.float32)
    assert nms(corners, scores, 0.45).tolist() == nms_by_hand(corners, scores, 0.45)


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    corners = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], dtype=np.float32)
    scores = np.array([0.9, 0.8], dtype=np.float32)
    assert nms(corners, scores, 0.5).tolist() == [0, 1]
    assert nms(corners, scores, 0.49).tolist() == [0]


def test_nms_keeps_the_order_of_equal_scores() -> None:
    corners = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6]], dtype=np.float32)
    assert nms(corners, np.full(3, 0.5, dtype=np.float32), 0.45).tolist() == [0, 2]


def test_nms_of_no_boxes_keeps_none() -> None:
    assert nms(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.float32), 0.45).shape == (0,)

from __future__ import annotations

import numpy as np
import pytest
import torch

from singleshot.detection import detect_tensors as detect_module
from singleshot.detection.detect_loops import detect_compiled
from singleshot.detection.detect_tensors import detect_tensors, suppress_tensors
from singleshot.detection.nms import suppress
from singleshot.detection.raw import RawDetections

ANCHORS = torch.tensor([[x / 16 + 1 / 32, y / 16 + 1 / 32, 0.15, 0.2] for y in range(16) for x in range(16)])


def both(raw: RawDetections, **choices) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    limits = {"score_threshold": 0.01, "nms_iou": 0.45, "candidates_per_class": 50, "max_detections": 40}
    limits |= {"clip_before_nms": False} | choices
    edges = np.array([[1.0, 1.0], [0.6, 0.9]], np.float32)[: len(raw.class_logits)]
    tables = detect_tensors(raw, ANCHORS, torch.from_numpy(edges), **limits)
    return detect_compiled(raw, ANCHORS, edges, **limits), (tables[0].numpy(), tables[1].numpy())


def answer(seed: int, background: float) -> RawDetections:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, len(ANCHORS), 4, generator=generator) * 2
    logits[..., 0] += background
    return RawDetections(logits, torch.randn(2, len(ANCHORS), 4, generator=generator))


def assert_same(loops: tuple[np.ndarray, np.ndarray], tables: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(loops[1], tables[1])
    np.testing.assert_array_equal(loops[0][..., 5], tables[0][..., 5])
    np.testing.assert_allclose(loops[0], tables[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("background", [-2.0, 3.0, 8.0])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tables_and_loops_keep_the_same_boxes(background: float, clip: bool, seed: int) -> None:
    loops, tables = both(answer(seed, background), clip_before_nms=clip)
    assert loops[1].min() > 0
    assert_same(loops, tables)


@pytest.mark.parametrize(("pairs", "turns"), [(1, 2), (3 * 50**2, 2), (2 * 3 * 50**2, 1)])
def test_one_suppression_serves_as_many_pictures_as_memory_allows(
    pairs: int, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def counted(boxes_xyxy: torch.Tensor, candidates: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        calls.append(tuple(candidates.shape))
        return suppress_tensors(boxes_xyxy, candidates, iou_threshold)

    monkeypatch.setattr(detect_module, "suppress_tensors", counted)
    monkeypatch.setattr(detect_module, "PAIRS_AT_ONCE", pairs)
    assert_same(*both(answer(1, 3.0)))
    assert calls == [(3 * 2 // turns, 50)] * turns


def test_no_picture_at_all_gives_no_rows() -> None:
    raw = RawDetections(torch.zeros(0, 256, 4), torch.zeros(0, 256, 4))
    found, counts = detect_tensors(raw, ANCHORS, torch.zeros(0, 2), 0.01, 0.45, 50, 40, False)
    assert found.shape == (0, 40, 6) and counts.shape == (0,)


def test_equal_scores_keep_the_order_of_class_and_anchor_on_both_ways() -> None:
    raw = answer(5, 0.0)
    raw = RawDetections(raw.class_logits.round().clamp(-1, 1), raw.box_offsets)
    loops, tables = both(raw, nms_iou=0.8)
    assert len(np.unique(loops[0][0, :, 4])) < 10
    assert_same(loops, tables)


def test_fewer_candidates_than_detections_and_none_at_all_are_fine() -> None:
    assert_same(*both(answer(6, 3.0), candidates_per_class=3, max_detections=500))
    loops, tables = both(answer(7, 60.0))
    assert loops[1].tolist() == tables[1].tolist() == [0, 0]
    assert not tables[0].any()


def test_answers_that_are_not_finite_are_left_out_on_both_ways() -> None:
    raw = answer(8, -2.0)
    raw.class_logits[0, ::3, 1] = torch.nan
    raw.box_offsets[0, ::5] = torch.nan
    loops, tables = both(raw)
    assert np.isfinite(tables[0]).all() and tables[1].min() > 0
    assert_same(loops, tables)


@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_suppressed_as_by_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((3, 120, 2)).astype(np.float32)
    boxes_xyxy = np.concatenate([low, low + rng.random((3, 120, 2)).astype(np.float32) * 0.4], axis=2)
    alive = suppress_tensors(torch.from_numpy(boxes_xyxy), torch.ones(3, 120, dtype=torch.bool), 0.45)
    for c in range(3):
        kept = np.empty(120, np.int64)
        count = suppress(boxes_xyxy[c], np.float32(0.45), kept)
        assert alive[c].nonzero()[:, 0].tolist() == kept[:count].tolist()


def test_nothing_waits_for_the_device() -> None:
    """On the meta device there are shapes and no numbers, so that whatever looks at a number fails."""
    raw = RawDetections(torch.empty(2, 256, 4, device="meta"), torch.empty(2, 256, 4, device="meta"))
    found, counts = detect_tensors(
        raw, ANCHORS.to("meta"), torch.empty(2, 2, device="meta"), 0.01, 0.45, 50, 40, True
    )  # fmt: skip
    assert found.shape == (2, 40, 6) and counts.shape == (2,)

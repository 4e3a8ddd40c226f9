"""Postprocessing of sigmoid scores: the same in NumPy, in compiled loops and in tables."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from singleshot.detection import few_candidates
from singleshot.detection.coding import RawDetections
from singleshot.detection.few_candidates import detect_few
from singleshot.detection.postprocess import Postprocess, detect_compiled, detect_sigmoid, detect_tensors

ANCHORS = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.21], [0.2, 0.2, 0.1, 0.1], [0.9, 0.9, 0.4, 0.4]])
EDGES = np.ones((1, 2), np.float32)


def raw_of(logits: list[list[float]]) -> RawDetections:
    return RawDetections(torch.tensor([logits]), torch.zeros(1, len(logits), 4))


def few(raw: RawDetections, config: Postprocess) -> np.ndarray | None:
    limits = {field.name: getattr(config, field.name) for field in fields(config)}
    return detect_few(raw.class_logits[0].numpy(), raw.box_offsets[0].numpy(), ANCHORS.numpy(), EDGES[0], **limits)


def test_worked_by_hand_a_better_box_of_the_same_class_suppresses_and_one_of_another_class_does_not() -> None:
    # σ(log 3) = 3/4 and σ(log 4) = 4/5; anchors 0 and 1 overlap by more than half.
    raw = raw_of([[np.log(3), -9.0], [np.log(4), np.log(3)], [-9.0, 0.0], [-9.0, -9.0]])
    found = few(raw, Postprocess(score_threshold=0.4))
    assert found is not None
    np.testing.assert_allclose(found[:, 4:], [[0.8, 0], [0.75, 1], [0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(found[0, :4], [0.4, 0.395, 0.6, 0.605], atol=1e-6)


def test_no_score_above_the_threshold_gives_no_row_and_a_score_at_it_does_not_pass() -> None:
    found = few(raw_of([[0.0]] * 4), Postprocess(score_threshold=0.5))
    assert found is not None and found.shape == (0, 6)
    rows, counts = detect_sigmoid(raw_of([[-20.0]] * 4), ANCHORS, EDGES, Postprocess())
    assert counts.tolist() == [0] and not rows.any()


def random_raw(seed: int, images: int = 3) -> RawDetections:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 60, 5, generator=generator) * 3
    logits[0, :30] = logits[0, 30:]  # ties
    return RawDetections(logits, torch.randn(images, 60, 4, generator=generator))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_numpy_compiled_and_tables_agree_ties_included(seed: int, clip: bool, together: bool) -> None:
    raw = random_raw(seed)
    anchors = torch.rand(60, 4, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
    edges = np.array([[1.0, 1.0], [0.7, 1.0], [1.0, 0.5]], np.float32)
    config = Postprocess(0.3, candidates_per_class=20, max_detections=40, clip_before_nms=clip)
    config = replace(config, class_agnostic_nms=together)
    (rows, counts), (others, other_counts) = (
        detect_sigmoid(raw, anchors, edges, config),
        detect_compiled(raw, anchors, edges, config, "sigmoid"),
    )
    tables, table_counts = detect_tensors(raw, anchors, torch.from_numpy(edges), config, "sigmoid")
    assert counts.tolist() == other_counts.tolist() == table_counts.tolist() and counts.min() > 0
    np.testing.assert_allclose(rows, others, atol=2e-6)
    np.testing.assert_allclose(rows, tables.numpy(), atol=2e-6)


def test_many_candidates_go_through_the_compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, config = random_raw(1), Postprocess(score_threshold=0.3)
    anchors = ANCHORS.repeat(15, 1)
    wanted = detect_sigmoid(raw, anchors, EDGES.repeat(3, 0), config)[0]
    monkeypatch.setattr(few_candidates, "FEW", 10)
    assert few(RawDetections(*(each[:1, :4] * 0 + 5 for each in raw)), config) is None
    np.testing.assert_allclose(detect_sigmoid(raw, anchors, EDGES.repeat(3, 0), config)[0], wanted, atol=2e-6)


def test_what_is_not_finite_detects_nothing_and_a_huge_offset_is_a_large_box() -> None:
    raw = raw_of([[3.0], [torch.nan], [3.0], [3.0]])
    raw.box_offsets[0, 0] = torch.nan
    raw.box_offsets[0, 3, 2:] = torch.inf
    found = few(raw, replace(Postprocess(), score_threshold=0.1))
    assert found is not None and len(found) == 2 and np.isfinite(found).all()

from __future__ import annotations

import numpy as np
import pytest

from singleshot.metrics.road_maxf import as_values, figures, histogram

VOID = 255


def pooled(truth: list[int], values: list[int]) -> np.ndarray:
    return histogram(np.array([truth], np.uint8), np.array([values], np.uint8))


def test_by_hand_four_pixels() -> None:
    # Road scores 200 and 100, not road 150 and 50. At 151…200: P 1, R ½, F ⅔. At 51…100: P ⅔, R 1, F 0.8. Best: 51.
    found = figures(pooled([1, 1, 0, 0], [200, 100, 150, 50]), images=1)
    assert found.maxf == pytest.approx(0.8)
    assert (found.pre, found.rec) == (pytest.approx(2 / 3), 1.0)
    assert (found.fpr, found.fnr) == (0.5, 0.0)
    assert found.threshold == 51
    # Best precision at recall 0 … 0.5 is 1 (six points), at 0.6 … 1 it is ⅔ (five points).
    assert found.ap == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_perfect_map_has_one_everywhere() -> None:
    found = figures(pooled([1, 0, 0], [255, 0, 0]), images=1)
    assert (found.maxf, found.ap, found.pre, found.rec, found.fpr, found.fnr) == (1, 1, 1, 1, 0, 0)


def test_a_constant_map_calls_all_road() -> None:
    found = figures(pooled([1, 0, 0, 0], [7, 7, 7, 7]), images=1)
    assert found.maxf == pytest.approx(2 * 0.25 / 1.25) and found.rec == 1 and found.fpr == 1 and found.threshold == 0


def test_void_pixels_are_not_evaluated() -> None:
    with_void = pooled([1, 1, 0, 0, VOID, VOID], [200, 100, 150, 50, 255, 0])
    assert with_void.tolist() == pooled([1, 1, 0, 0], [200, 100, 150, 50]).tolist()


def test_images_are_pooled_before_anything_is_divided() -> None:
    first, second = pooled([1, 0], [255, 0]), pooled([1] * 9 + [0], [0] * 10)
    # Threshold 1: 1 of 10 road pixels, precision 1: F 0.18. Threshold 0: all: precision 10/12, recall 1: F 0.909.
    assert figures(first + second, images=2).maxf == pytest.approx(2 * (10 / 12) / (10 / 12 + 1))


def test_no_road_or_nothing_else_gives_no_figures() -> None:
    for truth in ([0, 0], [1, 1], [VOID, VOID]):
        found = figures(pooled(truth, [3, 4]), images=1)
        assert found.maxf is None and found.ap is None and found.threshold is None and found.images == 1


def test_against_a_loop_over_thresholds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (40, 50)).astype(np.uint8)
    values = np.clip(rng.normal(110 + 40 * truth, 40), 0, 255).astype(np.uint8)
    best = 0.0
    for threshold in range(256):
        called = values >= threshold
        hits = int((called & (truth == 1)).sum())
        precision, recall = hits / max(1, int(called.sum())), hits / int((truth == 1).sum())
        best = max(best, 2 * precision * recall / max(precision + recall, 1e-12))
    assert figures(histogram(truth, values), images=1).maxf == pytest.approx(best)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="the map"):
        histogram(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_probabilities_are_rounded_to_values() -> None:
    assert as_values(np.array([[0.0, 0.001, 0.5, 0.999, 1.0]])).tolist() == [[0, 0, 128, 255, 255]]

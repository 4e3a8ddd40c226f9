from __future__ import annotations

import numpy as np
import pytest

from singleshot.data.boxes.coordinates import Form, other_kind

XYXY = np.array([[10.0, 20, 110, 90], [80, 40, 150, 110], [100, 70, 155, 115]])
SIZE_WH = np.array([[160.0, 120.0]])
XYWH = np.concatenate([XYXY[:, :2], XYXY[:, 2:] - XYXY[:, :2]], axis=1)
FRACTIONS = XYXY / np.tile(SIZE_WH, 2)
CXCYWH = np.concatenate([(FRACTIONS[:, :2] + FRACTIONS[:, 2:]) / 2, FRACTIONS[:, 2:] - FRACTIONS[:, :2]], axis=1)
ONE = np.ones((1, 2))
CASES: list[tuple[np.ndarray, np.ndarray, Form, str]] = [
    (CXCYWH * np.tile(SIZE_WH, 2), ONE, "cxcywh fractions", "pixels"),
    (CXCYWH * 100, ONE, "cxcywh fractions", "percent"),
    (FRACTIONS, ONE, "cxcywh fractions", "corners"),
    (CXCYWH, SIZE_WH, "xywh", "fractions"),
    (XYXY, SIZE_WH, "xywh", "corners"),
    (FRACTIONS, SIZE_WH, "xyxy inclusive", "fractions"),
    (XYWH, SIZE_WH, "xyxy inclusive", "width and height"),
    (XYXY, ONE, "xyxy fractions", "pixels"),
]


@pytest.mark.parametrize(("numbers", "sizes_wh", "form", "words"), CASES)
def test_boxes_of_another_kind_are_told_by_most_of_them(
    numbers: np.ndarray, sizes_wh: np.ndarray, form: Form, words: str
) -> None:
    assert words in (other_kind(numbers, sizes_wh, form) or "")


@pytest.mark.parametrize(
    ("numbers", "sizes_wh", "form"),
    [
        (CXCYWH, ONE, "cxcywh fractions"),
        (XYWH, SIZE_WH, "xywh"),
        (XYXY, SIZE_WH, "xyxy inclusive"),
        (FRACTIONS, ONE, "xyxy fractions"),
    ],
)
def test_boxes_of_the_formats_own_kind_and_no_boxes_are_left_alone(
    numbers: np.ndarray, sizes_wh: np.ndarray, form: Form
) -> None:
    assert other_kind(numbers, sizes_wh, form) is None
    assert other_kind(np.zeros((0, 4)), sizes_wh, form) is None


def test_one_odd_box_among_good_ones_is_not_another_kind() -> None:
    odd = np.concatenate([CXCYWH, [[80.0, 60, 40, 30]]])
    assert other_kind(odd, ONE, "cxcywh fractions") is None
    inverted = np.concatenate([XYXY, [[90.0, 80, 20, 10]]])
    assert other_kind(inverted, SIZE_WH, "xyxy inclusive") is None


@pytest.mark.parametrize("form", ["xywh", "xyxy inclusive"])
def test_random_good_boxes_are_never_another_kind(form: Form) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        corners = rng.uniform(1, (160, 120) * 2, (rng.integers(2, 12), 4))
        low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:]) + 1
        numbers = np.concatenate([low, high - low if form == "xywh" else high], axis=1)
        assert other_kind(numbers, SIZE_WH, form) is None

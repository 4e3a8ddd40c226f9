from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.boxes import pairwise_iou
from singleshot.data.check import boxes as check_boxes
from singleshot.data.check.boxes import BoxPlace, near_duplicates


def _pairs(boxes: list[tuple[float, ...]], classes: list[int] | None = None) -> list[tuple[int, int]]:
    found, overlaps = near_duplicates(
        np.array(boxes, float).reshape(-1, 4), np.array(classes or [0] * len(boxes), np.int64)
    )
    assert ((overlaps >= check_boxes.LEAST_IOU) & (overlaps <= 1)).all()
    return [tuple(pair) for pair in found.tolist()]


def test_no_boxes_repeat_nothing() -> None:
    assert _pairs([]) == []


def test_the_bound_is_an_iou_of_eight_tenths() -> None:
    """Worked by hand: 100×80 in 100×100 is exactly 0.8, and 100×79 is 0.79."""
    assert _pairs([(0, 0, 100, 100), (0, 0, 100, 80)]) == [(0, 1)]
    assert _pairs([(0, 0, 100, 100), (0, 0, 100, 79)]) == []


def test_other_classes_and_boxes_without_area_are_left_alone() -> None:
    assert _pairs([(0, 0, 9, 9), (0, 0, 9, 9)], [0, 1]) == []
    assert _pairs([(5, 5, 5, 9), (5, 5, 5, 9), (9, 9, 1, 1), (9, 9, 1, 1)]) == []


def test_each_repetition_is_named_once_with_an_earlier_row() -> None:
    assert _pairs([(0, 0, 9, 9), (50, 0, 59, 9), (0, 0, 9, 9), (50, 0, 59, 9), (0, 0, 9, 9)]) in (
        [(0, 2), (1, 3), (0, 4)],
        [(0, 2), (1, 3), (2, 4)],
    )


_SIDE = st.integers(0, 12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_SIDE, _SIDE, _SIDE, _SIDE, st.integers(0, 1)), max_size=12))
def test_a_box_is_named_or_repeats_no_box_that_is_not_named(rows: list[tuple[int, ...]]) -> None:
    """Against all pairs, one by one: the boxes that stay repeat one another nowhere; those named repeat another one."""
    table = np.array(rows, float).reshape(-1, 5)
    boxes_xyxy = np.hstack([table[:, :2], table[:, :2] + table[:, 2:4]])
    class_ids = table[:, 4].astype(np.int64)
    pairs, overlaps = near_duplicates(boxes_xyxy, class_ids)
    usable = (table[:, 2:4] > 0).all(axis=1)
    alike = pairwise_iou(boxes_xyxy, boxes_xyxy) >= check_boxes.LEAST_IOU
    alike &= (class_ids[:, None] == class_ids) & usable[:, None] & usable & ~np.eye(len(table), dtype=bool)
    named = set(pairs[:, 1].tolist())
    stay = [row for row in range(len(table)) if row not in named]
    assert not alike[np.ix_(stay, stay)].any()
    assert all(alike[first, second] and first < second for first, second in pairs.tolist())
    assert len(named) == len(pairs) and pairs[:, 1].tolist() == sorted(named) and len(overlaps) == len(pairs)


@pytest.mark.parametrize("line", [None, 7])
def test_faults_say_where_both_boxes_stand(line: int | None) -> None:
    places = [BoxPlace(Path("a.xml"), line and line + row, f"box {row}") for row in range(3)]
    boxes_xyxy = np.array([(0.0, 0, 9, 9), (0, 0, 9, 9), (0, 0, 9, 8)])
    same, near = check_boxes.repeated(boxes_xyxy, np.zeros(3, np.int64), places)
    other = "box 0" if line is None else "that of line 7"
    assert str(same) == f"a.xml{':8' if line else ''}: box 1 is the same as {other}; both are kept. Delete one."
    assert same.kind == "duplicate-box" and near.kind == "near-duplicate-box" and "IoU 0.89" in near.message


def test_a_side_below_a_pixel_of_the_input_is_noted() -> None:
    """Worked by hand: at 300 px for 600, a side of 1.9 px becomes 0.95 px and one of 2 px becomes 1 px."""
    places = [BoxPlace(Path("a.xml"), row, "box") for row in range(3)]
    boxes_xyxy = np.array([(0, 0, 1.9, 50), (0, 0, 2, 50), (3, 3, 3, 9)])
    assert [fault.line for fault in check_boxes.tiny(boxes_xyxy, (600, 600), places)] == [0]

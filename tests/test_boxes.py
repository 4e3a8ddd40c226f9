from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot import boxes

SIDE = st.integers(0, 200)
BOX = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), st.integers(-100, 100), st.integers(-100, 100), SIDE, SIDE)


def array(rows: list[tuple[int, ...]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(BOX, max_size=5))
def test_centres_and_corners_are_inverses(rows: list):
    there = array(rows)
    assert np.array_equal(boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(there)), there)


def pixels(box: tuple[int, ...]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


SMALL = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), *(st.integers(-5, 5),) * 2, *(st.integers(0, 8),) * 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(SMALL, max_size=4), st.lists(SMALL, max_size=4))
def test_area_and_overlap_equal_the_count_of_unit_squares(first: list, second: list):
    one, other = array(first), array(second)
    common, iou = boxes.pairwise_intersection(one, other), boxes.pairwise_iou(one, other)
    assert common.shape == iou.shape == (len(first), len(second))
    assert boxes.area(one).tolist() == [len(pixels(box)) for box in first]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            shared, all_of_them = len(pixels(a) & pixels(b)), len(pixels(a) | pixels(b))
            assert common[i, j] == shared
            assert iou[i, j] == pytest.approx(shared / all_of_them if all_of_them else 0.0)


def test_a_width_has_no_1_added():
    assert boxes.area(array([(0, 0, 1, 1)])).item() == 1.0


def test_boxes_that_touch_do_not_overlap():
    assert boxes.pairwise_iou(array([(0, 0, 2, 2)]), array([(2, 0, 4, 2)])).item() == 0.0


def test_a_box_without_area_overlaps_nothing_and_divides_nothing_by_zero():
    empty = array([(3, 3, 3, 3)])
    assert boxes.pairwise_iou(empty, empty).item() == 0.0
    assert boxes.pairwise_iou(torch.from_numpy(empty), torch.from_numpy(empty)).item() == 0.0


def test_clip_cuts_at_every_edge_and_empties_boxes_outside():
    cut = boxes.clip(array([(-5, -6, 50, 60), (30, 1, 40, 2), (-9, -9, -1, -1), (1, 2, 3, 4)]), (10, 20))
    assert cut.tolist() == [[0, 0, 20, 10], [20, 1, 20, 2], [0, 0, 0, 0], [1, 2, 3, 4]]


def test_scale_takes_height_for_y_and_width_for_x():
    assert boxes.scale(array([(1, 2, 3, 4)]), (10, 100)).tolist() == [[100, 20, 300, 40]]


@pytest.mark.parametrize("leading", [(0,), (5,), (2, 5), (2, 0)])
def test_tensors_give_what_arrays_give_for_any_leading_axes(leading: tuple[int, ...]):
    low = np.random.default_rng(0).uniform(0, 50, (*leading, 2))
    there = np.concatenate([low, low + 7], axis=-1)
    tensor = torch.from_numpy(there)
    for function in (
        boxes.xyxy_to_cxcywh,
        boxes.cxcywh_to_xyxy,
        boxes.area,
        lambda x: boxes.pairwise_iou(x, x),
        lambda x: boxes.clip(x, (20, 30)),
        lambda x: boxes.scale(x, (0.5, 2)),
    ):
        wanted, got = function(there), function(tensor)
        assert isinstance(got, torch.Tensor)
        assert got.dtype == tensor.dtype
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)


def test_arguments_are_not_changed():
    there = array([(-5, -6, 50, 60)])
    before = there.copy()
    for function in (boxes.xyxy_to_cxcywh, boxes.cxcywh_to_xyxy):
        function(there)[:] = 9
    boxes.clip(there, (10, 20))[:] = 9
    boxes.scale(there, (1, 1))[:] = 9
    assert np.array_equal(there, before)

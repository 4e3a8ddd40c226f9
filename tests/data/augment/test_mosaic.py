from __future__ import annotations

import numpy as np
import pytest

from singleshot.data.augment.mosaic import Part, mosaic

SIZE_HW = (60, 80)
GREY = (9, 9, 9)
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0))


def part(number: int, height: int = 60, width: int = 80, boxes: list[list[float]] | None = None) -> Part:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = COLOURS[number]
    rows = np.array(boxes if boxes is not None else [[0.0, 0.0, width, height]], np.float64).reshape(-1, 4)
    return Part(image, rows, np.full(len(rows), number))


def made(*parts: Part, seed: int = 0) -> Part:
    return mosaic(parts, SIZE_HW, np.random.default_rng(seed), GREY)


@pytest.mark.parametrize("seed", range(20))
def test_each_box_lies_on_the_pixels_of_its_image(seed: int) -> None:
    """Every image is one colour and its box is the whole of it: where the box is, the colour is, and nowhere else."""
    sizes = ((60, 80), (40, 90), (90, 30), (33, 33))
    found = made(*(part(number, *size) for number, size in enumerate(sizes)), seed=seed)
    assert found.image_rgb.shape == (120, 160, 3)
    for box, number in zip(found.boxes_xyxy, found.class_ids, strict=True):
        left, top, right, bottom = box.round().astype(int)
        inside = (found.image_rgb[top:bottom, left:right] == COLOURS[number]).all()
        assert inside
        assert (found.image_rgb == COLOURS[number]).all(axis=2).sum() == (bottom - top) * (right - left)


def test_the_four_images_meet_in_one_point_in_reading_order() -> None:
    found = made(*(part(number) for number in range(4)))
    ends = found.boxes_xyxy
    meeting = ends[0, 2:]
    for number, columns in ((1, [0, 3]), (2, [2, 1]), (3, [0, 1])):
        assert np.allclose(ends[number, columns], meeting)


def test_a_box_whose_centre_is_cut_off_is_gone_and_others_are_clipped() -> None:
    """The upper left image's upper left corner is what a point near the canvas's corner cuts off."""
    boxes = [[0.0, 0.0, 4.0, 4.0], [70.0, 50.0, 80.0, 60.0]]
    kept = [
        made(part(0, boxes=boxes), *(part(number, boxes=[]) for number in (1, 2, 3)), seed=seed) for seed in range(40)
    ]
    counts = [len(each.boxes_xyxy) for each in kept]
    assert min(counts) == 1 and max(counts) == 2  # the corner next to the point is always in view
    for each in kept:
        assert (each.boxes_xyxy >= 0).all() and (each.boxes_xyxy[:, 2:] <= [160, 120]).all()
        assert (each.boxes_xyxy[:, 2:] > each.boxes_xyxy[:, :2]).all()


def test_images_without_boxes_give_none_and_the_rest_is_filled() -> None:
    found = made(*(part(number, 60, 20, boxes=[]) for number in range(4)))
    assert found.boxes_xyxy.shape == (0, 4) and found.class_ids.shape == (0,)
    assert (found.image_rgb == GREY).all(axis=2).any()


def test_the_same_numbers_give_the_same_mosaic() -> None:
    parts = [part(number) for number in range(4)]
    assert np.array_equal(made(*parts, seed=3).image_rgb, made(*parts, seed=3).image_rgb)
    assert not np.array_equal(made(*parts, seed=3).image_rgb, made(*parts, seed=4).image_rgb)

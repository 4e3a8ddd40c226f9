from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from singleshot import drawing
from singleshot.classes import colours
from singleshot.drawing import class_colour_image, draw, draw_boxes, draw_masks
from singleshot.errors import UsageError
from singleshot.structures import Detections, Segmentation

RED = np.array([[255, 0, 0]], np.uint8)


def _picture(height: int = 120, width: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _detections(boxes: list, size_hw: tuple[int, int] = (120, 200), score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.arange(count),
        np.array([f"class {index}" for index in range(count)], object),
        size_hw,
    )


def test_an_image_without_detections_comes_back_as_an_equal_copy() -> None:
    image = _picture()
    drawn = draw(image, _detections([]))
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_detections_below_the_threshold_are_not_drawn() -> None:
    image = _picture()
    np.testing.assert_array_equal(draw(image, _detections([[20, 30, 80, 90]], score=0.4), threshold=0.5), image)


def test_the_input_stays_as_it_was() -> None:
    image = _picture()
    before = image.copy()
    image.setflags(write=False)
    assert (draw(image, _detections([[20, 30, 80, 90]])) != before).any()
    np.testing.assert_array_equal(image, before)


def test_the_frame_is_the_outermost_pixel_inside_the_box() -> None:
    image = np.zeros((120, 200, 3), np.uint8)
    drawn = draw_boxes(image, np.array([[20.0, 30.0, 80.0, 90.0]]), [""], RED, line_width=1)
    frame = np.zeros((120, 200), bool)
    frame[30:90, 20:80] = True
    frame[31:89, 21:79] = False
    np.testing.assert_array_equal((drawn == RED[0]).all(axis=-1), frame)
    assert not drawn[:30].any() and not drawn[90:].any() and not drawn[:, :20].any() and not drawn[:, 80:].any()


def test_the_class_id_chooses_the_colour() -> None:
    drawn = draw(np.zeros((120, 200, 3), np.uint8), _detections([[20, 30, 80, 90], [100, 40, 190, 110]]), line_width=2)
    np.testing.assert_array_equal(drawn[88, 50], colours(2)[0])
    np.testing.assert_array_equal(drawn[108, 150], colours(2)[1])


def test_the_best_detection_lies_on_top() -> None:
    both = np.array([[20.0, 30.0, 80.0, 90.0]] * 2)
    two = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    drawn = draw_boxes(np.zeros((120, 200, 3), np.uint8), both, ["", ""], two)
    assert drawn[30, 50].tolist() == [255, 0, 0]


@pytest.mark.parametrize("corner", [(0, 0), (160, 0), (0, 90), (160, 90), (-30, -20), (190, 110)])
def test_a_label_stays_whole_inside_the_image(corner: tuple[int, int]) -> None:
    """The chip is as large at a picture's corner as in its middle, so nothing of it is cut off."""
    x, y = corner

    def chip_pixels(box: list[float]) -> int:
        dark = np.full((120, 200, 3), 7, np.uint8)
        plain = draw_boxes(dark, np.array([box]), [""], RED, line_width=1)
        labelled = draw_boxes(dark, np.array([box]), ["ab"], RED, line_width=1)
        rows, columns = np.nonzero((plain != labelled).any(axis=-1))
        return (np.ptp(rows) + 1) * (np.ptp(columns) + 1)

    at_corner = chip_pixels([x, y, x + 40.0, y + 30.0])
    in_middle = chip_pixels([80.0, 50.0, 120.0, 80.0])
    # Where the chip lies on the frame, one line of equal colour hides in the difference, on each side.
    assert 0.75 * in_middle <= at_corner <= 1.1 * in_middle


def test_labels_of_boxes_that_coincide_do_not_cover_each_other() -> None:
    boxes = np.array([[60.0, 40.0, 140.0, 100.0]] * 2)
    two = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    drawn = draw_boxes(np.zeros((120, 200, 3), np.uint8), boxes, ["one", "two"], two, line_width=1)
    alone = [
        draw_boxes(np.zeros((120, 200, 3), np.uint8), boxes[:1], ["one"], two[[index]], line_width=1)
        for index in range(2)
    ]
    for index in range(2):
        wanted = (alone[index] == two[index]).all(axis=-1).sum() - 2 * (80 + 60) + 4
        assert (drawn == two[index]).all(axis=-1).sum() >= 0.8 * wanted


def test_boxes_at_and_beyond_the_edges_are_cut_off_or_left_out() -> None:
    image = np.zeros((120, 200, 3), np.uint8)
    outside = np.array([[-50.0, -50.0, -10.0, -10.0], [200.0, 0.0, 260.0, 50.0]])
    np.testing.assert_array_equal(draw_boxes(image, outside, ["a", "b"], np.repeat(RED, 2, 0)), image)
    whole = draw_boxes(image, np.array([[-50.0, -50.0, 900.0, 900.0]]), [""], RED, line_width=1)
    assert (whole[[0, -1]] == RED[0]).all() and (whole[:, [0, -1]] == RED[0]).all()


def test_a_box_thinner_than_a_pixel_still_shows() -> None:
    drawn = draw_boxes(np.zeros((120, 200, 3), np.uint8), np.array([[50.1, 60.1, 50.3, 60.2]]), [""], RED)
    assert drawn[60, 50].tolist() == [255, 0, 0]
    assert (drawn.any(axis=-1)).sum() == 1


def test_an_image_smaller_than_a_label_is_drawn_all_the_same() -> None:
    image = _picture(1, 2)
    assert draw(image, _detections([[0, 0, 2, 1]], (1, 2))).shape == (1, 2, 3)


def test_a_label_of_any_length_and_script_fits() -> None:
    drawn = draw_boxes(_picture(), np.array([[20.0, 30.0, 80.0, 90.0]]), ["Straße\n" * 100 + "猫"], RED)
    assert drawn.shape == (120, 200, 3)


def test_detections_of_another_image_are_refused() -> None:
    with pytest.raises(UsageError, match=r"belong to a 200×120 image, this one is 120×200"):
        draw(_picture(200, 120), _detections([[20, 30, 80, 90]]))


def segmentation(class_ids: np.ndarray) -> Segmentation:
    return Segmentation(class_ids, ("road", "sky"), np.array([[200, 0, 0], [0, 0, 200]], np.uint8))


def test_a_mask_tints_half_and_its_borders_are_in_full_colour() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    ids = np.zeros((40, 60), np.uint8)
    ids[:, 30:] = 1
    drawn = draw_masks(image, segmentation(ids), legend=False)
    assert drawn[20, 10].tolist() == [150, 50, 50] and drawn[20, 50].tolist() == [50, 50, 150]
    assert drawn[20, 30].tolist() == [0, 0, 200]
    assert (image == 100).all()
    named = draw(image, segmentation(ids))
    assert named.shape == image.shape and (named[34:] == drawn[34:]).all()
    assert (named != drawn)[:15].any()


def test_background_and_void_are_left_as_they_are() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    ids = np.zeros((20, 30), np.uint8)
    ids[:, 10:20], ids[:, 20:] = 1, 255
    found = Segmentation(ids, ("background", "road"), np.array([[200, 0, 0], [0, 0, 200]], np.uint8))
    drawn = draw_masks(image, found, legend=False)
    assert (drawn[:, :10] == 100).all() and (drawn[:, 20:] == 100).all() and drawn[5, 15].tolist() == [50, 50, 150]


def test_void_is_black_and_another_size_is_refused() -> None:
    ids = np.full((4, 4), 255, np.uint8)
    assert class_colour_image(segmentation(ids)).max() == 0
    with pytest.raises(UsageError, match="4×4"):
        draw_masks(np.zeros((5, 4, 3), np.uint8), segmentation(ids))


def test_a_few_labels_are_placed_alike_with_and_without_compiled_code() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        corners = generator.integers(0, 60, (8, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        chips_hw = generator.integers(1, 40, (8, 2))
        compiled = drawing._places(boxes, chips_hw, 60, 64)
        assert np.array_equal(drawing._places.py_func(boxes, chips_hw, 60, 64), compiled)


def test_the_first_image_with_few_labels_loads_no_compiled_code() -> None:
    program = (
        "import sys; import numpy as np; from singleshot import drawing; "
        "boxes = np.array([[1, 2, 30, 40], [3, 4, 50, 60]], np.float32); colours = np.zeros((2, 3), np.uint8); "
        "drawing.draw_boxes(np.zeros((90, 90, 3), np.uint8), boxes, ['a 0.5', 'b 0.4'], colours); "
        "print(drawing._places.is_loaded, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"

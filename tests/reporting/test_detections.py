from __future__ import annotations

import numpy as np

from singleshot.reporting.detections import beside, crop

NO_BOXES = np.zeros((0, 4))


def test_boxes_move_with_the_reduced_image() -> None:
    drawn = beside(
        np.zeros((200, 400, 3), np.uint8), np.array([[100.0, 50.0, 300.0, 150.0]]), [""], NO_BOXES, [], width=200
    )
    rows, columns = np.nonzero(drawn.sum(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (25, 75, 50, 150)
    assert not beside(np.zeros((9, 9, 3), np.uint8), NO_BOXES, [], NO_BOXES, []).any()


def test_a_crop_contains_the_box_and_stays_in_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    for box in ([0, 0, 5, 5], [190, 90, 200, 100], [20, 20, 180, 90], [-50, -50, -20, -20], [500, 5, 510, 9]):
        part, (left, top) = crop(image, np.array(box, np.float64))
        assert part.size and (part == image[top : top + part.shape[0], left : left + part.shape[1]]).all()
    part, (left, top) = crop(image, np.array([80.0, 40.0, 120.0, 60.0]))
    assert (left, top, *part.shape[:2]) == (64, 14, 72, 72)  # 40 · 0.9 on each side of (100, 50)

from __future__ import annotations

import numpy as np

from singleshot.reporting.detections import beside, corners, crop

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


def test_a_curve_keeps_its_corners_among_thousands_of_false_detections() -> None:
    hits = np.zeros(5000, np.bool_)
    hits[[2, 3, 7, 40, 2500]] = True
    recall, precision = hits.cumsum() / 6, hits.cumsum() / np.arange(1, 5001)
    kept = corners(recall)
    assert len(kept) == 10 and (kept[0], kept[-1]) == (1, 4999)
    for value in np.unique(recall[recall > 0]):  # the vertical line at each recall has both its ends
        of_all, of_kept = precision[recall == value], precision[kept][recall[kept] == value]
        assert (of_all.max(), of_all.min()) == (of_kept.max(), of_kept.min())

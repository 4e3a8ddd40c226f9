from __future__ import annotations

import base64
import re

import cv2
import numpy as np

from singleshot.reporting.album import Album, beside, crop, reduced

NO_BOXES = np.zeros((0, 4))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_is_in_the_page_itself() -> None:
    image = np.full((30, 60, 3), (250, 20, 20), np.uint8)
    data = re.search("base64,([^']*)'", Album().shot(image, "<b>"))
    assert data is not None
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert back.shape == image.shape and np.abs(back.astype(int) - image).max() < 12, "red stays red"


def test_a_picture_does_not_wait_to_be_scrolled_to_so_that_a_printed_report_has_it() -> None:
    assert "lazy" not in Album().shot(noise(9, 9), "a")


def test_the_budget_is_kept_and_what_has_no_room_is_said() -> None:
    album = Album(left_bytes=100_000)
    shots = [album.shot(noise(200, 300), f"n{place}") for place in range(8)]
    shown = sum("base64" in shot for shot in shots)
    assert 0 < shown < 8 and album.left_bytes >= 0
    assert "not shown" in shots[-1] and "n7" in shots[-1]
    assert sum(map(len, shots)) < 100_000 * 1.4 + 8_000


def test_a_picture_is_reduced_and_never_enlarged() -> None:
    assert reduced(noise(100, 1000), 200).shape == (20, 200, 3)
    assert reduced(noise(1000, 100), 200).shape == (300, 30, 3)
    assert reduced(noise(10, 20), 200).shape == (10, 20, 3)


def test_boxes_move_with_the_reduced_picture() -> None:
    drawn = beside(
        np.zeros((200, 400, 3), np.uint8), np.array([[100.0, 50.0, 300.0, 150.0]]), [""], NO_BOXES, [], width=200
    )
    rows, columns = np.nonzero(drawn.sum(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (25, 75, 50, 150)
    assert not beside(np.zeros((9, 9, 3), np.uint8), NO_BOXES, [], NO_BOXES, []).any()


def test_a_crop_holds_the_box_and_stays_in_the_picture() -> None:
    image = noise(100, 200)
    for box in ([0, 0, 5, 5], [190, 90, 200, 100], [20, 20, 180, 90], [-50, -50, -20, -20], [500, 5, 510, 9]):
        part, (left, top) = crop(image, np.array(box, np.float64))
        assert part.size and (part == image[top : top + part.shape[0], left : left + part.shape[1]]).all()
    part, (left, top) = crop(image, np.array([80.0, 40.0, 120.0, 60.0]))
    assert (left, top, *part.shape[:2]) == (64, 14, 72, 72)  # 40 · 0.9 on each side of (100, 50)

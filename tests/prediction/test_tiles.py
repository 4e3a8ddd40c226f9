from __future__ import annotations

import numpy as np
import pytest

from singleshot.errors import UsageError
from singleshot.prediction.tiles import Tiling, detect_tiled, merged, tile_boxes
from singleshot.structures import Detections


def detections(
    boxes: list[list[float]], scores: list[float], size_hw: tuple[int, int], class_id: int = 0
) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.full(count, class_id),
        np.full(count, "thing", object),
        size_hw,
    )


def bright(images: list[np.ndarray]) -> list[Detections]:
    """A detector that boxes all white pixels of a picture at once, if they are 8 or more in a row at its own scale."""
    found = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0] > 200)
        fine = len(rows) and (columns.max() - columns.min()) * 100 / max(image.shape[:2]) >= 8
        box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if fine else []
        found.append(detections(box, [0.9] * len(box), (image.shape[0], image.shape[1])))
    return found


def test_tiles_cover_every_pixel_and_none_is_larger_than_asked() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width, tile = (int(each) for each in rng.integers(1, 400, 3))
        tiles = (
            tile_boxes((height, width), Tiling((tile, tile), overlap=float(rng.uniform(0, 0.5)))) if tile > 40 else None
        )
        if tiles is None:
            continue
        covered = np.zeros((height, width), np.bool_)
        for x1, y1, x2, y2 in tiles.tolist():
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and x2 - x1 <= tile and y2 - y1 <= tile
            covered[y1:y2, x1:x2] = True
        assert covered.all()


def test_a_small_thing_is_seen_in_a_tile_and_stands_where_it_is_in_the_image() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[310:320, 420:440] = 255  # a thirtieth of the picture's width: too small for the whole
    assert len(bright([image])[0]) == 0
    found = detect_tiled(bright, image, Tiling((100, 100)))
    assert found.boxes_xyxy.tolist() == [[420, 310, 440, 320]] and found.size_hw == (400, 600)


def test_the_parts_of_a_thing_that_tiles_cut_give_way_to_the_whole() -> None:
    whole = detections([[60, 20, 140, 60]], [0.6], (100, 200))
    left = detections([[60, 20, 100, 60]], [0.95], (100, 100))
    right = detections([[0, 20, 40, 60]], [0.9], (100, 100))
    found = merged(whole, [left, right], np.array([[0, 0, 100, 100], [100, 0, 200, 100]]))
    assert found.boxes_xyxy.tolist() == [[60, 20, 140, 60]] and found.scores.tolist() == pytest.approx([0.6])


def test_a_part_without_a_whole_stays_and_so_does_another_class() -> None:
    nothing = detections([], [], (100, 200))
    part, other = (
        detections([[60, 20, 100, 60]], [0.9], (100, 100)),
        detections([[1, 20, 40, 60]], [0.8], (100, 100), 1),
    )
    found = merged(nothing, [part, other], np.array([[0, 0, 100, 100], [100, 0, 200, 100]]))
    assert found.class_ids.tolist() == [0, 1] and found.boxes_xyxy[1].tolist() == [101, 20, 140, 60]


def test_what_two_tiles_both_show_comes_once() -> None:
    nothing = detections([], [], (100, 160))
    one, two = detections([[70, 20, 90, 40]], [0.7], (100, 100)), detections([[10, 20, 30, 40]], [0.8], (100, 100))
    found = merged(nothing, [one, two], np.array([[0, 0, 100, 100], [60, 0, 160, 100]]))
    assert found.boxes_xyxy.tolist() == [[70, 20, 90, 40]] and found.scores.tolist() == pytest.approx([0.8])


def test_nothing_in_no_tile_is_nothing() -> None:
    assert len(detect_tiled(bright, np.zeros((300, 300, 3), np.uint8), Tiling((100, 100)))) == 0


@pytest.mark.parametrize(("size_hw", "overlap"), [((0, 10), 0.2), ((10, 10), 1.0), ((10, 10), -0.1)])
def test_bad_tiles_are_refused(size_hw: tuple[int, int], overlap: float) -> None:
    with pytest.raises(UsageError):
        Tiling(size_hw, overlap)
    with pytest.raises(UsageError, match="larger tiles"):
        tile_boxes((5000, 5000), Tiling((32, 32)))

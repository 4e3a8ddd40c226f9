from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from singleshot import boxes
from singleshot.streets.video import Frame, frames

SMALL = {"count": 14, "fps": 8.0, "size_hw": (150, 200)}


@pytest.fixture(scope="module")
def videos() -> list[list[Frame]]:
    return [list(frames(0, number, **SMALL)) for number in range(3)]


def test_equal_addresses_give_equal_pixels_and_others_do_not(videos: list[list[Frame]]) -> None:
    for frame, again in zip(videos[1], frames(0, 1, **SMALL), strict=True):
        np.testing.assert_array_equal(frame.image, again.image)
        np.testing.assert_array_equal(frame.boxes_xyxy, again.boxes_xyxy)
        np.testing.assert_array_equal(frame.track_ids, again.track_ids)
    assert not np.array_equal(videos[0][0].image, videos[1][0].image)
    assert not np.array_equal(videos[0][0].image, next(frames(1, 0, **SMALL)).image)


def test_a_track_is_one_object_that_moves_a_little_at_a_time(videos: list[list[Frame]]) -> None:
    moved = 0
    for video in videos:
        for one, other in pairwise(video):
            for row, track in enumerate(one.track_ids.tolist()):
                there = np.flatnonzero(other.track_ids == track)
                assert len(there) <= 1 and len(set(one.track_ids.tolist())) == len(one.track_ids)
                if len(there) and not one.ignore[row] and not other.ignore[there[0]]:
                    assert other.class_ids[there[0]] == one.class_ids[row]
                    iou = boxes.pairwise_iou(one.boxes_xyxy[row : row + 1], other.boxes_xyxy[there])
                    moved += int(not np.array_equal(one.boxes_xyxy[row], other.boxes_xyxy[there[0]]))
                    assert iou.item() > 0.2 or one.occlusion[row] > 0.1 or other.occlusion[there[0]] > 0.1
    assert moved > 60


def test_the_truth_is_plausible_and_lies_in_the_picture(videos: list[list[Frame]]) -> None:
    judged = 0
    for frame in (frame for video in videos for frame in video):
        assert frame.image.shape == (150, 200, 3) and frame.image.dtype == np.uint8
        assert (frame.boxes_xyxy[:, :2] >= 0).all() and (frame.boxes_xyxy[:, 2:] <= [200, 150]).all()
        assert (frame.boxes_xyxy[:, 2:] > frame.boxes_xyxy[:, :2]).all()
        assert ((frame.occlusion >= 0) & (frame.occlusion < 1)).all()
        asked = ~frame.ignore
        assert (frame.occlusion[asked] <= 0.4).all()
        sides = (frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]).max(axis=1)
        assert (sides[asked] >= 8).all() and (sides[asked] <= 100).all()  # 16 to 200 in a picture of 300 rows
        judged += int(asked.sum())
    assert judged > 50


def test_road_users_come_and_go_and_the_street_stays(videos: list[list[Frame]]) -> None:
    tracks = [[set(frame.track_ids.tolist()) for frame in video] for video in videos]
    assert any(seen[0] - seen[-1] or seen[-1] - seen[0] for seen in tracks) and all(map(any, tracks))
    # Most of the picture is street: between two frames it differs by noise alone.
    first, second = (frame.image.astype(int) for frame in videos[0][:2])
    assert np.median(np.abs(first - second)) < 12


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_picture_of_more_than_255_items_is_drawn_too(seed: int) -> None:
    (frame,) = frames(seed, 0, count=1, size_hw=(64, 2048))
    assert frame.image.shape == (64, 2048, 3)

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot import boxes
from singleshot.errors import CannotCreateError, ConfigError, UsageError
from singleshot.streets import video
from singleshot.streets.video import Frame, frames, make_videos

SMALL = {"count": 14, "fps": 8.0, "size_hw": (150, 200)}


@pytest.fixture(scope="module")
def videos() -> list[list[Frame]]:
    return [list(frames(0, number, **SMALL)) for number in range(3)]


def test_equal_seeds_and_numbers_give_equal_frames_and_others_do_not(videos: list[list[Frame]]) -> None:
    for frame, again in zip(videos[1], frames(0, 1, **SMALL), strict=True):
        np.testing.assert_array_equal(frame.image, again.image)
        np.testing.assert_array_equal(frame.boxes_xyxy, again.boxes_xyxy)
        np.testing.assert_array_equal(frame.track_ids, again.track_ids)
    assert not np.array_equal(videos[0][0].image, videos[1][0].image)
    assert not np.array_equal(videos[0][0].image, next(frames(1, 0, **SMALL)).image)


def test_a_track_is_one_object_that_moves_a_little_at_a_time(videos: list[list[Frame]]) -> None:
    moved = 0
    for each in videos:
        for one, other in pairwise(each):
            for row, track in enumerate(one.track_ids.tolist()):
                matches = np.flatnonzero(other.track_ids == track)
                assert len(matches) <= 1 and len(set(one.track_ids.tolist())) == len(one.track_ids)
                if len(matches) and not one.ignore[row] and not other.ignore[matches[0]]:
                    assert other.class_ids[matches[0]] == one.class_ids[row]
                    iou = boxes.pairwise_iou(one.boxes_xyxy[row : row + 1], other.boxes_xyxy[matches])
                    moved += int(not np.array_equal(one.boxes_xyxy[row], other.boxes_xyxy[matches[0]]))
                    assert iou.item() > 0.2 or one.occlusion[row] > 0.1 or other.occlusion[matches[0]] > 0.1
    assert moved > 60


def test_annotations_are_plausible_and_inside_the_image(videos: list[list[Frame]]) -> None:
    evaluated = 0
    for frame in (frame for each in videos for frame in each):
        assert frame.image.shape == (150, 200, 3) and frame.image.dtype == np.uint8
        assert (frame.boxes_xyxy[:, :2] >= 0).all() and (frame.boxes_xyxy[:, 2:] <= [200, 150]).all()
        assert (frame.boxes_xyxy[:, 2:] > frame.boxes_xyxy[:, :2]).all()
        assert ((frame.occlusion >= 0) & (frame.occlusion < 1)).all()
        required = ~frame.ignore
        assert (frame.occlusion[required] <= 0.4).all()
        sides = (frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]).max(axis=1)
        assert (sides[required] >= 8).all() and (sides[required] <= 100).all()  # 16 to 200 in an image of 300 rows
        evaluated += int(required.sum())
    assert evaluated > 50


def test_road_users_enter_and_leave_and_the_street_stays(videos: list[list[Frame]]) -> None:
    tracks = [[set(frame.track_ids.tolist()) for frame in video] for video in videos]
    assert any(each[0] - each[-1] or each[-1] - each[0] for each in tracks) and all(map(any, tracks))
    # Most of the image is street: between two frames it differs by noise alone.
    first, second = (frame.image.astype(int) for frame in videos[0][:2])
    assert np.median(np.abs(first - second)) < 12


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_image_with_more_than_255_items_is_drawn(seed: int) -> None:
    (frame,) = frames(seed, 0, count=1, size_hw=(64, 2048))
    assert frame.image.shape == (64, 2048, 3)


SHORT = {"count": 5, "fps": 10.0, "size_hw": (96, 128)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_frames_as_png_are_exact_and_every_frame_has_its_line(tmp_path: Path) -> None:
    done: list[int] = []
    out = make_videos(tmp_path / "out", seed=3, videos=2, container="png", on_frame=done.append, **SHORT)
    assert done == list(range(1, 11))
    facts = json.loads((out / "streets_video.json").read_text())
    assert facts["videos"][1] == {"video": "video_001", "tracks": "video_001.jsonl", "frames": 5}
    assert (facts["fps"], facts["size_hw"], facts["seed"]) == (10.0, [96, 128], 3)
    lines = [json.loads(line) for line in (out / "video_001.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4] and lines[3]["time_s"] == 0.3
    for index, frame in enumerate(frames(3, 1, **SHORT)):
        image = cv2.imread(str(out / "video_001" / f"{index:06d}.png"))
        np.testing.assert_array_equal(image[..., ::-1], frame.image)
        objects = lines[index]["objects"]
        assert [each["track_id"] for each in objects] == frame.track_ids.tolist()
        assert [each["box_xyxy"] for each in objects] == frame.boxes_xyxy.tolist()
        assert all(each["class"] == facts["classes"][each["class_id"]] for each in objects)
        assert [each["ignore"] for each in objects] == frame.ignore.tolist()


@pytest.mark.parametrize("size_hw", [(98, 130), (75, 101)])
def test_an_mp4_contains_the_frames_and_is_reproducible(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    av = pytest.importorskip("av")
    options = SHORT | {"size_hw": size_hw, "container": "mp4"}
    out = make_videos(tmp_path / "out", **options)
    assert content(make_videos(tmp_path / "again", **options)) == content(out)
    with av.open(str(out / "video_000.mp4")) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(decoded) == 5
    for image, frame in zip(decoded, frames(0, 0, **(SHORT | {"size_hw": size_hw})), strict=True):
        assert image.shape == (*(side + side % 2 for side in size_hw), 3)
        assert np.abs(image[: size_hw[0], : size_hw[1]].astype(int) - frame.image).mean() < 12


def test_without_pyav_frames_are_written_and_an_mp4_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(video, "_has_av", lambda: False)
    make_videos(tmp_path / "out", **SHORT)
    assert (tmp_path / "out" / "video_000" / "000004.png").is_file()
    with pytest.raises(ConfigError, match=r"singleshot\[video\]"):
        make_videos(tmp_path / "other", container="mp4", **SHORT)
    assert not (tmp_path / "other").exists()


def test_the_default_container_depends_on_pyav() -> None:
    assert video._has_av() == (importlib.util.find_spec("av") is not None)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"videos": 0}, {"count": 0}, {"fps": 0.0}, {"size_hw": (30, 400)}, {"fps": float("nan")}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_made(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError):
        make_videos(tmp_path / "out", **(SHORT | wrong))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CannotCreateError):
        make_videos(tmp_path, **SHORT)
    assert content(tmp_path) == {"notes.txt": b"mine"}

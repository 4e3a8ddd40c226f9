from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.errors import CannotCreateError, ConfigError, UsageError
from singleshot.streets import video_files
from singleshot.streets.video import frames
from singleshot.streets.video_files import make_videos

SMALL = {"count": 5, "fps": 10.0, "size_hw": (96, 128)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_frames_as_png_are_exact_and_every_frame_has_its_line(tmp_path: Path) -> None:
    done: list[int] = []
    out = make_videos(tmp_path / "out", seed=3, videos=2, container="png", on_frame=done.append, **SMALL)
    assert done == list(range(1, 11))
    facts = json.loads((out / "streets_video.json").read_text())
    assert facts["videos"][1] == {"video": "video_001", "tracks": "video_001.jsonl", "frames": 5}
    assert (facts["fps"], facts["size_hw"], facts["seed"]) == (10.0, [96, 128], 3)
    lines = [json.loads(line) for line in (out / "video_001.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4] and lines[3]["time_s"] == 0.3
    for index, frame in enumerate(frames(3, 1, **SMALL)):
        image = cv2.imread(str(out / "video_001" / f"{index:06d}.png"))
        np.testing.assert_array_equal(image[..., ::-1], frame.image)
        objects = lines[index]["objects"]
        assert [each["track_id"] for each in objects] == frame.track_ids.tolist()
        assert [each["box_xyxy"] for each in objects] == frame.boxes_xyxy.tolist()
        assert all(each["class"] == facts["classes"][each["class_id"]] for each in objects)
        assert [each["ignore"] for each in objects] == frame.ignore.tolist()


@pytest.mark.parametrize("size_hw", [(98, 130), (75, 101)])
def test_an_mp4_shows_the_frames_and_is_the_same_every_time(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    av = pytest.importorskip("av")
    options = SMALL | {"size_hw": size_hw, "container": "mp4"}
    out = make_videos(tmp_path / "out", **options)
    assert content(make_videos(tmp_path / "again", **options)) == content(out)
    with av.open(str(out / "video_000.mp4")) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(decoded) == 5
    for image, frame in zip(decoded, frames(0, 0, **(SMALL | {"size_hw": size_hw})), strict=True):
        assert image.shape == (*(side + side % 2 for side in size_hw), 3)
        assert np.abs(image[: size_hw[0], : size_hw[1]].astype(int) - frame.image).mean() < 12


def test_without_pyav_frames_are_written_and_an_mp4_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(video_files, "_has_av", lambda: False)
    make_videos(tmp_path / "out", **SMALL)
    assert (tmp_path / "out" / "video_000" / "000004.png").is_file()
    with pytest.raises(ConfigError, match=r"singleshot\[video\]"):
        make_videos(tmp_path / "other", container="mp4", **SMALL)
    assert not (tmp_path / "other").exists()


def test_pyav_is_looked_for_and_not_assumed() -> None:
    assert video_files._has_av() == (importlib.util.find_spec("av") is not None)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"videos": 0}, {"count": 0}, {"fps": 0.0}, {"size_hw": (30, 400)}, {"fps": float("nan")}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_made(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError):
        make_videos(tmp_path / "out", **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CannotCreateError):
        make_videos(tmp_path, **SMALL)
    assert content(tmp_path) == {"notes.txt": b"mine"}

"""Rows of the fault matrix, section D, through `singleshot predict`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli import main, predict_outputs
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, DataError, InputMissingError, UsageError
from singleshot.prediction import camera
from singleshot.prediction.frames import Frame
from singleshot.prediction.video_reader import VideoReader
from tests.prediction.videos import facts, make, scene


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


def test_a_video_keeps_frames_times_and_sound_and_reports_stage_times(untrained: Path, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv", 12, sound=True)
    out = tmp_path / "out"
    options = ("--out", out, "--json", tmp_path / "p.json", "--threshold", "0", "--save", "json,csv,yolo", "--track")
    result = run(untrained, film, *options)
    assert result.exit_code == 0, result.output
    times, duration, packets = facts(out / "film.mp4")
    # Matroska begins with the sound's lead-in, and the pictures a little later.
    assert times == pytest.approx([each - facts(film)[0][0] + times[0] for each in facts(film)[0]], abs=2e-3)
    assert times[0] == pytest.approx(facts(film)[0][0], abs=2e-3)
    assert duration == pytest.approx(facts(film)[1], abs=0.2) and packets == facts(film)[2]
    (row,) = json.loads((tmp_path / "p.json").read_text())["videos"]
    assert row["frame_count"] == 12 and [frame["frame"] for frame in row["frames"]] == list(range(12))
    assert len((out / "detections.jsonl").read_text().splitlines()) == 12
    assert len(list((out / "yolo").glob("film_*.txt"))) == 12
    for stage in ("decode", "pre", "net", "post", "draw", "encode", "the limit is"):
        assert stage in result.stderr
    with pytest.raises(CannotCreateError):
        run(untrained, film, "--out", out)


def test_d2_every_readable_frame_of_a_truncated_video_is_used(untrained: Path, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", 20, options={"movflags": "faststart"})
    film.write_bytes(film.read_bytes()[: int(film.stat().st_size * 0.6)])
    result = run(untrained, film, "--out", tmp_path / "out", "--json", tmp_path / "p.json")
    assert result.exit_code == 65
    said = " ".join(result.stderr.split())
    assert "film.mp4:" in said and "of about 20 frames could be read; the file is truncated" in said
    readable = len(list(VideoReader(film)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.partial.mp4"]
    assert len(facts(tmp_path / "out" / "film.partial.mp4")[0]) == readable > 5
    assert "truncated" in json.loads((tmp_path / "p.json").read_text())["videos"][0]["error"]


def test_d2_saved_files_of_a_damaged_video_are_named_partial(untrained: Path, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", 20, options={"movflags": "faststart"})
    film.write_bytes(film.read_bytes()[: int(film.stat().st_size * 0.6)])
    assert run(untrained, film, "--out", tmp_path / "out", "--save", "json,coco").exit_code == 65
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"film.partial.mp4", "detections.partial.jsonl", "coco.partial.json"}


def test_d11_a_pipe_is_refused_at_once(untrained: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.mp4")
    with pytest.raises(DataError, match="not a plain file") as caught:
        run(untrained, tmp_path / "live.mp4")
    assert caught.value.exit_code == 65


def test_a_pixel_aspect_ratio_is_kept(untrained: Path, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", 3, pixel_aspect=Fraction(64, 45))
    assert run(untrained, film, "--out", tmp_path / "out").exit_code == 0
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


def stopped_camera(index: int) -> Iterator[Frame]:
    """A camera that a person looks at for 5 frames, and then presses Ctrl-C."""
    for number in range(5):
        yield Frame(scene(number), f"camera {index}", number, Fraction(number, 10))
    raise KeyboardInterrupt


def test_d11_ctrl_c_ends_a_camera_with_complete_files(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "frames", stopped_camera)
    out, file = tmp_path / "out", tmp_path / "p.json"
    with pytest.raises(SystemExit) as ended:
        main.run(["predict", str(untrained), "0", "--out", str(out), "--save", "json,csv", "--json", str(file)])
    assert ended.value.code == 130
    assert {path.name for path in out.iterdir()} == {"camera_0.mp4", "detections.jsonl", "detections.csv"}
    facts_of = json.loads(file.read_text())
    assert "stopped" not in facts_of, "that is how a camera ends"
    (row,) = facts_of["videos"]
    assert row["stopped"] is True and row["frame_count"] == 5 and len(row["frames"]) == 5


def test_d11_ctrl_c_in_a_video_loses_no_earlier_row(
    untrained: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, last = (make(tmp_path / f"{name}.mp4", 6) for name in "abc")
    add = predict_outputs.VideoRow.add

    def stopping(self: Any, item: Any, *, keep: bool) -> None:
        add(self, item, keep=keep)
        if item.frame.source == str(second) and item.frame.index == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(predict_outputs.VideoRow, "add", stopping)
    picture = next((scenes / "JPEGImages").iterdir())
    arguments = [untrained, picture, first, second, last, "--json", tmp_path / "p.json"]
    with pytest.raises(SystemExit) as ended:
        main.run(["predict", *map(str, arguments), "--save", "json", "--out", str(tmp_path / "out")])
    assert ended.value.code == 130
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["stopped"] is True and len(found["pictures"]) == 1
    assert [len(row["frames"]) for row in found["videos"]] == [6, 3]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {picture.name, "a.mp4", "b.partial.mp4", "detections.partial.jsonl"}


def test_d1_d4_unreadable_videos_are_named_and_the_rest_processed(untrained: Path, tmp_path: Path) -> None:
    make(tmp_path / "in" / "good.mp4", 5)
    cut = make(tmp_path / "in" / "cut.mp4", 5)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "in" / "empty.mp4").write_bytes(b"")
    (tmp_path / "in" / "list.ts").write_text("#EXTM3U\nhttp://example.org/a.ts\n")
    result = run(untrained, tmp_path / "in", "--out", tmp_path / "out")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 65
    for what in ("cut.mp4: no index (moov)", "empty.mp4: empty file", "list.ts: a playlist, which is not followed"):
        assert what in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.mp4"]


def test_d14_a_url_is_a_usage_error(untrained: Path) -> None:
    with pytest.raises(UsageError, match="no local file"):
        run(untrained, "https://example.org/a.mp4")
    with pytest.raises(InputMissingError):
        run(untrained, "none.mp4")


@pytest.mark.slow
def test_d11_ctrl_c_leaves_a_playable_video_and_exits_with_130(untrained: Path, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", 3000)
    command = [sys.executable, "-m", "singleshot", "predict", str(untrained), str(film), "--out", str(tmp_path / "out")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    target = tmp_path / "out" / "film.partial.mp4"
    deadline = time.monotonic() + 120
    while not (target.exists() and target.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "stopped by Ctrl-C" in said and "not the whole video" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.partial.mp4"]
    assert 10 < len(facts(target)[0]) < 3000

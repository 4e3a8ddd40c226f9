"""`singleshot predict` in a pipe: an image on standard input, JSON on standard output, silence and plain progress."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from singleshot.cli import main, terminal
from singleshot.errors import DataError, InputMissingError
from singleshot.images import read_image
from singleshot.prediction.image_reader import ImageReader, read_standard_input
from singleshot.prediction.sources import resolve
from tests.prediction.cameras import HttpCamera
from tests.prediction.videos import make


@contextlib.contextmanager
def piped(data: bytes, folder: Path) -> Iterator[None]:
    """While inside, standard input is these bytes."""
    (folder / "stdin").write_bytes(data)
    kept, given = os.dup(0), os.open(folder / "stdin", os.O_RDONLY)
    os.dup2(given, 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(given)
        os.close(kept)


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `predict`."""
    with pytest.raises(SystemExit) as end:
        main.run(["predict", *map(str, arguments)])
    shown = capfd.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


@pytest.fixture
def images(scenes: Path) -> list[Path]:
    return sorted((scenes / "JPEGImages").iterdir())[:3]


def test_an_image_on_standard_input_gives_the_lines_of_its_file(
    untrained: Path, images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--threshold", "0", "--save", "ndjson", "-")
    _, wanted, _ = run(capfd, untrained, images[0], *options)
    with piped(images[0].read_bytes(), tmp_path):
        more = ("--out", tmp_path / "out", "--json", tmp_path / "p.json")
        code, found, said = run(capfd, untrained, "-", *options, *more)
    assert code == 0, said
    row = json.loads(found)
    assert row == json.loads(wanted) | {"file": "-"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["stdin.jpg"]
    assert json.loads((tmp_path / "p.json").read_text())["pictures"] == [row]


def test_standard_input_stands_among_other_images_in_its_place(
    untrained: Path, images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with piped(images[1].read_bytes(), tmp_path):
        code, found, said = run(capfd, untrained, images[0], "-", images[2], "--save", "ndjson")
    rows = [json.loads(line) for line in found.splitlines()]
    assert code == 0 and [row["file"] for row in rows] == [str(images[0]), "-", str(images[2])]
    assert said.count("nothing") + said.count(": ") >= 3, "lines for people go to stderr"


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", 66, "-: nothing came on standard input. Pipe an image"),
        (b"<html>", 65, "-: "),
        (b"\xff\xd8\xff" + bytes(100), 65, "-: "),
    ],
)
def test_what_is_no_image_on_standard_input_is_one_line(
    data: bytes, code: int, said: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with piped(data, tmp_path):
        ended, shown, lines = run(capfd, untrained, "-", "--save", "ndjson")
    assert ended == code and shown == "" and said in lines


def test_what_is_wrong_with_standard_input_names_no_file_to_delete(
    untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with piped(b"no image at all", tmp_path):
        code, _, said = run(capfd, untrained, "-")
    assert code == 65 and "-: not an image. Pipe a whole image." in said and "delete" not in said


def test_a_closed_standard_input_and_a_terminal_are_named_and_do_not_hang(untrained: Path) -> None:
    command = [sys.executable, "-m", "singleshot", "predict", str(untrained), "-"]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert closed.returncode == 66 and "standard input is closed. Pipe an image" in closed.stderr
    leader, terminal_end = os.openpty()
    kept = os.dup(0)
    os.dup2(terminal_end, 0)
    try:
        with pytest.raises(InputMissingError, match="standard input is a terminal"):
            read_standard_input()
    finally:
        os.dup2(kept, 0)
        for each in (kept, leader, terminal_end):
            os.close(each)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_behind_standard_output_is_74_and_behind_standard_error_nothing(
    untrained: Path, images: list[Path]
) -> None:
    command = [sys.executable, "-m", "singleshot", "predict", str(untrained), str(images[0])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert done.returncode == 74 and done.stderr == "singleshot: error: the disk is full. Free space.\n"
        command.append("--track")  # gives a warning
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, timeout=60, check=False)
        assert done.returncode == 0 and done.stdout


def test_a_report_is_never_called_like_standard_output(
    untrained: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = run(capfd, untrained, images[0], "--json", "-")
    assert code == 2 and "--save ndjson -" in said and list(tmp_path.iterdir()) == []


def test_a_file_that_is_called_like_standard_input_is_named_with_its_folder(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(images[0].read_bytes())
    assert resolve(["./-"]).images == (tmp_path / "-",)
    assert [str(path) for path in resolve(["-"]).images] == ["-"]
    with piped(images[1].read_bytes(), tmp_path), ImageReader() as reader:
        found = [item.image for item in reader.frames(resolve(["-", "./-"]).images)]  # pyright: ignore[reportAttributeAccessIssue]
    assert np.array_equal(found[0], read_image(images[1])) and np.array_equal(found[1], read_image(images[0]))


def test_an_endless_pipe_is_refused_at_the_size_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleshot.prediction.image_reader.MAX_FILE_BYTES", 1000)
    with piped(bytes(5000), tmp_path), pytest.raises(DataError, match="more than"):
        read_standard_input()
    with piped(b"", tmp_path), pytest.raises(InputMissingError):
        read_standard_input()


def test_frames_of_a_video_are_lines_with_their_time(
    untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, shown, said = run(capfd, untrained, make(tmp_path / "v.mp4", 3), "--save", "ndjson")
    rows = [json.loads(line) for line in shown.splitlines()]
    assert code == 0 and [(row["frame"], row["time_s"]) for row in rows] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert "stage" in said


def test_the_dash_belongs_to_ndjson_only_where_it_follows_it(
    untrained: Path, images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("--save", "ndjson", "-", images[0]), ("--save=ndjson", "-", images[0])):
        code, shown, _ = run(capfd, untrained, *arguments)
        assert code == 0 and [json.loads(line)["file"] for line in shown.splitlines()] == [str(images[0])]
    with piped(images[1].read_bytes(), tmp_path):
        _, shown, _ = run(capfd, untrained, "--save", "csv,ndjson", "-", "-", "--out", tmp_path / "out")
    assert json.loads(shown)["file"] == "-" and (tmp_path / "out" / "detections.csv").is_file()
    code, _, said = run(capfd, untrained, "--save", "ndjsn", images[0])
    assert code == 2 and "Did you mean ndjson?" in said


def test_quiet_leaves_warnings_and_errors_and_nothing_else(
    untrained: Path, images: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    video = make(tmp_path / "v.mp4", 3)
    assert run(capfd, untrained, images[0], video, "--quiet") == (0, "", "")
    code, shown, said = run(capfd, untrained, tmp_path / "bad.jpg", images[0], "--quiet")
    assert code == 65 and shown == "" and "bad.jpg" in said and "1 of 2 images could not be read" in said
    _, shown, _ = run(capfd, untrained, images[0], "--quiet", "--save", "ndjson", "-")
    assert json.loads(shown)["file"] == str(images[0]), "what was asked for is no noise"
    assert run(capfd, untrained, images[0])[1] != "", "the next command speaks again"


def test_without_a_terminal_progress_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])

    def slow() -> Iterator[int]:
        for number in range(5):
            now[0] += 6.0
            yield number

    list(terminal.track(slow(), "images", 5))
    assert capfd.readouterr().err == "images: 2/5  0:18 left\nimages: 5/5  0:00 left\n", "after 12 s and 18 s more"
    with terminal.frames_bar("street.mp4", None) as advance:
        now[0] += 20.0
        advance(40)
    assert capfd.readouterr().err == "street.mp4: 40  2 frames/s\n"
    with terminal.quiet():
        list(terminal.track(slow(), "images", 5))
    assert capfd.readouterr().err == ""


def test_a_stream_needs_allow_network_and_its_password_is_never_written(
    untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with HttpCamera(password="s3cret") as camera:
        url = camera.url.replace("http://", "http://me:s3cret@")
        code, shown, said = run(capfd, untrained, url)
        assert code == 2 and "--allow-network" in said and "s3cret" not in said and camera.requests == []
        code, shown, said = run(capfd, untrained, url.replace("s3cret", "other"), "--allow-network")
        assert code == 69 and "401" in said and "other" not in said
        command = [sys.executable, "-m", "singleshot", "predict", str(untrained), url, "--allow-network"]
        out = ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "p.json"), "--save", "ndjson,json", "-"]
        done = subprocess.Popen([*command, *out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.stdout is not None
        lines = [done.stdout.readline() for _ in range(5)]
        done.send_signal(signal.SIGINT)
        shown, said = done.communicate(timeout=60)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    stem = f"127.0.0.1_{camera.port}_live"
    assert done.returncode == 130 and names == [f"{stem}.mp4", "detections.jsonl"]
    assert all(json.loads(line)["file"] == camera.url for line in lines)
    (row,) = json.loads((tmp_path / "p.json").read_text())["videos"]
    assert row["file"] == camera.url and row["stopped"] and row["frame_count"] >= 4
    everything = shown + said + "".join(lines) + (tmp_path / "p.json").read_text() + "".join(names)
    assert "s3cret" not in everything


def test_two_addresses_with_one_file_name_are_refused(
    untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = ("rtsp://127.0.0.1:9/a?b", "rtsp://127.0.0.1:9/a_b")
    code, _, said = run(capfd, untrained, *urls, "--allow-network", "--out", tmp_path / "out")
    assert code == 2 and "written twice" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["-", "0", "rtsp://127.0.0.1/a"])
def test_an_engine_takes_image_files_only(
    source: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, said = run(capfd, untrained, source, "--engine", "process", "--out", tmp_path / "out")
    assert code == 2 and ("for image files" in said or "no local file" in said)


def test_a_reader_that_leaves_early_ends_the_work_without_an_error(untrained: Path, scenes: Path) -> None:
    command = [sys.executable, "-m", "singleshot", "predict", str(untrained), *["%s"], "--save", "ndjson", "-"]
    command[command.index("%s")] = str(scenes / "JPEGImages")
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout is not None
    done.stdout.readline()
    done.stdout.close()
    start = time.monotonic()
    assert done.wait(60) == 0 and time.monotonic() - start < 60
    assert done.stderr is not None and "error" not in done.stderr.read()
    done.stderr.close()

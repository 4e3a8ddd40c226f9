from __future__ import annotations

import os
from pathlib import Path

import pytest

from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.video_format import looks_like_video, video_format
from singleshot.prediction.video_reader import VideoReader
from tests.prediction.videos import make


@pytest.mark.parametrize(
    ("name", "reader"), [("a.mp4", "mov"), ("a.mkv", "matroska"), ("a.avi", "avi"), ("a.ts", "mpegts")]
)
def test_a_format_is_known_by_content_and_a_cut_by_the_files_own_structure(
    tmp_path: Path, name: str, reader: str
) -> None:
    path = make(tmp_path / name)
    path = path.rename(tmp_path / "misnamed.jpg")
    assert looks_like_video(path)
    known = video_format(path)
    assert (known.reader, known.cut, known.no_index) == (reader, False, False)
    if reader != "mpegts":  # a stream of packets without a frame around them
        path.write_bytes(path.read_bytes()[:-50])
        assert video_format(path).cut


def test_d4_nothing_empty_or_text_is_taken_for_a_video(tmp_path: Path) -> None:
    for content, kind in ((b"", "empty-file"), (b"hello, world\n" * 99, "not-a-video"), (b"\x00" * 999, "not-a-video")):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(DataError) as caught:
            video_format(tmp_path / "a.mp4")
        assert caught.value.kind == kind
    with pytest.raises(InputMissingError):
        video_format(tmp_path / "none.mp4")
    assert not looks_like_video(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n", "v=0\no=- 0 0 IN IP4 127.0.0.1\n"],
)
def test_d14_a_playlist_is_refused_whatever_it_is_called(tmp_path: Path, text: str) -> None:
    secret = make(tmp_path / "secret.mp4")
    for name in ("list.m3u8", "list.mp4", "list.ts"):
        (tmp_path / name).write_text(text.format(secret))
        with pytest.raises(DataError, match="playlist, which is not followed"):
            video_format(tmp_path / name)


def test_a_transport_stream_of_a_disc_has_a_time_before_each_packet(tmp_path: Path) -> None:
    plain = make(tmp_path / "a.ts").read_bytes()
    packets = [plain[place : place + 188] for place in range(0, len(plain), 188)]
    disc = tmp_path / "a.m2ts"
    disc.write_bytes(b"".join(b"\x00\x00\x00\x01" + packet for packet in packets))
    assert video_format(disc).reader == "mpegts"
    assert len(list(VideoReader(disc))) == 20


def test_d11_a_pipe_is_refused_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.mp4")
    with pytest.raises(DataError, match="not a plain file"):
        video_format(tmp_path / "live.mp4")
    assert not looks_like_video(tmp_path / "live.mp4")


def test_a_picture_of_the_same_family_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 50)
    assert not looks_like_video(tmp_path / "a.heic")

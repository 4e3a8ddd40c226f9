from __future__ import annotations

import itertools
import os
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from singleshot.errors import DataError, InputMissingError, NotPermittedError
from singleshot.prediction.frames import Frame
from singleshot.prediction.video_reader import VideoReader, looks_like_video, upright, video_format
from tests.prediction.videos import SIZE_HW, make, scene

FAST = {"movflags": "faststart"}


def read(path: Path) -> tuple[VideoReader, list[Frame]]:
    reader = VideoReader(path)
    frames = list(reader)
    reader.close()
    return reader, frames


def test_frames_come_in_order_with_their_times_and_pixels(tmp_path: Path) -> None:
    reader, frames = read(make(tmp_path / "a.mp4"))
    assert [frame.time for frame in frames] == [Fraction(index, 10) for index in range(20)]
    assert [frame.index for frame in frames] == list(range(20)) and reader.size_hw == SIZE_HW
    assert reader.fault() is None and reader.rate == 10 and reader.expected == 20
    error = np.abs(frames[7].image.astype(int) - scene(7)).mean()
    assert error < 12 < np.abs(frames[8].image.astype(int) - scene(7)).mean()


def test_d1_a_video_cut_off_before_its_index_is_reported_to_lack_it(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"no index \(moov\)") as caught:
        VideoReader(path)
    assert caught.value.exit_code == 65 and caught.value.file == path


@pytest.mark.parametrize(("name", "options"), [("a.mp4", FAST), ("a.mkv", {}), ("a.avi", {})])
def test_d2_every_frame_before_the_cut_is_read_and_the_loss_is_reported(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = make(tmp_path / name, options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    reader, frames = read(path)
    fault = reader.fault()
    assert 5 <= len(frames) < 20 and fault is not None
    assert f"{len(frames)} of about 20 frames could be read" in str(fault) and "truncated" in str(fault)


def test_d3_reading_goes_on_behind_a_corrupt_middle_and_the_damage_is_counted(tmp_path: Path) -> None:
    path = make(tmp_path / "a.avi")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1000] = bytes(1000)
    path.write_bytes(data)
    reader, frames = read(path)
    assert len(frames) + reader.lost >= 15 and reader.damaged + reader.lost > 0
    assert (frames[-1].time or 0) >= Fraction(17, 10), "frames behind the damage are read"
    assert "of 20 frames could be read" in str(reader.fault())


def test_d3_packets_that_do_not_decode_are_counted_in_what_is_reported(tmp_path: Path) -> None:
    path = make(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 4] == b"00dc" and data[place + 8] == 0xFF]
    for start in starts[5:7]:
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        data[start + 8 : start + 8 + length] = bytes(length)
    path.write_bytes(data)
    reader, frames = read(path)
    assert (len(frames), reader.lost) == (18, 2)
    assert "18 of 20 frames could be read; 2 packets could not be decoded." in str(reader.fault())


def test_d4_a_header_and_nothing_more_has_no_frame(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"frame|readable"):
        VideoReader(path)


def test_d5_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        tone = container.add_stream("aac", rate=8000, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), format="fltp", layout="mono")
        wave.sample_rate, wave.pts, wave.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(tone.encode(wave))
        container.mux(tone.encode(None))
    with pytest.raises(DataError, match="no video stream"):
        VideoReader(tmp_path / "a.mp4")


def test_d6_times_are_the_frames_own_where_the_rate_varies(tmp_path: Path) -> None:
    times = [0, 1, 4, 5, 8, 20]
    _, frames = read(make(tmp_path / "a.mp4", 6, times=times))
    assert [float(frame.time or 0) * 10 for frame in frames] == pytest.approx(times, abs=0.01)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_d7_frames_are_upright_as_the_rotation_flag_asks(tmp_path: Path, degrees: int) -> None:
    path = make(tmp_path / "a.mp4", 3)
    sine, cosine = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}[degrees]  # clockwise, as players show it
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = matrix
    path.write_bytes(data)
    reader, frames = read(path)
    assert reader.size_hw == (SIZE_HW if degrees % 180 == 0 else SIZE_HW[::-1])
    height, width = reader.size_hw
    quarters = {
        (0, 0): frames[1].image[: height // 2 - 4, : width // 2 - 4],
        (0, 1): frames[1].image[: height // 2 - 4, width // 2 + 4 :],
        (1, 1): frames[1].image[height // 2 + 4 :, width // 2 + 4 :],
        (1, 0): frames[1].image[height // 2 + 4 :, : width // 2 - 4],
    }
    white = {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}[degrees]  # where the upper left corner went
    assert max(quarters, key=lambda place: quarters[place].mean()) == white


def test_upright_turns_counter_clockwise() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 2] = 9
    assert upright(image, 90)[0, 0, 0] == 9 and upright(image, -90).shape == (3, 2, 3)
    assert upright(image, 0) is image


def test_d8_the_headers_count_of_frames_is_a_guess(tmp_path: Path) -> None:
    path = make(tmp_path / "a.avi")
    data = bytearray(path.read_bytes())
    strh = data.index(b"strh")
    assert struct.unpack_from("<I", data, strh + 8 + 32) == (20,)
    struct.pack_into("<I", data, strh + 8 + 32, 999)
    path.write_bytes(data)
    reader, frames = read(path)
    assert reader.expected == 999 and len(frames) == 20 and reader.fault() is None


def test_d9_frames_of_another_size_later_on_are_scaled_back_and_noted(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a.ts", 10), make(tmp_path / "b.ts", 10, size_hw=(96, 128))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    reader, frames = read(first)
    assert len(frames) >= 19 and {frame.image.shape for frame in frames} == {(*SIZE_HW, 3)}
    assert "the frames are 128×96; they are scaled back" in reader.notes[0] and len(reader.notes) == 1
    times = [frame.time for frame in frames]
    assert all(later is not None and later > (earlier or 0) for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("size_hw", "pix_fmt"), [((47, 63), "yuv444p"), ((2, 2), "yuv420p"), ((48, 64), "yuv420p10le"), ((1, 1), "yuv444p")]
)
def test_d10_odd_tiny_and_deep_videos_are_read(tmp_path: Path, size_hw: tuple[int, int], pix_fmt: str) -> None:
    reader, frames = read(make(tmp_path / "a.mp4", 3, size_hw=size_hw, pix_fmt=pix_fmt))
    assert reader.size_hw == size_hw and len(frames) == 3 and frames[0].image.dtype == np.uint8


def test_d10_a_video_above_the_limit_of_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.mp4", 2)
    monkeypatch.setattr("singleshot.prediction.video_reader.MAX_PIXELS", 3000)
    with pytest.raises(DataError, match="64×48 pixels are more") as caught:
        VideoReader(path)
    assert caught.value.kind == "too-large-video"


def test_d14_a_name_that_ffmpeg_would_take_for_a_protocol_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a.mp4", 3).rename(tmp_path / "concat:a|b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("concat:a|b.mp4"))[1]) == 3


def test_a_file_that_may_not_be_read_is_a_matter_of_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.mp4", 2)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NotPermittedError):
        VideoReader(path)


def test_colours_are_those_that_the_file_declares(tmp_path: Path) -> None:
    # BT.709 by its definition: Y = 0.2126 R + 0.7152 G + 0.0722 B, limited range.
    red, green, blue = 200 / 255, 30 / 255, 40 / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = np.full((72, 64), round(16 + 219 * luma), np.uint8)
    planes[48:60], planes[60:] = (
        round(128 + 224 * (blue - luma) / 1.8556),
        round(128 + 224 * (red - luma) / 1.5748),
    )
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, frames = read(tmp_path / "a.mp4")
    assert frames[1].image[20, 20].tolist() == pytest.approx([200, 30, 40], abs=4)


def test_the_real_videos_have_the_frames_that_are_known(shared: Path) -> None:
    reader, frames = read(shared / "data/video/test_video.mp4")
    assert len(frames) == 38 and reader.size_hw == (720, 1280) and frames[-1].time == Fraction(37, 25)


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


def test_an_image_of_the_same_family_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 50)
    assert not looks_like_video(tmp_path / "a.heic")


def test_frames_that_cannot_be_brought_to_rgb_are_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "a.mp4", 4)
    honest, calls = VideoReader._frame, []

    def lacking(self: VideoReader, picture: object, last: object) -> object:
        calls.append(picture)
        if len(calls) in (2, 3):
            raise ValueError("Unsupported colorspace 9")
        return honest(self, picture, last)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(VideoReader, "_frame", lacking)
    reader = VideoReader(file)
    assert len(list(reader)) == 2 and reader.lost == 2
    assert "Unsupported colorspace 9" in reader.notes[0] and "2 packets could not" in str(reader.fault())
    monkeypatch.setattr(VideoReader, "_frame", lambda *_: (_ for _ in ()).throw(ValueError("Unsupported colorspace")))
    with pytest.raises(DataError, match="no frame can be decoded"):
        VideoReader(file)


def test_a_good_video_of_a_kind_that_is_not_read_is_to_be_converted_and_not_deleted(tmp_path: Path) -> None:
    file = tmp_path / "a.wmv"
    file.write_bytes(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(100))
    assert looks_like_video(file)
    with pytest.raises(DataError, match="Convert it to MP4") as raised:
        video_format(file)
    assert raised.value.kind == "not-a-video" and "delete" not in str(raised.value)


def test_a_million_empty_boxes_are_not_all_processed(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00" + b"\x00\x00\x00\x08free" * 3_000_000)
    start = time.process_time()
    assert video_format(file).no_index
    assert time.process_time() - start < 2

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from singleshot.errors import CannotCreateError, ConfigError, NotPermittedError, StorageError
from singleshot.prediction.video_reader import VideoReader
from singleshot.prediction.video_writer import VideoWriter
from tests.prediction.videos import SIZE_HW, facts, make, scene


def copy(source: Path, target: Path) -> VideoWriter:
    reader = VideoReader(source)
    writer = VideoWriter(target, reader.size_hw, rate=reader.rate, sound_from=source)
    for frame in reader:
        writer.write(frame.image, frame.time or Fraction(0), frame.duration)
    reader.close()
    writer.close()
    return writer


def test_a_browser_can_play_it_and_colours_stay(tmp_path: Path) -> None:
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    image[:, :32], image[:, 32:] = (200, 30, 40), (20, 160, 220)
    writer = VideoWriter(tmp_path / "new" / "a.mp4", SIZE_HW, rate=Fraction(10))
    for index in range(4):
        writer.write(image, Fraction(index, 10), Fraction(1, 10))
    assert writer.close() == tmp_path / "new" / "a.mp4"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    with av.open(str(tmp_path / "new" / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, container.streams.video[0].frames) == ("h264", "yuv420p", 4)
    seen = next(iter(VideoReader(tmp_path / "new" / "a.mp4"))).image
    assert seen[20, 10].tolist() == pytest.approx([200, 30, 40], abs=5)
    assert seen[20, 50].tolist() == pytest.approx([20, 160, 220], abs=5)


def test_d6_times_and_duration_are_kept_where_the_rate_varies(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", 6, times=[0, 1, 4, 5, 8, 20])
    copy(source, tmp_path / "b.mp4")
    before, after = facts(source), facts(tmp_path / "b.mp4")
    assert after[0] == pytest.approx(before[0], abs=1e-4) and after[1] == pytest.approx(before[1], abs=0.1)


def test_sound_is_copied_packet_for_packet(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", 20, sound=True)
    assert copy(source, tmp_path / "b.mp4").notes == []

    def sound(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert sound(tmp_path / "b.mp4") == sound(source) != []


def test_sound_that_an_mp4_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream("wmav2", rate=44100, layout="stereo")
        tone.bit_rate = 64_000
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(scene(index), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        wave = av.AudioFrame.from_ndarray(np.zeros((2, 2048), np.float32), format="fltp", layout="stereo")
        wave.sample_rate, wave.pts, wave.time_base = 44100, 0, Fraction(1, 44100)
        container.mux(tone.encode(wave))
        container.mux(stream.encode(None))
    writer = copy(tmp_path / "a.avi", tmp_path / "b.mp4")
    assert writer.notes == ["the sound is left out: an MP4 cannot hold wmav2"]
    assert len(facts(tmp_path / "b.mp4")[0]) == 4


@pytest.mark.parametrize("size_hw", [(47, 63), (1, 1)])
def test_d10_an_odd_frame_grows_by_a_pixel(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", size_hw)
    writer.write(np.full((*size_hw, 3), 90, np.uint8), Fraction(0))
    writer.close()
    assert VideoReader(tmp_path / "a.mp4").size_hw == (size_hw[0] + 1, size_hw[1] + 1)


def test_a_video_that_is_not_whole_keeps_the_name_that_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("mine")
    writer = VideoWriter(tmp_path / "a.mp4", SIZE_HW)
    writer.write(scene(0), Fraction(0))
    assert writer.close(whole=False) == tmp_path / "a.partial.mp4"
    assert len(facts(tmp_path / "a.partial.mp4")[0]) == 1 and (tmp_path / "a.mp4").read_text() == "mine"


def test_d12_a_bad_place_shows_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotCreateError):
        VideoWriter(tmp_path / "file" / "a.mp4", SIZE_HW)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 0))
    with pytest.raises(StorageError, match="disk is full") as caught:
        VideoWriter(tmp_path / "a.mp4", SIZE_HW)
    assert caught.value.exit_code == 74 and not (tmp_path / "a.partial.mp4").exists()


def test_d12_a_missing_codec_shows_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(ConfigError, match=r"without H\.264") as caught:
        VideoWriter(tmp_path / "a.mp4", SIZE_HW)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StorageError), (errno.EACCES, NotPermittedError), (errno.EIO, StorageError)]
)
def test_d12_what_the_disk_says_later_is_an_error_of_ours(tmp_path: Path, number: int, error: type[Exception]) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", SIZE_HW)

    class Full:
        def mux(self, _packets: object) -> None:
            raise OSError(number, os.strerror(number)) if number != errno.EACCES else PermissionError(number, "no")

    writer._container = Full()
    with pytest.raises(error):
        writer.write(scene(0), Fraction(0))


@pytest.mark.slow
def test_d13_a_killed_process_leaves_a_video_that_plays_to_its_last_fragment(tmp_path: Path) -> None:
    script = (
        "import sys, time; from fractions import Fraction; from pathlib import Path; import numpy as np\n"
        "from singleshot.prediction.video_writer import VideoWriter\n"
        "rng = np.random.default_rng(0)\n"
        "writer = VideoWriter(Path(sys.argv[1]), (240, 320), rate=Fraction(10))\n"
        "for index in range(200):\n"
        "    writer.write(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), Fraction(index, 10))\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a.mp4")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    time.sleep(0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.mp4"]
    assert sum(1 for _ in VideoReader(tmp_path / "a.partial.mp4")) >= 150

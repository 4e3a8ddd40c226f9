"""Write drawn frames as an H.264 video that browsers play, with the frames' own times and the source's sound.

During writing the video is called `<stem>.partial.mp4` and consists of fragments, each of which can be played without
the later ones: a crash or a full disk costs the last two seconds. At the end it becomes an ordinary MP4 with its index
and gets its own name. An incomplete video (its source was damaged, or the user pressed Ctrl-C) becomes an ordinary MP4
too, but keeps the partial name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import ConfigError, SingleshotError, StorageError, from_os_error
from singleshot.prediction.video_reader import import_av, open_local, video_format
from singleshot.storage import atomic
from singleshot.storage.atomic import partial

CODEC = "libx264"
PRESET = "superfast"
QUALITY = 23
FRAGMENT_S = 2
LEAST_FREE_BYTES = 2**20
TICKS = Fraction(1, 90_000)
"""The unit of the frames' times: that of MPEG, a whole number of ticks at 24, 25, 29.97, 30 and 60 frames a second."""
# ITU-T H.273, tables 2 to 4: what OpenCV's conversion is, so that players turn it back with the same numbers.
_SMPTE170M, _LIMITED = 6, 1


class VideoWriter:
    """A video that is being written. Its file exists at once, and can be played from the first fragment on.

    Args:
        path: the `.mp4` to write; its folder is created. An existing file is replaced at the end, not before.
        size_hw: height and width of the frames; an odd side is extended by repeating its last row or column.
        rate: frames per second on average, a hint for the encoder; frames have their own times.
        pixel_aspect: width of a pixel over its height; other than 1 in videos of discs and television.
        sound_from: a video whose first sound track is copied, byte for byte; None for no sound.
        threads: of the encoder.

    Attributes:
        notes: what could not be copied, a sentence each.

    Raises:
        ConfigError: PyAV is not installed, or is built without H.264.
        CannotCreateError, NotPermittedError, StorageError: the file cannot be created, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        size_hw: tuple[int, int],
        *,
        rate: Fraction | None = None,
        pixel_aspect: Fraction = Fraction(1),
        sound_from: Path | None = None,
        threads: int = 1,
    ) -> None:
        self._av = import_av()
        if CODEC not in self._av.codecs_available:
            remedy = "Install PyAV from PyPI: pip install --force-reinstall av"
            raise ConfigError("this PyAV is built without H.264 (libx264)", remedy=remedy)
        self.path, self.notes, self.written = path, [], 0
        self._size_hw, self._last = size_hw, -1
        self._durations: dict[int, int] = {}  # of the frames that are in the encoder, by their times
        self._even_hw = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
        self._sound: _Sound | None = None
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
                raise StorageError("the disk is full", remedy="Free space", file=path)
            self._container = self._av.open(
                f"file:{os.path.abspath(partial(path))}",  # noqa: PTH100 (resolve() would follow links)
                "w",
                format="mp4",
                # FFmpeg's options for recordings: fragments during writing, an ordinary file at the end. The delayed
                # header can state that one track starts later than the other.
                options={"movflags": "hybrid_fragmented+delay_moov"},
            )
            self._stream = self._video_stream(rate, pixel_aspect, threads)
            if sound_from is not None:
                self._sound = _Sound(self._av, sound_from, self._container, self.notes)
            self._container.start_encoding()

    def write(self, image: UInt8[ndarray, "H W 3"], time: Fraction, duration: Fraction | None = None) -> None:
        """Add a frame, and the sound up to it.

        Args:
            image: (H, W, 3) uint8 RGB of `size_hw`.
            time: in seconds; later than the frame before it.
            duration: in seconds, if known; it matters for the last frame.

        Raises:
            StorageError: the disk is full or failing. The file can be played up to the last fragment.
        """
        height, width = self._even_hw
        if (height, width) != self._size_hw:
            borders = (0, height - self._size_hw[0], 0, width - self._size_hw[1])
            image = np.asarray(cv2.copyMakeBorder(image, *borders, borderType=cv2.BORDER_REPLICATE), np.uint8)
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
        picture = self._av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = self._last = max(round(time / TICKS), self._last + 1)
        picture.time_base = TICKS
        if duration is not None:
            self._durations[picture.pts] = round(duration / TICKS)
        with self._errors():
            if self._sound is not None:
                self._container.mux(self._sound.until(time))
            self._container.mux(self._encoded(picture))
        self.written += 1

    def close(self, *, whole: bool = True) -> Path:
        """Close the video and return its path: its own name, or the partial one where it is not `whole`.

        Raises StorageError as `write`.
        """
        with self._errors():
            self._container.mux(self._encoded(None))
            if self._sound is not None:
                end = None if whole else self._last * TICKS
                self._container.mux(self._sound.until(end))
                self._sound.close()
            self._container.close()
            there = partial(self.path)
            atomic.sync(there)
            if whole:
                there.replace(self.path)
                atomic.sync(self.path.parent)
        return self.path if whole else there

    def _encoded(self, picture: Any) -> list[Any]:
        """Return the encoder's finished packets with their frames' durations, which the encoder takes from the rate."""
        packets = self._stream.encode(picture)
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
        return packets

    def _video_stream(self, rate: Fraction | None, pixel_aspect: Fraction, threads: int) -> Any:
        # A rate outside this range is an error in a header, and H.264 cannot represent it.
        rate = rate if rate is not None and 0 < rate <= 1000 else Fraction(25)
        stream = self._container.add_stream(CODEC, rate=rate.limit_denominator(100_000))
        stream.height, stream.width = self._even_hw
        stream.pix_fmt = "yuv420p"
        gop = max(1, round(rate * FRAGMENT_S))  # a fragment starts at a key frame
        stream.options = {"preset": PRESET, "crf": str(QUALITY), "g": str(gop), "bf": "0"}
        context = stream.codec_context
        context.time_base = TICKS
        context.sample_aspect_ratio = pixel_aspect
        context.thread_count = threads
        context.colorspace, context.color_range = _SMPTE170M, _LIMITED
        context.color_primaries = context.color_trc = _SMPTE170M
        return stream

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SingleshotError:
            raise
        except OSError as error:
            raise from_os_error(error, self.path, "write") from error
        except self._av.error.FFmpegError as error:  # some of its errors are OSErrors, others have only a number
            system = OSError(error.errno, error.strerror or str(error))
            raise from_os_error(system, self.path, "write") from error


class _Sound:
    """The first sound track of a video, copied packet by packet along with the frames."""

    def __init__(self, av: Any, path: Path, container: Any, notes: list[str]) -> None:
        self._error, self._notes = av.error.FFmpegError, notes
        self._input: Any = None
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        source = open_local(av, path, video_format(path))
        tracks = source.streams.audio
        if not tracks:
            source.close()
            return
        codec = tracks[0].codec_context.name if tracks[0].codec_context is not None else "unknown"
        if codec not in container.supported_codecs:
            notes.append(f"the sound is left out: an MP4 cannot hold {codec}")
            source.close()
            return
        self._input, self._source = source, tracks[0]
        self._stream = container.add_stream_from_template(tracks[0])
        self._start = Fraction(source.start_time or 0, 1_000_000)
        self._packets = source.demux(tracks[0])

    def until(self, time: Fraction | None) -> list[Any]:
        """Return the packets that start before `time`; all remaining ones for None."""
        ready = []
        while True:
            if self._next is None:
                self._next = self._read()
            packet = self._next
            if packet is None or (time is not None and packet.dts * packet.time_base > time):
                return ready
            packet.stream = self._stream
            ready.append(packet)
            self._next = None

    def close(self) -> None:
        """Close the source."""
        if self._input is not None:
            self._input.close()

    def _read(self) -> Any:
        try:
            for packet in self._packets:
                if packet.dts is None or not packet.size:
                    continue
                shift = round(self._start / packet.time_base)
                packet.dts -= shift
                if packet.pts is not None:
                    packet.pts -= shift
                return packet
        except self._error:
            self._notes.append("the sound ends early: the rest of it cannot be read")
        return None

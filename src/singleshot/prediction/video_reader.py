"""Read the frames of a video file, upright and with their times, and report what was lost.

Common readers return the frames up to the first damaged byte, and end as if there were no more. This reader continues
after a packet that cannot be decoded, and reports at the end how many frames were lost or damaged and whether the file
is truncated. Times are those of the frames, not a count divided by a rate: many cameras and screen recorders have a
variable rate. Only local files are read, by the demuxer that fits the content (`video_format`): playlists and network
addresses are not opened.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.images import MAX_PIXELS, pixel_limit
from singleshot.prediction.extras import needs_extra
from singleshot.prediction.frames import Frame
from singleshot.storage.files import REPLACE, opened

NO_INDEX = "no index (moov): the recording was cut off before it was written"


def import_av() -> Any:
    """Import PyAV. Raises ConfigError if it is not installed."""
    with needs_extra("video"):
        import av
    return av


class VideoReader:
    """An open video file; iterate over it once for its frames.

    Args:
        path: the file.
        threads: of the decoder.

    Attributes:
        size_hw: height and width of the frames, upright.
        rate: frames per second on average as stated by the file, or None; only a hint for an encoder.
        pixel_aspect: width of a pixel over its height, in the upright frames; 1 where the file does not state it.
        expected: the number of frames by the file's header, or None; headers are sometimes wrong.
        notes: what was corrected while reading, a sentence each.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: no video, no video stream, no index, larger than `MAX_PIXELS`; `kind` is `not-a-video`,
            `no-video-stream`, `truncated-video`, `corrupt-video` or `too-large-video`.
        InputMissingError, NotPermittedError, StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        av = import_av()
        self.path, self._format = path, video_format(path)
        if self._format.no_index:
            remedy = "Record it again, or let a tool such as untrunc rebuild the index"
            raise DataError(NO_INDEX, kind="truncated-video", remedy=remedy, file=path)
        self._error: type[Exception] = av.error.FFmpegError
        self._container = open_local(av, path, self._format)
        streams = self._container.streams.video
        if not streams:
            self.close()
            raise DataError("no video stream", kind="no-video-stream", remedy="Name a file with pictures", file=path)
        self._stream = streams[0]
        context = self._stream.codec_context
        if context is None or not context.width or not context.height:
            self.close()
            raise DataError("no frame can be decoded", kind="corrupt-video", remedy=REPLACE, file=path)
        limit = pixel_limit(MAX_PIXELS)
        if context.width * context.height > limit:
            self.close()
            what = f"{context.width}×{context.height} pixels are more than the {limit / 1e6:g} million that are read"
            raise DataError(what, kind="too-large-video", remedy="Scale it down", file=path)
        context.thread_count = threads
        self.rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self.expected: int | None = int(self._stream.frames) or None
        if self.expected is None and self._container.duration and self.rate:
            self.expected = round(self._container.duration / 1_000_000 * self.rate)
        self.notes: list[str] = []
        self.read = self.damaged = self.lost = 0
        self._start = Fraction(self._container.start_time or 0, 1_000_000)
        self._frames = self._decoded()
        self._first = next(self._frames, None)
        if self._first is None:
            self.close()
            what = "no frame can be decoded"
            raise DataError(what, kind="corrupt-video", remedy=REPLACE, file=path)
        self.size_hw = self._first.size_hw

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in the order of their times."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def fault(self) -> DataError | None:
        """Return what was lost, after all frames were read; None if nothing was."""
        if not (self.damaged or self.lost or self._format.cut):
            return None
        of = f" of {'about ' if self._format.cut else ''}{self.expected}" if self.expected else ""
        parts = [f"{self.read}{of} frames could be read"]
        parts += [f"{self.damaged} of them are damaged"] if self.damaged else []
        parts += ["the file is truncated"] if self._format.cut else []
        parts += [f"{self.lost} {'packet' if self.lost == 1 else 'packets'} could not be decoded"] if self.lost else []
        kind = "truncated-video" if self._format.cut else "corrupt-video"
        return DataError("; ".join(parts), kind=kind, remedy="Copy or record it again", file=self.path)

    def _decoded(self) -> Iterator[Frame]:
        last: Fraction | None = None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._error:  # the container is damaged here, and the demuxer cannot go on
                self.lost += 1
                return
            try:
                decoded = packet.decode()
            except self._error:
                self.lost += 1
                continue
            for picture in decoded:
                try:
                    frame = self._frame(picture, last)
                except (self._error, ValueError, NotImplementedError) as error:  # such as a colour matrix it lacks
                    self.lost += 1
                    if not self.notes:
                        self.notes.append(f"a frame cannot be brought to RGB ({' '.join(str(error).split())[:100]})")
                    continue
                self.damaged += bool(picture.is_corrupt)
                last = frame.time
                self.read += 1
                yield frame

    def _frame(self, picture: Any, last: Fraction | None) -> Frame:
        """Return a decoded picture as RGB, upright, at the first frame's size and later than the previous frame."""
        image = upright(picture.to_ndarray(format="rgb24"), picture.rotation)
        step = 1 / self.rate if self.rate else Fraction(1, 25)
        least = Fraction(0) if last is None else last + min(step, Fraction(1, 1000))
        time = least if last is None else last + step
        if picture.pts is not None:
            time = max(picture.pts * picture.time_base - self._start, least)
        if self.read and image.shape[:2] != self.size_hw:
            if not self.notes:
                height, width = image.shape[:2]
                self.notes.append(f"from {float(time):.2f} s on the frames are {width}×{height}; they are scaled back")
            image = np.asarray(cv2.resize(image, self.size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        elif not self.read:
            self.size_hw = (int(image.shape[0]), int(image.shape[1]))
            aspect = Fraction(self._stream.sample_aspect_ratio or 1)
            self.pixel_aspect = 1 / aspect if round(picture.rotation / 90) % 2 else aspect
        duration = picture.duration * picture.time_base if picture.duration else None
        return Frame(image, str(self.path), self.read, time, duration)


def upright(image: UInt8[ndarray, "H W 3"], degrees: int) -> UInt8[ndarray, "H2 W2 3"]:
    """Rotate a frame by its display matrix: counter-clockwise by 0, 90, 180 or 270 (or −90) degrees."""
    turns = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def open_local(av: Any, path: Path, kind: VideoFormat) -> Any:
    """Open a local file with the demuxer that fits it. Raises DataError if that fails."""
    try:
        # With the scheme in front FFmpeg does not take a file name such as `concat:a|b` for an address.
        return av.open(f"file:{os.path.abspath(path)}", format=kind.reader, metadata_errors="replace")  # noqa: PTH100
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        kind_of = "truncated-video" if kind.cut else "corrupt-video"
        raise DataError(f"not readable as video ({said})", kind=kind_of, remedy=REPLACE, file=path) from error


SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv", ".3gp", ".wmv")
)
"""Suffixes by which videos in a folder are found. Files that the user names are recognised by their content."""
_PICTURE_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"jxl ")
OTHER_VIDEOS = (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x00\x00\x01\xb3", b".RMF", b"DKIF")
"""First bytes of Windows Media, MPEG video without a container, RealMedia and IVF, which are not supported."""
MOST_BOXES = 100_000
"""Limit of the boxes that are read in search of the index: a file of a million empty boxes would take minutes."""
_SEGMENT = b"\x18\x53\x80\x67"
_TS_PACKETS = ((0, 188), (4, 192))
"""Offset of a transport stream's first packet, and the packet size; on discs a time stamp precedes each packet."""


@dataclass(frozen=True)
class VideoFormat:
    """The format of a video file.

    Args:
        reader: FFmpeg's name of the demuxer.
        cut: whether the file is shorter than its structure states.
        no_index: whether it is an MP4 without an index, which is written last.
    """

    reader: str
    cut: bool = False
    no_index: bool = False


def looks_like_video(path: Path) -> bool:
    """Return whether a file has the first bytes or the suffix of a video. False for a missing file and for pipes."""
    if not path.is_file():  # reading from a pipe without a writer would block
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    return _reader(head) is not None or head.startswith(OTHER_VIDEOS) or path.suffix.lower() in SUFFIXES


def video_format(path: Path) -> VideoFormat:
    """Return the format of a video file.

    Raises:
        InputMissingError, NotPermittedError, StorageError: as `files.opened`.
        DataError: it is empty, not a plain file (a pipe, a device), or not a supported video. `kind` is
            `empty-file`, `not-a-file` or `not-a-video`.
    """
    with opened(path) as stream:
        head = stream.read(1024)
        if not head:
            raise DataError("empty file", kind="empty-file", remedy=REPLACE, file=path)
        size = os.fstat(stream.fileno()).st_size
        reader = _reader(head)
        if reader == "mov":
            return _mp4(stream, size)
        if reader == "matroska":
            return VideoFormat(reader, cut=_matroska_end(head) > size)
        if reader == "avi":
            # An AVI above 1 GiB continues in further chunks, which the size of the first one does not include.
            return VideoFormat(reader, cut=int.from_bytes(head[4:8], "little") + 8 > size)
    if reader is None:
        playlist = head.startswith((b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]"))
        what = "a playlist, which is not followed" if playlist else "not a video"
        remedy = "Name a local video file" if playlist else REPLACE
        if head.startswith(OTHER_VIDEOS):
            what, remedy = "a video of a kind that is not read", "Convert it to MP4"
        raise DataError(what, kind="not-a-video", remedy=remedy, file=path)
    return VideoFormat(reader)


def _reader(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else "mov"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):  # old QuickTime, without a box for its type
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if any(head[first : first + 2 * step + 1 : step] == b"\x47\x47\x47" for first, step in _TS_PACKETS):
        return "mpegts"
    return None


def _mp4(stream: io.BufferedReader, size: int) -> VideoFormat:
    """Walk over the outermost boxes: 4 bytes of size, 4 of type; size 1: 8 more bytes of size follow; 0: to the end."""
    place, index = 0, False
    for _ in range(MOST_BOXES):
        if place + 8 > size:
            break
        stream.seek(place)
        head = stream.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            length = size - place
        if length < 8:  # not a box
            break
        place += length
        index = index or kind in (b"moov", b"moof")
    return VideoFormat("mov", cut=place > size, no_index=not index)


def _matroska_end(head: bytes) -> int:
    """Return the end of the file's segment by its header; 0 where it is open, as in live recordings."""
    start = head.find(_SEGMENT)
    if start < 0 or start + 5 > len(head):
        return 0
    first = head[start + 4]
    length = 9 - first.bit_length()  # the leading zeros of the first byte tell how many follow
    digits = head[start + 4 : start + 4 + length]
    value = int.from_bytes(digits, "big") & ~(1 << (7 * length)) if length <= 8 else 0
    unknown = value == (1 << (7 * length)) - 1
    return 0 if unknown or length > 8 else start + 4 + length + value

"""What kind of video a file is, by its first bytes, and whether it was cut off.

FFmpeg guesses formats, and some of those it may guess (playlists, concatenations, SDP) open other files and network
addresses. Here the format is decided first and FFmpeg gets that reader and no other. Its readers also say nothing of
a file that ends too early; its outermost boxes do, because each tells its own size.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from singleshot.errors import DataError
from singleshot.storage.files import REPLACE, opened

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv", ".3gp"))
"""By which a video is known in a folder. A file that is named is known by its content."""
_PICTURE_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"jxl ")
_SEGMENT = b"\x18\x53\x80\x67"
_TS_PACKETS = ((0, 188), (4, 192))
"""Where a transport stream's first packet begins, and the step to the next; on a disc each has a time before it."""


@dataclass(frozen=True)
class VideoFormat:
    """How a file is to be read.

    Args:
        reader: FFmpeg's name of it.
        cut: whether the file ends before its own structure does.
        no_index: an MP4 whose index was to come behind the frames and never did.
    """

    reader: str
    cut: bool = False
    no_index: bool = False


def looks_like_video(path: Path) -> bool:
    """Whether a file starts as a video does, or is called like one. False for what is not there, and for pipes."""
    if not path.is_file():  # a pipe that nobody writes to would be waited for
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    return _reader(head) is not None or path.suffix.lower() in SUFFIXES


def video_format(path: Path) -> VideoFormat:
    """The format of a video file.

    Raises:
        InputMissingError, NotPermittedError, StorageError: as `files.opened`.
        DataError: it is empty, no plain file (a pipe, a device), or nothing that is read as video. `kind` is
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
            # An AVI above 1 GiB goes on in further chunks of its own, which its first one does not count.
            return VideoFormat(reader, cut=int.from_bytes(head[4:8], "little") + 8 > size)
    if reader is None:
        playlist = head.startswith((b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]"))
        what = "a playlist, which is not followed" if playlist else "not a video"
        remedy = "Name a local video file" if playlist else REPLACE
        raise DataError(what, kind="not-a-video", remedy=remedy, file=path)
    return VideoFormat(reader)


def _reader(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else "mov"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):  # QuickTime before it had a first box for its kind
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
    """Walk over the outermost boxes: 4 bytes of size, 4 of kind; size 1 stands for 8 more bytes, 0 for the rest."""
    place, index = 0, False
    while place + 8 <= size:
        stream.seek(place)
        head = stream.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            length = size - place
        if length < 8:  # not a box: what follows is no part of the structure
            break
        place += length
        index = index or kind in (b"moov", b"moof")
    return VideoFormat("mov", cut=place > size, no_index=not index)


def _matroska_end(head: bytes) -> int:
    """Where the file says that its segment ends; 0 where it leaves that open, as live recordings do."""
    start = head.find(_SEGMENT)
    if start < 0 or start + 5 > len(head):
        return 0
    first = head[start + 4]
    length = 9 - first.bit_length()  # the leading zeros of the first byte tell how many follow
    digits = head[start + 4 : start + 4 + length]
    value = int.from_bytes(digits, "big") & ~(1 << (7 * length)) if length <= 8 else 0
    unknown = value == (1 << (7 * length)) - 1
    return 0 if unknown or length > 8 else start + 4 + length + value

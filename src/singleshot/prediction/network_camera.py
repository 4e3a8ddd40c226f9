"""A camera on the network → its newest frames, through lost connections.

    for frame in frames(Address("rtsp://user:secret@10.0.0.7/live")):
        …                   # what the camera sees now; older frames that nobody took are dropped

A thread receives and decodes the stream without a pause, since a compressed frame needs the ones before it, and keeps
the last picture only. When the connection breaks, or nothing comes, it connects again, with longer and longer pauses.

The other end is not trusted. FFmpeg may use only the protocol of the address, the containers and the codecs that
cameras use; it opens no file, follows no playlist and no HTTP redirect, and waits for nothing longer than `TIMEOUT_S`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from singleshot.errors import DataError, SingleshotError, UnreachableError, UsageError, visible
from singleshot.images import pixel_limit
from singleshot.prediction.backends import host
from singleshot.prediction.camera import CLOSE_S
from singleshot.prediction.frames import Frame
from singleshot.prediction.video_reader import import_av, upright

TIMEOUT_S = 10.0
"""How long the other end may take to accept a connection, to send a packet, and to send a whole frame."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Pauses between attempts to connect again: each is twice as long as the one before, give or take a quarter."""
STEADY_S = 10.0
"""A connection that lasted longer than this and a time-out has worked: after it the pauses start anew."""
POLL_S = 0.5
"""How often a waiting reader looks for Ctrl-C on systems where a lock cannot be interrupted."""
PROTOCOLS = {"rtsp": "tcp", "rtsps": "tls,tcp", "http": "http,tcp", "https": "https,tls,tcp"}
"""By scheme of an address: what FFmpeg may open for it. RTSP carries its pictures in the same TCP connection."""
CONTAINERS = {"rtsp": "rtsp", "http": "mpjpeg,mjpeg,mpegts,flv,matroska,mov"}
CODECS = ("h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9", "av1")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """The address of a stream. As text it lacks user name and password, which belong in no message and no file.

    Args:
        url: the whole address.

    Raises:
        UsageError: it is not an address of one of `PROTOCOLS` with a host, or contains a space or control character.

    >>> str(Address("rtsp://me:secret@10.0.0.7:554/live?channel=1"))
    'rtsp://10.0.0.7:554/live?channel=1'
    """

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            named = False
        if not (is_stream(self.url) and named) or visible(self.url) != self.url or " " in self.url:
            raise UsageError("not the address of a stream", remedy="Write it as rtsp://HOST:PORT/PATH")

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        authority, slash, path = rest.partition("/")
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"

    @property
    def scheme(self) -> str:
        """`rtsp`, `rtsps`, `http` or `https`."""
        return self.url.partition(":")[0].lower()

    @property
    def file_stem(self) -> str:
        """A name for files about the stream.

        >>> Address("rtsp://me:secret@10.0.0.7:554/live?channel=1").file_stem
        '10.0.0.7_554_live_channel_1'
        """
        return re.sub(r"[^A-Za-z0-9.-]+", "_", str(self).partition("://")[2]).strip("_.")[:100]


def is_stream(text: str) -> bool:
    """Whether it is an address with a scheme of `PROTOCOLS`.

    >>> is_stream("RTSP://10.0.0.7/live"), is_stream("ftp://10.0.0.7/a.mp4"), is_stream("street.mp4")
    (True, False, False)
    """
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.lower() in PROTOCOLS


def frames(
    address: Address, *, on_event: Callable[[str], object] = log.warning, timeout_s: float = TIMEOUT_S
) -> Iterator[Frame]:
    """Yield the newest frame of a stream whenever one is asked for, until the caller has had enough.

    Args:
        address: of the stream.
        on_event: called with a line when the stream is lost, when it is back, and when its frame size changes.
        timeout_s: how long the other end may take for anything.

    Yields:
        Frames of one size, upright, each newer than the one before. `time` is when they came, in seconds after the
        first one; `index` counts those that were yielded.

    Raises:
        UnreachableError: the first connection fails. Later ones are tried for ever.
        DataError: what comes is not a video stream, or its frames are above `images.pixel_limit()` (`kind` is
            `not-a-video`, `too-large-video`, or `corrupt-video`).
        ConfigError: PyAV is not installed.
    """
    receiver = _Receiver(address, import_av(), timeout_s)
    start, count = 0.0, 0
    size_hw: tuple[int, int] | None = None
    scaled = False
    try:
        for picture, at in receiver.pictures(on_event):
            image = upright(picture.to_ndarray(format="rgb24"), picture.rotation)
            if size_hw is None:
                size_hw, start = (int(image.shape[0]), int(image.shape[1])), at
            elif image.shape[:2] != size_hw:
                if not scaled:
                    now, first = ("×".join(map(str, each[1::-1])) for each in (image.shape, size_hw))
                    on_event(f"{address}: the frames are now {now}; they are scaled to {first}")
                scaled = True
                image = np.asarray(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
            yield Frame(image, str(address), count, Fraction(round((at - start) * 90_000), 90_000))
            count += 1
    finally:
        receiver.close()


class _Lost(Exception):  # noqa: N818
    """A connection that failed or ended; its text is the reason.

    Args:
        reason: why.
        error: for a user whose first connection this was.
    """

    def __init__(self, reason: str, error: SingleshotError) -> None:
        super().__init__(reason)
        self.error = error


class _Receiver:
    """Receives a stream in a thread, and hands over its last picture."""

    def __init__(self, address: Address, av: Any, timeout_s: float) -> None:
        self._address, self._av, self._timeout_s = address, av, timeout_s
        self._changed = threading.Condition()
        self._newest: tuple[Any, float] | None = None
        self._events: list[str] = []
        self._error: BaseException | None = None
        self._ended = False
        self._connected_before = False
        self._lost_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="network camera", daemon=True)
        self._thread.start()

    def pictures(self, on_event: Callable[[str], object]) -> Iterator[tuple[Any, float]]:
        """Yield the newest picture and when it came. Events are reported here, in the caller's thread."""
        while True:
            with self._changed:
                while not (self._newest or self._events or self._error):
                    self._changed.wait(POLL_S)
                events, self._events = self._events, []
                taken, self._newest = self._newest, None
                error = self._error
            for event in events:
                on_event(event)
            if taken is not None:
                yield taken
            elif error is not None:
                raise error

    def close(self) -> None:
        """End the thread. One that waits for the network ends when that wait does."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while not self._ended:
                connected_at = time.monotonic()
                try:
                    self._receive()
                except _Lost as lost:
                    if not self._connected_before:
                        raise lost.error from lost
                    if self._lost_at is None:
                        self._lost_at = time.monotonic()
                        self._report(f"{self._address}: lost ({lost}); connecting again until it is back")
                if time.monotonic() - connected_at > STEADY_S + self._timeout_s:
                    pause_s = FIRST_PAUSE_S
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, pause_s * random.uniform(0.75, 1.25))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _receive(self) -> None:
        """Take pictures from one connection until it breaks. Raises _Lost."""
        last = time.monotonic()
        try:
            with contextlib.closing(self._open()) as container:
                stream = self._stream(container)
                for packet in container.demux(stream):
                    if self._ended:
                        return
                    for picture in self._decoded(packet):
                        last = time.monotonic()
                        self._put(picture)
                    if time.monotonic() - last > self._timeout_s:
                        raise self._lost(f"no picture for {self._timeout_s:g} s")
                raise self._lost("the other end closed the stream")
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise self._lost(self._reason(error), error) from error

    def _open(self) -> Any:
        scheme = self._address.scheme
        options = {
            "protocol_whitelist": PROTOCOLS[scheme],
            "format_whitelist": CONTAINERS["rtsp" if scheme.startswith("rtsp") else "http"],
            "codec_whitelist": ",".join(CODECS),
            "fflags": "nobuffer",
        }
        options |= {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {"max_redirects": "0"}
        timeout = (self._timeout_s, self._timeout_s)
        return self._av.open(self._address.url, options=options, timeout=timeout, metadata_errors="replace")

    def _stream(self, container: Any) -> Any:
        """Return the container's video stream. Raises _Lost where it is none that is read."""
        if not container.streams.video:
            raise self._unfit("it has no video", "not-a-video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or context.codec.canonical_name not in CODECS:
            raise self._unfit(f"its codec is not one of {', '.join(CODECS)}", "not-a-video")
        self._check_size(context.width, context.height)
        # Threads that work on parts of one frame: those that work on several frames hand each out later.
        context.thread_type, context.thread_count = "SLICE", max(1, host.cores() // 4)
        context.options = {"max_pixels": str(pixel_limit())}  # refused before memory is taken for it
        return stream

    def _decoded(self, packet: Any) -> Iterator[Any]:
        """Yield the pictures of a packet; a damaged one has none. Raises _Lost for one with too many pixels."""
        try:
            pictures = packet.decode()
        except self._av.error.FFmpegError:
            return
        for picture in pictures:
            self._check_size(picture.width, picture.height)
            if not picture.is_corrupt:
                yield picture

    def _check_size(self, width: int, height: int) -> None:
        if width * height > (limit := pixel_limit()):
            what = f"{width}×{height} pixels are more than the {limit / 1e6:g} million that are read"
            raise self._unfit(what, "too-large-video")

    def _put(self, picture: Any) -> None:
        now = time.monotonic()
        if self._lost_at is not None:
            self._report(f"{self._address}: back after {now - self._lost_at:.0f} s")
            self._lost_at = None
        with self._changed:
            self._connected_before = True
            self._newest = (picture, now)
            self._changed.notify_all()

    def _report(self, line: str) -> None:
        with self._changed:
            self._events.append(visible(line))
            self._changed.notify_all()

    def _reason(self, error: Exception) -> str:
        """Say what an error of FFmpeg means, without the address: that has the password in it."""
        av = self._av.error
        if isinstance(error, av.ExitError):
            return f"nothing came for {self._timeout_s:g} s"
        if isinstance(error, av.InvalidDataError | av.ArgumentError | av.ProtocolNotFoundError):
            return "what comes is not a video stream"
        if getattr(error, "errno", None) == errno.EIO:
            return "it does not answer with a stream; redirects are not followed"
        return getattr(error, "strerror", None) or type(error).__name__

    def _lost(self, reason: str, error: Exception | None = None) -> _Lost:
        av = self._av.error
        if isinstance(error, av.InvalidDataError | av.ArgumentError | av.ProtocolNotFoundError):
            return self._unfit(reason, "not-a-video")
        remedy = "Check the address, and that the camera is on"
        if isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError):
            remedy = "Give user name and password: rtsp://USER:PASSWORD@HOST/PATH"
        elif isinstance(error, av.HTTPNotFoundError):
            remedy = "Check the path behind the host name"
        return _Lost(reason, UnreachableError(f"{self._address}: {reason}", remedy=remedy))

    def _unfit(self, reason: str, kind: str) -> _Lost:
        remedy = "Name the address of a live stream; download images and recorded videos first"
        return _Lost(reason, DataError(f"{self._address}: {reason}", kind=kind, remedy=remedy))

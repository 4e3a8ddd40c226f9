"""Read frames from a local camera, with their times of arrival.

A camera has no last frame, and may stop without an error: it is unplugged, or another program uses it. A thread reads
the frames, so that a stop is noticed; it replaces a frame that was not taken by the next, so that the caller always
gets the newest one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from singleshot.errors import InputMissingError, StorageError
from singleshot.prediction.frames import Frame

SILENCE_S = 10.0
CAMERAS = 100
"""OpenCV takes the hundreds of a number for the way to open a camera, and crashes at a negative one."""
CLOSE_S = 0.2
"""Seconds to wait for the reading thread when a camera is closed; one that is blocked is abandoned."""


def frames(
    index: int, *, silence_s: float = SILENCE_S, open_capture: Callable[[int], Any] = cv2.VideoCapture
) -> Iterator[Frame]:
    """Yield the frames of a camera until the caller stops.

    Args:
        index: of the camera, from 0 to 99.
        silence_s: time limit of one frame.
        open_capture: opens the camera; for tests.

    Raises:
        InputMissingError: there is no such camera, or it is in use.
        StorageError: it was unplugged, or gave no frame for `silence_s`.
    """
    if not 0 <= index < CAMERAS:
        remedy = "Check the number, or the path if a file or folder is meant"
        raise InputMissingError(f"there is no camera {index}: they are numbered from 0 to {CAMERAS - 1}", remedy=remedy)
    capture = open_capture(index)
    if not capture.isOpened():
        raise InputMissingError(f"camera {index} cannot be opened", remedy="See whether another program uses it")
    newest = _Newest(capture)
    start, count = time.monotonic(), 0
    try:
        while True:
            taken = newest.wait(silence_s)
            if taken is None:
                silent = f"camera {index} gave no frame for {silence_s:g} s"
                what = f"camera {index} ended: it gives no more frames" if newest.ended else silent
                raise StorageError(what, remedy="See whether it is plugged in")
            bgr, at = taken
            image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            moment = Fraction(round((at - start) * 90_000), 90_000)
            yield Frame(image, f"camera {index}", count, max(moment, Fraction(0)))
            count += 1
    finally:
        newest.close()


class _Newest:
    """The newest frame of a camera that was not taken yet; `ended` if no other will come."""

    def __init__(self, capture: Any) -> None:
        self._capture, self._changed = capture, threading.Condition()
        self._frame: tuple[Any, float] | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> tuple[Any, float] | None:
        """Return the newest frame and its time; None after so many seconds without one, or if the camera ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self.ended, seconds)
            taken, self._frame = self._frame, None
            return taken

    def close(self) -> None:
        """Release the camera, unless its thread is blocked: then it is released when the program ends."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def _read(self) -> None:
        while not self.ended:
            fine, bgr = self._capture.read()
            with self._changed:
                if fine:
                    self._frame = (bgr, time.monotonic())
                else:
                    self.ended = True
                self._changed.notify_all()
        self._capture.release()

"""A camera on this machine → its frames, with the times at which they came.

A camera has no last frame, and may fall silent without a word: it is unplugged, or another program has it. Frames are
taken in a thread of their own, so that silence is noticed, and one that nobody has taken is replaced by the next: what
is seen is always now.
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
CLOSE_S = 0.2
"""How long a camera may take to give back the thread that reads it; a silent one is left to itself."""


def frames(
    index: int, *, silence_s: float = SILENCE_S, open_capture: Callable[[int], Any] = cv2.VideoCapture
) -> Iterator[Frame]:
    """The frames of a camera until the caller has had enough.

    Args:
        index: which camera, from 0.
        silence_s: how long to wait for a frame.
        open_capture: opens it; for tests.

    Raises:
        InputMissingError: there is no such camera, or it is taken.
        StorageError: it ended, as one that is unplugged does, or gave no frame for `silence_s`.
    """
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
    """The last frame that a camera gave and nobody took; `ended` where no other will come."""

    def __init__(self, capture: Any) -> None:
        self._capture, self._changed = capture, threading.Condition()
        self._frame: tuple[Any, float] | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> tuple[Any, float] | None:
        """The newest frame and when it came; None when there was none for so long, or the camera is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self.ended, seconds)
            taken, self._frame = self._frame, None
            return taken

    def close(self) -> None:
        """Let go of the camera, unless it holds the thread: then the end of the program does."""
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

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from singleshot.errors import InputMissingError, StorageError
from singleshot.prediction import camera


class Capture:
    """A camera of so many frames that then hangs, or says that it is gone."""

    def __init__(self, frames: int, *, hangs: bool = False, there: bool = True) -> None:
        self.frames, self.hangs, self.there = frames, hangs, there
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802
        return self.there

    def read(self) -> tuple[bool, object]:
        time.sleep(0.01)
        if self.frames == 0:
            if self.hangs:
                self.released.wait(5)
            return False, None
        self.frames -= 1
        return True, np.full((4, 6, 3), (255, 0, 0), np.uint8)  # blue, as OpenCV orders it

    def release(self) -> None:
        self.released.set()


def test_frames_are_rgb_and_come_with_growing_times() -> None:
    capture = Capture(50)
    frames = camera.frames(0, open_capture=lambda _index: capture)
    some = list(itertools.islice(frames, 3))
    frames.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert [frame.index for frame in some] == [0, 1, 2] and some[0].image[0, 0].tolist() == [0, 0, 255]
    times = [frame.time_s or 0 for frame in some]
    assert times == sorted(times) and capture.released.wait(2)


@pytest.mark.parametrize(("hangs", "said"), [(True, r"gave no frame for 0\.3 s"), (False, "ended")])
def test_d11_a_camera_that_falls_silent_or_ends_is_an_error_that_says_which(hangs: bool, said: str) -> None:
    start = time.monotonic()
    with pytest.raises(StorageError, match=f"camera 3 {said}") as caught:
        list(camera.frames(3, silence_s=0.3, open_capture=lambda _index: Capture(2, hangs=hangs)))
    assert caught.value.exit_code == 74 and time.monotonic() - start < 4


def test_a_camera_that_is_not_there_is_a_missing_input() -> None:
    with pytest.raises(InputMissingError, match="camera 7"):
        list(camera.frames(7, open_capture=lambda _index: Capture(0, there=False)))


@pytest.mark.parametrize("index", [-1, 100, 2024, 10**20])
def test_a_number_that_no_camera_has_never_reaches_opencv(index: int) -> None:
    """OpenCV crashes at −1, takes 2024 for another way to open camera 24, and cannot read larger numbers."""
    opened: list[int] = []
    with pytest.raises(InputMissingError, match=f"there is no camera {index}: they are numbered from 0 to 99"):
        list(camera.frames(index, open_capture=opened.append))
    assert opened == []

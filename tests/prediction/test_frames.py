from __future__ import annotations

from fractions import Fraction

import numpy as np

from singleshot.prediction.frames import Frame


def test_a_frame_says_when_it_is_and_what_files_about_it_are_called() -> None:
    frame = Frame(np.zeros((2, 3, 3), np.uint8), "in/film.mp4", 12, Fraction(1, 4))
    assert (frame.name, frame.time_s, frame.size_hw) == ("film_000012", 0.25, (2, 3))
    assert Frame(np.zeros((2, 3, 3), np.uint8), "a.jpg").time_s is None

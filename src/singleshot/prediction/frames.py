"""What travels through a prediction: a picture with its place and its time, or the reason why there is none.

A folder of pictures, a video and a camera all become a stream of these, so that everything behind them (network,
drawing, files) is written once. What could not be read travels too, in its place, so that nothing goes missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import SingleshotError, UsageError
from singleshot.structures import Detections, Segmentation

CHUNK_PIXELS = 4_000_000
"""Frames travel in chunks, which the network sees as one batch; large ones alone."""


def check_batch_size(batch_size: int) -> None:
    """Raise UsageError for a batch size that is no number of pictures."""
    if batch_size < 1:
        raise UsageError(f"a batch of {batch_size} pictures", remedy="Give a batch_size of 1 or more")


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
        source: what it comes from: a file, `camera 0`, or `array 3`.
        index: its place in its video, from 0; None for a picture of its own.
        time: when it is shown, in seconds after the video's start, exactly; None for a picture of its own.
        duration: for how long, where the video says.
    """

    image: UInt8[ndarray, "H W 3"]
    source: str
    index: int | None = None
    time: Fraction | None = None
    duration: Fraction | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (int(self.image.shape[0]), int(self.image.shape[1]))

    @property
    def time_s(self) -> float | None:
        """`time` as a number."""
        return None if self.time is None else float(self.time)

    @property
    def name(self) -> str:
        """A name for files about it: the picture's stem, with the frame's number behind it where it has one.

        >>> import numpy as np
        >>> pixel = np.zeros((1, 1, 3), np.uint8)
        >>> Frame(pixel, "in/a.jpg").name, Frame(pixel, "b.mp4", index=7).name
        ('a', 'b_000007')
        """
        stem = Path(self.source).stem
        return stem if self.index is None else f"{stem}_{self.index:06d}"


@dataclass(frozen=True, eq=False)
class Unreadable:
    """What stands in a stream in the place of a picture that could not be read."""

    source: str
    error: SingleshotError


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame and what was seen in it.

    Args:
        frame: the frame as it was read.
        result: boxes in its pixels, or the class of each of them.
        drawn: a copy with the result drawn in; None where nothing was to be drawn.
    """

    frame: Frame
    result: Detections | Segmentation
    drawn: UInt8[ndarray, "H W 3"] | None = None

"""The records of a prediction: a frame that was read, its result, and the error of an image that could not be read.

A folder of images, a video and a camera all become a stream of frames, so that everything behind them (network,
drawing, files) is written once. An image that could not be read stays in the stream as an error, at its position.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import SingleshotError, UsageError
from singleshot.prediction.preview import Preview
from singleshot.structures import Detections, Segmentation

BATCH_SIZE = 8
CHUNK_PIXELS = 4_000_000
"""Frames travel in chunks, each of which is one batch for the network. A chunk ends when it has this many pixels."""


def check_batch_size(batch_size: int) -> None:
    """Raise UsageError for a batch size that is not a whole number of 1 or more."""
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise UsageError(f"a batch of {batch_size} images", remedy="Give a batch_size of 1 or more")


@dataclass(frozen=True, eq=False)
class Frame:
    """An image, or one frame of a video or camera.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
        source: where it comes from: a file, `camera 0`, or `array 3`.
        index: its index in its video, from 0; None for a single image.
        time: when it is shown, in seconds after the video's start, exactly; None for a single image.
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
        """`time` as a float."""
        return None if self.time is None else float(self.time)

    @property
    def name(self) -> str:
        """A name for files about it: the image's stem, followed by the frame's index where it has one.

        >>> import numpy as np
        >>> pixel = np.zeros((1, 1, 3), np.uint8)
        >>> Frame(pixel, "in/a.jpg").name, Frame(pixel, "b.mp4", index=7).name
        ('a', 'b_000007')
        """
        stem = Path(self.source).stem
        return stem if self.index is None else f"{stem}_{self.index:06d}"


@dataclass(frozen=True, eq=False)
class ImageResult:
    """A frame and its result.

    Args:
        frame: the frame as it was read.
        result: detections in its pixels, or the class of each of them.
        drawn: a copy with the result drawn in; None where none was asked for.
    """

    frame: Frame
    result: Detections | Segmentation
    drawn: UInt8[ndarray, "H W 3"] | None = None

    @property
    def source(self) -> str:
        """Where the frame comes from."""
        return self.frame.source

    def _repr_png_(self) -> bytes:
        """Return the frame with its result as a PNG, which a notebook shows."""
        return Preview.of(self.frame.image)(self.result)


@dataclass(frozen=True, eq=False)
class ImageError:
    """An image, or the rest of a video, that could not be read.

    Args:
        source: where it should have come from.
        error: why it could not be read.
        of_video: whether it is the end of a video, of which all readable frames came before.
    """

    source: str
    error: SingleshotError
    of_video: bool = False

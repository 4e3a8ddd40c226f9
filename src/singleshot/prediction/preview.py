"""What a notebook shows of a result: its image with the boxes or masks drawn in, as a PNG.

A result does not keep its image, because the frames of a video would fill the memory. A file is read again when its
result is shown; an array or a PIL image is there for as long as the caller keeps it. Without its image, a result is
drawn on a plain ground, with a line that says so.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import images
from singleshot.drawing import caption, draw
from singleshot.errors import SingleshotError
from singleshot.images import PilImage
from singleshot.structures import Detections, Segmentation

LONGEST_PX = 1024
"""A notebook stores what it shows: the PNG of a photograph at full size would make it 20 MB larger."""
GROUND = 224
"""Grey value of the ground in place of an image that is gone."""


@dataclass(frozen=True)
class Preview:
    """Draws results of one image; `Detections.preview` and `Segmentation.preview`.

    Args:
        image: the file, or a weak reference to the array or PIL image; None where neither exists any longer. A copy by
            pickle or `copy.deepcopy` keeps a file only.
    """

    image: Path | weakref.ref[Any] | None

    @classmethod
    def of(cls, image: str | Path | ndarray | PilImage) -> Preview:
        """Return the preview of an image in one of the forms that `predict` takes."""
        return cls(Path(image).absolute() if isinstance(image, str | Path) else weakref.ref(image))

    def __call__(self, result: Detections | Segmentation) -> bytes:
        """Return a PNG of at most `LONGEST_PX` pixels a side; one without detections says that there are none."""
        pixels, lines = self._pixels(), []
        if pixels is None or pixels.shape[:2] != result.size_hw:
            pixels = np.full((*result.size_hw, 3), GROUND, np.uint8)
            lines.append("the image is no longer there, or has changed")
        if isinstance(result, Detections) and not len(result):
            lines.append("nothing detected")
        return as_png(draw(pixels, result), "; ".join(lines))

    def _pixels(self) -> UInt8[ndarray, "H W 3"] | None:
        """Return the image; None where it is gone."""
        found = self.image() if isinstance(self.image, weakref.ref) else self.image
        try:
            if isinstance(found, Path):
                return images.read_image(found)
            if isinstance(found, PilImage):
                return images.from_pil(found)
            return None if found is None else images.from_array(found)
        except SingleshotError:
            return None

    def __reduce__(self) -> tuple[type[Preview], tuple[Path | None]]:
        """Leave out a weak reference, which cannot be pickled."""
        return Preview, (self.image if isinstance(self.image, Path) else None,)


def as_png(image_rgb: UInt8[ndarray, "H W 3"], line: str = "") -> bytes:
    """Encode an image, reduced to at most `LONGEST_PX` pixels a side, with a line of text above it if there is one."""
    height, width = image_rgb.shape[:2]
    scale = LONGEST_PX / max(height, width)
    if scale < 1:
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        image_rgb = cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)
    if line:
        image_rgb = np.vstack([caption(line, image_rgb.shape[1]), image_rgb])
    return np.asarray(cv2.imencode(".png", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1]).tobytes()

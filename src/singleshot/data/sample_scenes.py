"""The few street scenes that the package contains: small JPEG files with boxes and masks, for measurements and proofs.

An export is compared with its model on them and a benchmark reads them where a user names no images of their own.
They are drawn; `python -m tools.sample_scenes` makes the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.data.masks import files
from singleshot.images import read_image

FOLDER = Path(__file__).parent / "scenes"


@dataclass(frozen=True)
class SampleScene:
    """An image with its annotation.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) in pixels of the image. N may be 0.
        class_names: (N,) of the boxes: `car`, `pedestrian` or `traffic light`.
        mask: (H, W) indices into `mask_names()`.
    """

    image: UInt8[ndarray, "H W 3"]
    boxes_xyxy: Float[ndarray, "N 4"]
    class_names: tuple[str, ...]
    mask: UInt8[ndarray, "H W"]


@cache
def sample_scenes() -> tuple[SampleScene, ...]:
    """Return the scenes; no two of the first five have one size."""
    rows = json.loads((FOLDER / "scenes.json").read_text(encoding="utf-8"))["scenes"]
    return tuple(
        SampleScene(
            read_image(FOLDER / row["image"]),
            np.array(row["boxes_xyxy"], dtype=np.float32).reshape(-1, 4),
            tuple(row["labels"]),
            files.read_grey(FOLDER / row["mask"]),
        )
        for row in rows
    )


def mask_names() -> tuple[str, ...]:
    """Return the class names of the masks, by number."""
    return tuple(json.loads((FOLDER / "scenes.json").read_text(encoding="utf-8"))["mask"])

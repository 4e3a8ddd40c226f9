"""Where results go: annotated pictures under names that cover nothing up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import StorageError, UsageError
from singleshot.storage import atomic

JPEG_QUALITY = 92


def targets(files: Sequence[Path], out: Path, *, suffix: str | None = None) -> dict[Path, Path]:
    """Where each picture's annotated copy goes: `out/<stem>.jpg`, or `.png` for a PNG; or with another suffix.

    Two pictures of the same stem get `<folder>-<file name>` instead, so that neither covers up the other.

    Raises:
        UsageError: a copy would cover up its own picture, or two pictures would still share a name.
    """
    what = "videos" if suffix else "pictures"
    stems = Counter(file.stem for file in files)
    chosen: dict[Path, Path] = {}
    taken: set[Path] = set()
    for file in files:
        name = file.stem if stems[file.stem] == 1 else f"{file.resolve().parent.name}-{file.name}"
        copy = out / f"{name}{suffix or ('.png' if file.suffix.lower() == '.png' else '.jpg')}"
        if copy in taken and file not in chosen:
            raise UsageError(f"two {what} would both be written to {copy}", remedy="Predict them in two runs")
        if copy.resolve() == file.resolve():
            raise UsageError(f"{copy} is itself a source", remedy="Choose another --out")
        chosen[file] = copy
        taken.add(copy)
    return chosen


def write_picture(path: Path, image_rgb: UInt8[ndarray, "H W 3"]) -> None:
    """Write a picture in the format of its suffix, whole or not at all. Raises StorageError if that fails."""
    parameters = [] if path.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    fine, data = cv2.imencode(path.suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), parameters)
    if not fine:
        raise StorageError("the picture could not be encoded", file=path)
    atomic.write_bytes(path, np.asarray(data).tobytes())

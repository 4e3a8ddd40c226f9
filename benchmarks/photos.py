"""Photographs to load: 64 JPEG files of 500 × 375 at quality 93, about the size of Pascal VOC's, with boxes.

They are cut from the real images in ../shared/data where those are, and from drawn street scenes elsewhere; what a
figure was measured on is printed beside it. Boxes are random: 1 to 5 an image, as speed does not depend on what is
in them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from singleshot.images import read_image
from singleshot.streets.scene import scene
from singleshot.structures import Dataset, LabelMap, Sample

SHARED = Path(__file__).parents[2] / "shared" / "data"
COUNT = 64
SIZE_HW = (375, 500)
QUALITY = 93


def make(folder: Path) -> Dataset:
    """Write the files into `folder`; the same ones each time."""
    rng = np.random.default_rng(0)
    sources, layout = _sources(rng)
    samples = []
    for index in range(COUNT):
        path = folder / f"{index:02}.jpg"
        photo = _cut(sources[index % len(sources)], rng)
        cv2.imwrite(str(path), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        boxes_xyxy = _boxes(rng)
        ids = rng.integers(0, 20, len(boxes_xyxy))
        samples.append(Sample(path.stem, path, SIZE_HW, boxes_xyxy, ids, np.zeros(len(ids), dtype=bool)))
    return Dataset(folder, layout, "train", LabelMap(tuple(f"class {number}" for number in range(20))), samples)


def described(dataset: Dataset) -> str:
    """What the files are, in a line."""
    mean = np.mean([sample.image_path.stat().st_size for sample in dataset.samples]) / 1e3
    boxes = np.mean([len(sample.boxes_xyxy) for sample in dataset.samples])
    height, width = SIZE_HW
    return (
        f"{len(dataset)} {dataset.layout}, {width}×{height}, quality {QUALITY}, {mean:.0f} KB, {boxes:.1f} boxes each"
    )


def _sources(rng: np.random.Generator) -> tuple[list[np.ndarray], str]:
    photos = sorted(path for path in (SHARED / "photos").glob("*.*g") if path.stem != "camera")
    if photos:
        return [read_image(path) for path in photos], "crops of photographs"
    return [scene(0, "train", index, size_hw=(600, 800)).image for index in range(8)], "drawn streets"


def _cut(source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of the image, as large as goes or a little smaller, so that it stays sharp when it shrinks."""
    height, width = SIZE_HW
    factor = rng.uniform(0.8, 1.0) * min(source.shape[0] / height, source.shape[1] / width)
    high, wide = int(height * factor), int(width * factor)
    top, left = rng.integers(source.shape[0] - high + 1), rng.integers(source.shape[1] - wide + 1)
    return cv2.resize(source[top : top + high, left : left + wide], (width, height), interpolation=cv2.INTER_AREA)


def _boxes(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.integers(1, 6))
    size = np.exp(rng.uniform(np.log(0.08), np.log(0.9), (count, 2))) * (SIZE_HW[1], SIZE_HW[0])
    low = rng.uniform(0, 1, (count, 2)) * ((SIZE_HW[1], SIZE_HW[0]) - size)
    return np.concatenate([low, low + size], axis=1)

"""torchvision's and albumentations' ways from JPEG files to augmented 300 × 300 images; runs under the peers' Python.

torchvision: the `ssd` preset of its own detection references (photometric distort, zoom-out, IoU crop, mirror) with
the v2 transforms on tensors, and the resize and the normalisation that its SSD300 model begins with.

albumentations has no SSD recipe. This is what one would write: its colour jitters, an Affine for the expansion, a
crop that keeps the boxes, and a mirror, each with SSD's odds, with linear interpolation. It knows no minimum IoU, so
it does less.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import simplejpeg
import torch
from torchvision import io, tv_tensors
from torchvision.transforms import v2

from benchmarks.peers import serve

MEAN = (123.0, 117.0, 104.0)
SIZE = 300

torch.set_num_threads(1)
cv2.setNumThreads(0)

TORCHVISION = v2.Compose(
    [
        v2.RandomPhotometricDistort(),
        v2.RandomZoomOut(fill=list(MEAN)),
        v2.RandomIoUCrop(),
        v2.RandomHorizontalFlip(0.5),
        v2.SanitizeBoundingBoxes(),
        v2.Resize((SIZE, SIZE), antialias=False),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.48235, 0.45882, 0.40784], [1.0 / 255.0] * 3),
    ]
)
ALBUMENTATIONS = A.Compose(
    [
        A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0.5, p=0.75),
        A.HueSaturationValue(hue_shift_limit=18, sat_shift_limit=64, val_shift_limit=0, p=0.75),
        A.Affine(scale=(0.25, 1.0), translate_percent=(-0.3, 0.3), fill=MEAN, p=0.5),
        A.RandomSizedBBoxSafeCrop(SIZE, SIZE, p=1.0),
        A.HorizontalFlip(p=0.5),
    ],
    bbox_params=A.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=0.1),
)


def torchvision_batch(files: list[str], boxes: list[list[list[float]]]) -> torch.Tensor:
    """One batch of normalised floats."""
    pictures = []
    for file, some in zip(files, boxes, strict=True):
        image = tv_tensors.Image(io.decode_jpeg(io.read_file(file)))
        frame = tv_tensors.BoundingBoxes(some, format="XYXY", canvas_size=image.shape[-2:])
        target = {"boxes": frame, "labels": torch.ones(len(some), dtype=torch.int64)}
        pictures.append(TORCHVISION(image, target)[0])
    return torch.stack(pictures)


def albumentations_batch(files: list[str], boxes: list[list[list[float]]]) -> np.ndarray:
    """One batch of uint8."""
    pictures = []
    for file, some in zip(files, boxes, strict=True):
        image = simplejpeg.decode_jpeg(Path(file).read_bytes(), "RGB", fastdct=True, fastupsample=True)
        pictures.append(ALBUMENTATIONS(image=image, bboxes=np.array(some), labels=np.ones(len(some)))["image"])
    return np.stack(pictures)


WAYS = {"torchvision": torchvision_batch, "albumentations": albumentations_batch}


def work(request: dict[str, Any]) -> dict[str, Any]:
    """One pass over the files by `way`, in batches of 32: CPU seconds, and the shape of the last batch."""
    way, files, boxes = WAYS[request["way"]], request["files"], request["boxes"]
    start = time.process_time()
    shapes = [list(way(files[at : at + 32], boxes[at : at + 32]).shape) for at in range(0, len(files), 32)]
    return {"seconds": time.process_time() - start, "shape": shapes[-1]}


if __name__ == "__main__":
    serve(work)

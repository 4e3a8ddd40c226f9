"""Class names of the public data sets, in the order of their ids, and a colour for every id.

Names are spelled as in the files of the data sets, because readers look them up by that text. Background is not a
class here: it exists inside the networks only.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

# VOC development kits 2007 to 2012, VOCinit.m.
VOC = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]

# The 80 classes of COCO 2014 and 2017 in the order of their categories' ids, without the gaps (1 … 90).
COCO = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
]

# KITTI road benchmark: two classes of pixels.
KITTI_ROAD = ["background", "road"]

# The 19 classes of the Cityscapes benchmark by trainId, cityscapesScripts `helpers/labels.py`.
CITYSCAPES = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
]

# The hue advances by the golden ratio, so that ids next to each other are far apart for any number of classes.
_GOLDEN = (5**0.5 - 1) / 2
_FIRST_HUE = 0.02
_TONES = ((0.85, 1.0), (0.5, 1.0), (0.95, 0.7), (0.45, 0.8), (0.25, 1.0))
_LEAST_LUMA = 95


def colours(count: int) -> UInt8[ndarray, "N 3"]:
    """Return RGB colours for class ids 0 … count − 1: bright, distinct and always the same. No rows for a count of 0.

    >>> colours(2).tolist()
    [[255, 64, 38], [51, 86, 255]]
    """
    rows = np.zeros((count, 3), np.uint8)
    for index in range(count):
        saturation, value = _TONES[index // 9 % len(_TONES)]
        hue = (_FIRST_HUE + index * _GOLDEN) % 1
        rgb = np.multiply(colorsys.hsv_to_rgb(hue, saturation, value), 255)
        luma = rgb @ (0.299, 0.587, 0.114)  # ITU-R BT.601; pure blue and violet are hard to see in dark images
        rows[index] = np.rint(rgb + (255 - rgb) * max(0, _LEAST_LUMA - luma) / (255 - luma))
    return rows


def sided(names: Iterable[str]) -> list[str]:
    """Return the names that have the word left or right in them, as a whole word or a part of CamelCase.

    >>> sided(["turn-right", "RedLeft", "left_turn", "bright", "leftover", "copyright", "car"])
    ['turn-right', 'RedLeft', 'left_turn']
    """
    return [
        name for name in names if {"left", "right"} & {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}
    ]

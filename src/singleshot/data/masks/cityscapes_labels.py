"""The labels of Cityscapes: names, ids, which are judged, their categories and colours, as the data set defines them.

Three numberings are in use and mixing them up is silent: `id` is what `*_gtFine_labelIds.png` hold and what the
server wants back, `train_id` is 0…18 in the order of the 19 judged classes, and a class id of ours is the train id.
Source: cityscapesScripts, `helpers/labels.py`; average sizes from `evaluation/evalPixelLevelSemanticLabeling.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.structures import UNKNOWN, VOID, MaskCode


@dataclass(frozen=True)
class Label:
    """A row of the table.

    Args:
        name: as the data set spells it.
        id: in mask files.
        category: of the seven judged ones, or `void`.
        train_id: 0…18, or `VOID` for what is not judged.
        colour: RGB in `*_color.png`.
    """

    name: str
    id: int
    category: str
    train_id: int
    colour: tuple[int, int, int]


LABELS = (
    Label("unlabeled", 0, "void", VOID, (0, 0, 0)),
    Label("ego vehicle", 1, "void", VOID, (0, 0, 0)),
    Label("rectification border", 2, "void", VOID, (0, 0, 0)),
    Label("out of roi", 3, "void", VOID, (0, 0, 0)),
    Label("static", 4, "void", VOID, (0, 0, 0)),
    Label("dynamic", 5, "void", VOID, (111, 74, 0)),
    Label("ground", 6, "void", VOID, (81, 0, 81)),
    Label("road", 7, "flat", 0, (128, 64, 128)),
    Label("sidewalk", 8, "flat", 1, (244, 35, 232)),
    Label("parking", 9, "flat", VOID, (250, 170, 160)),
    Label("rail track", 10, "flat", VOID, (230, 150, 140)),
    Label("building", 11, "construction", 2, (70, 70, 70)),
    Label("wall", 12, "construction", 3, (102, 102, 156)),
    Label("fence", 13, "construction", 4, (190, 153, 153)),
    Label("guard rail", 14, "construction", VOID, (180, 165, 180)),
    Label("bridge", 15, "construction", VOID, (150, 100, 100)),
    Label("tunnel", 16, "construction", VOID, (150, 120, 90)),
    Label("pole", 17, "object", 5, (153, 153, 153)),
    Label("polegroup", 18, "object", VOID, (153, 153, 153)),
    Label("traffic light", 19, "object", 6, (250, 170, 30)),
    Label("traffic sign", 20, "object", 7, (220, 220, 0)),
    Label("vegetation", 21, "nature", 8, (107, 142, 35)),
    Label("terrain", 22, "nature", 9, (152, 251, 152)),
    Label("sky", 23, "sky", 10, (70, 130, 180)),
    Label("person", 24, "human", 11, (220, 20, 60)),
    Label("rider", 25, "human", 12, (255, 0, 0)),
    Label("car", 26, "vehicle", 13, (0, 0, 142)),
    Label("truck", 27, "vehicle", 14, (0, 0, 70)),
    Label("bus", 28, "vehicle", 15, (0, 60, 100)),
    Label("caravan", 29, "vehicle", VOID, (0, 0, 90)),
    Label("trailer", 30, "vehicle", VOID, (0, 0, 110)),
    Label("train", 31, "vehicle", 16, (0, 80, 100)),
    Label("motorcycle", 32, "vehicle", 17, (0, 0, 230)),
    Label("bicycle", 33, "vehicle", 18, (119, 11, 32)),
)
JUDGED = tuple(sorted((label for label in LABELS if label.train_id != VOID), key=lambda label: label.train_id))
CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
CATEGORY_OF = tuple(CATEGORIES.index(label.category) for label in JUDGED)
"""The category of each class id, as a place in `CATEGORIES`."""

AVERAGE_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Pixels of an average instance of the classes that have instances; iIoU weighs instances by it."""

# 255 is the licence plate's −1 in an 8-bit file.
CODE = MaskCode(tuple(LABELS[i].train_id if i < len(LABELS) else VOID if i == VOID else UNKNOWN for i in range(256)))


def to_ids(class_ids: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Class ids as the ids that the server wants; `VOID` becomes 0, unlabeled.

    >>> to_ids(np.array([[0, 18, 255]], dtype=np.uint8)).tolist()
    [[7, 33, 0]]
    """
    table = np.zeros(256, dtype=np.uint8)
    table[: len(JUDGED)] = [label.id for label in JUDGED]
    return table[class_ids]

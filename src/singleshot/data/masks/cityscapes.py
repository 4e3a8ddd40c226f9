"""Cityscapes: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `gtFine/…/*_gtFine_labelIds.png` → a `Dataset`.

Three numberings are in use, and confusing them raises no error: `id` is the number in `*_gtFine_labelIds.png` and in
the files that the server takes, `train_id` is 0…18 in the order of the 19 evaluated classes, and our class ids equal
the train ids. Masks are read by their ids and the rest is void, so nothing has to be prepared
(`*_labelTrainIds.png` are not read).
Source: cityscapesScripts, `helpers/labels.py`; average sizes from `evaluation/evalPixelLevelSemanticLabeling.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.classes import CITYSCAPES
from singleshot.data.folders import matching, subfolders
from singleshot.data.masks.files import Pair, masks_without_image, samples_of
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode

IMAGE_FOLDER, MASK_FOLDER = "leftImg8bit", "gtFine"
IMAGE_END, MASK_END, INSTANCE_END = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


@dataclass(frozen=True)
class Label:
    """A row of the table of labels.

    Args:
        name: as the data set spells it.
        id: the number in mask files.
        category: one of the seven evaluated ones, or `void`.
        train_id: 0…18, or `VOID` for a label that is not evaluated.
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
EVALUATED = tuple(sorted((label for label in LABELS if label.train_id != VOID), key=lambda label: label.train_id))
CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
CATEGORY_OF = tuple(CATEGORIES.index(label.category) for label in EVALUATED)
"""The category of each class id, as an index into `CATEGORIES`."""

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


def looks_like(root: Path) -> bool:
    """Return whether a folder has the layout of Cityscapes."""
    return (root / IMAGE_FOLDER).is_dir() and ((root / MASK_FOLDER).is_dir() or (root / IMAGE_FOLDER / "test").is_dir())


def read(root: Path | str, split: str, *, annotated: bool | None = None) -> Dataset:
    """Read one split, in order of city and name.

    Args:
        root: the folder that contains `leftImg8bit` and `gtFine`.
        split: `train`, `val` or `test`, or another folder of `leftImg8bit`.
        annotated: whether the images have masks; None for all splits but `test`, whose public masks are blank.

    Returns:
        Samples with `mask_path` at `*_labelIds.png`. Image ids are `<city>_<sequence>_<frame>`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split has no image (`empty-split`).
    """
    root = Path(root)
    known = splits(root)
    folder = root / IMAGE_FOLDER / split
    if not folder.is_dir():
        remedy = f"There are: {', '.join(known) or 'none'}"
        raise InputMissingError(f"no split {split!r}", remedy=remedy, file=root / IMAGE_FOLDER)
    annotated = split != "test" if annotated is None else annotated
    pairs, masks = [], set[Path]()
    for path in matching(folder, f"*/*{IMAGE_END}"):
        image_id = path.name.removesuffix(IMAGE_END)
        mask = root / MASK_FOLDER / split / path.parent.name / f"{image_id}{MASK_END}"
        masks.add(mask)
        pairs.append(Pair(image_id, path, mask if annotated else None))
    if not pairs:
        raise DataError("0 images in the split", kind="empty-split", remedy="Unpack leftImg8bit here", file=folder)
    samples, faults = samples_of(pairs)
    if annotated:
        alone = [mask for mask in matching(root / MASK_FOLDER / split, f"*/*{MASK_END}") if mask not in masks]
        faults += masks_without_image(alone, f"{IMAGE_FOLDER}/{split}")
    colours = tuple(label.colour for label in EVALUATED)
    return Dataset(root, "cityscapes", split, LabelMap(tuple(CITYSCAPES)), samples, faults, CODE, colours)


def splits(root: Path) -> list[str]:
    """Return the names of a folder's splits, sorted. Raises InputMissingError for another layout."""
    if not looks_like(root):
        remedy = "A Cityscapes folder contains leftImg8bit/ and gtFine/"
        raise InputMissingError("not a Cityscapes folder", remedy=remedy, file=root)
    return [path.name for path in subfolders(root / IMAGE_FOLDER)]


def instance_path(mask_path: Path) -> Path:
    """Return the path of the file that numbers a mask's instances, which may not exist."""
    return mask_path.with_name(mask_path.name.replace(MASK_END, INSTANCE_END))


def to_ids(class_ids: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Return class ids as the ids that the server takes; `VOID` becomes 0, unlabeled.

    >>> to_ids(np.array([[0, 18, 255]], dtype=np.uint8)).tolist()
    [[7, 33, 0]]
    """
    table = np.zeros(256, dtype=np.uint8)
    table[: len(EVALUATED)] = [label.id for label in EVALUATED]
    return table[class_ids]

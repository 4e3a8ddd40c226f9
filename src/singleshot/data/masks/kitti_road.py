"""KITTI road: `training/{image_2,gt_image_2,calib}` and `testing/{image_2,calib}` → a `Dataset` of two classes.

A picture `um_000000.png` has the ground truth `um_road_000000.png`, and in the first category also
`um_lane_000000.png`, which shows the own lane alone and is easily taken for it. Colours follow the development kit:
blue is road, red is the area that is judged, so magenta is road, red is not, and black is neither: other roads, which
a loader of two colours would train as background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from singleshot.classes import KITTI_ROAD
from singleshot.data.masks.mask_samples import Pair, samples_of, without_pictures
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode

CATEGORIES = ("um", "umm", "uu")
CODE = MaskCode((UNKNOWN,) * 256, ((255, 0, 0, 0), (255, 0, 255, 1), (0, 0, 0, VOID), (0, 0, 255, VOID)))
COLOURS = ((255, 0, 0), (255, 0, 255))
SPLITS = ("train", "val", "trainval", "test")
EVERY = 6
"""Every so many pictures of a category go to `val`: KITTI names no validation split. 289 give 242 and 47."""


def looks_like(root: Path) -> bool:
    """Whether a folder is KITTI road's, or holds it as `data_road`."""
    return any((folder / "training" / "gt_image_2").is_dir() for folder in (root, root / "data_road"))


def read(root: Path | str, split: str) -> Dataset:
    """One split, in order of name.

    Args:
        root: the folder that holds `training`, or one in which it lies as `data_road`.
        split: `train` and `val` (every sixth picture of each category), `trainval` (all with ground truth), or
            `test` (no masks).

    Returns:
        Samples whose `mask_path` is the ground truth; classes are `classes.KITTI_ROAD`. Image ids are file stems, so
        that a category is what stands before the underscore (`category_of`).

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split has no picture (`empty-split`).
    """
    root = Path(root)
    if split not in SPLITS:
        raise InputMissingError(f"no split {split!r}", remedy=f"There are: {', '.join(SPLITS)}", file=root)
    if not looks_like(root):
        remedy = "A KITTI road folder holds training/image_2 and training/gt_image_2"
        raise InputMissingError("not a KITTI road folder", remedy=remedy, file=root)
    folder = root if (root / "training").is_dir() else root / "data_road"
    folder = folder / ("testing" if split == "test" else "training")
    images = {path.stem: path for path in sorted((folder / "image_2").glob("*.png"))}
    truths = {path.name: path for path in sorted((folder / "gt_image_2").glob("*_road_*.png"))}
    part = _parts(images)
    chosen = [stem for stem in images if split in ("test", "trainval") or part[stem] == split]
    pairs = [
        Pair(stem, images[stem], None if split == "test" else folder / "gt_image_2" / result_name(stem))
        for stem in chosen
    ]
    samples, faults = samples_of(pairs)
    if split != "test":
        known = {result_name(stem) for stem in images}
        alone = [path for name, path in truths.items() if name not in known]
        faults += without_pictures(alone, "image_2")
    if not samples and not faults:
        raise DataError(f"0 pictures in {split}", kind="empty-split", remedy="Use another split", file=folder)
    return Dataset(root, "kitti_road", split, LabelMap(tuple(KITTI_ROAD)), samples, faults, CODE, COLOURS)


def category_of(image_id: str) -> str:
    """`um`, `umm` or `uu`.

    >>> category_of("umm_000012")
    'umm'
    """
    return image_id.partition("_")[0]


def calibration_path(image_path: Path) -> Path:
    """Where the calibration of a picture lies, if it is there."""
    return image_path.parent.parent / "calib" / f"{image_path.stem}.txt"


def result_name(image_id: str) -> str:
    """The file name of a picture's ground truth, under which the server wants a result too: `um_road_000000.png`."""
    category, _, number = image_id.partition("_")
    return f"{category}_road_{number}.png"


def _parts(image_ids: Iterable[str]) -> dict[str, str]:
    """`train` or `val` for each picture, counted by category."""
    part, seen = dict[str, str](), Counter[str]()
    for image_id in image_ids:
        category = category_of(image_id)
        seen[category] += 1
        part[image_id] = "train" if seen[category] % EVERY else "val"
    return part

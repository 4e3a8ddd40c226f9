"""KITTI road: `training/{image_2,gt_image_2,calib}` and `testing/{image_2,calib}` → a `Dataset` of two classes.

An image `um_000000.png` has the ground truth `um_road_000000.png`, and in the first category also
`um_lane_000000.png`, which marks only the lane of the car and is easily confused with it. Colours follow the
development kit: blue is road, red is the area that is evaluated, so magenta is road, red is not, and black is neither:
other roads, which a loader of two colours would train as background.

The official ranking evaluates a bird's-eye view, so that far pixels count by metres and not by area. A calibration
file gives the projection of the road plane into the image: P2 · R0_rect · inverse of Tr_cam_to_road, of which columns
0, 2 and 3 are a homography, because points on the road have y = 0. Each cell of the view, 5 cm a side, takes the pixel
that contains its centre; cells outside the image are not evaluated.
Conventions: the KITTI road development kit (x −10…10 m to the right, z 6…46 m ahead; 800 rows, the far end on top;
pixels are counted from 1, so that the point (u, v) is in row ⌊v⌋ − 1 and column ⌊u⌋ − 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.classes import KITTI_ROAD
from singleshot.data.folders import matching
from singleshot.data.masks.files import Pair, masks_without_image, samples_of
from singleshot.errors import DataError, InputMissingError
from singleshot.storage.files import file_bytes
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode

CATEGORIES = ("um", "umm", "uu")
CODE = MaskCode((UNKNOWN,) * 256, ((255, 0, 0, 0), (255, 0, 255, 1), (0, 0, 0, VOID), (0, 0, 255, VOID)))
COLOURS = ((255, 0, 0), (255, 0, 255))
SPLITS = ("train", "val", "trainval", "test")
VAL_EVERY = 6
"""One of so many images of a category is in `val`: KITTI defines no validation split. 289 give 242 and 47."""

CELL_M = 0.05
X_M, Z_M = (-10.0, 10.0), (6.0, 46.0)
VIEW_HW = (800, 400)
MAX_CALIBRATION_BYTES = 1 << 20
MIN_DETERMINANT = 1e-6
"""A rotation has the determinant 1; a matrix below this is not one, and its inverse may overflow or not exist."""
_MATRIX_SHAPES = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_cam_to_road": (3, 4)}


def looks_like(root: Path) -> bool:
    """Return whether a folder has the layout of KITTI road, or contains it as `data_road`."""
    return any((folder / "training" / "gt_image_2").is_dir() for folder in (root, root / "data_road"))


def read(root: Path | str, split: str) -> Dataset:
    """Read one split, in order of name.

    Args:
        root: the folder that contains `training`, or contains `data_road`.
        split: `train` and `val` (every sixth image of each category), `trainval` (all with ground truth), or
            `test` (no masks).

    Returns:
        Samples whose `mask_path` is the ground truth; classes are `classes.KITTI_ROAD`. Image ids are file stems, so
        that an image's category is the part before the underscore (`category_of`).

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split has no image (`empty-split`).
    """
    root = Path(root)
    if split not in SPLITS:
        raise InputMissingError(f"no split {split!r}", remedy=f"There are: {', '.join(SPLITS)}", file=root)
    if not looks_like(root):
        remedy = "A KITTI road folder contains training/image_2 and training/gt_image_2"
        raise InputMissingError("not a KITTI road folder", remedy=remedy, file=root)
    folder = root if (root / "training").is_dir() else root / "data_road"
    folder = folder / ("testing" if split == "test" else "training")
    images = {path.stem: path for path in matching(folder / "image_2", "*.png")}
    masks = {path.name: path for path in matching(folder / "gt_image_2", "*_road_*.png")}
    split_of = _train_or_val(images)
    chosen = [image_id for image_id in images if split in ("test", "trainval") or split_of[image_id] == split]
    pairs = [
        Pair(stem, images[stem], None if split == "test" else folder / "gt_image_2" / result_name(stem))
        for stem in chosen
    ]
    samples, faults = samples_of(pairs)
    if split != "test":
        known = {result_name(image_id) for image_id in images}
        faults += masks_without_image([path for name, path in masks.items() if name not in known], "image_2")
    if not samples and not faults:
        raise DataError(f"0 images in {split}", kind="empty-split", remedy="Use another split", file=folder)
    return Dataset(root, "kitti_road", split, LabelMap(tuple(KITTI_ROAD)), samples, faults, CODE, COLOURS)


def category_of(image_id: str) -> str:
    """Return `um`, `umm` or `uu`.

    >>> category_of("umm_000012")
    'umm'
    """
    return image_id.partition("_")[0]


def result_name(image_id: str) -> str:
    """Return the file name of an image's ground truth, which is also that of a result: `um_road_000000.png`."""
    category, _, number = image_id.partition("_")
    return f"{category}_road_{number}.png"


def _train_or_val(image_ids: Iterable[str]) -> dict[str, str]:
    """Return `train` or `val` for each image, counted within its category."""
    split_of, counts = dict[str, str](), Counter[str]()
    for image_id in image_ids:
        category = category_of(image_id)
        counts[category] += 1
        split_of[image_id] = "train" if counts[category] % VAL_EVERY else "val"
    return split_of


def calibration_path(image_path: Path) -> Path:
    """Return the path of an image's calibration file, which may not exist."""
    return image_path.parent.parent / "calib" / f"{image_path.stem}.txt"


def read_calibration(path: Path) -> dict[str, Float[ndarray, "_ _"]]:
    """Read the matrices `P2`, `R0_rect` and `Tr_cam_to_road` of a file with a line `name: numbers` each.

    Raises:
        InputMissingError: the file does not exist.
        DataError: a matrix is missing, has another count of finite numbers, or is a rotation without an inverse.
    """
    remedy = "Take the calibration that came with the image"
    text = file_bytes(path, MAX_CALIBRATION_BYTES).decode("utf-8", "replace")
    found: dict[str, Float[ndarray, "_ _"]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, rest = line.partition(":")
        name = name.strip()
        shape = _MATRIX_SHAPES.get(name)
        if shape is None:
            continue
        try:
            values = np.array([float(word) for word in rest.split()])
        except ValueError as error:
            raise DataError(f"{name} contains something else than numbers", file=path, line=number) from error
        if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
            message = f"{name} has {values.size} numbers and not {shape[0] * shape[1]} finite ones"
            raise DataError(message, remedy=remedy, file=path, line=number)
        found[name] = values.reshape(shape)
        if name == "Tr_cam_to_road" and abs(np.linalg.det(found[name][:, :3])) < MIN_DETERMINANT:
            message = "Tr_cam_to_road is not a rotation: its first three columns have no inverse"
            raise DataError(message, remedy=remedy, file=path, line=number)
    missing = [name for name in _MATRIX_SHAPES if name not in found]
    if missing:
        raise DataError(f"{' and '.join(missing)} missing", remedy="Take KITTI road's own calib files", file=path)
    return found


def homography(calibration: dict[str, Float[ndarray, "_ _"]]) -> Float[ndarray, "3 3"]:
    """Return the matrix that maps (x, z, 1) in metres on the road to (u·w, v·w, w) in pixels of the image."""
    rectify, to_road = np.eye(4), np.eye(4)
    rectify[:3, :3] = calibration["R0_rect"]
    to_road[:3] = calibration["Tr_cam_to_road"]
    projection = calibration["P2"] @ rectify @ np.linalg.inv(to_road)
    return projection[:, [0, 2, 3]]


def birds_eye_pixels(
    matrix: Float[ndarray, "3 3"], size_hw: tuple[int, int]
) -> tuple[Int[ndarray, "800 400"], Int[ndarray, "800 400"], Bool[ndarray, "800 400"]]:
    """Return for each cell of the view its row and column in an image of that size, and whether it is inside."""
    x = np.arange(VIEW_HW[1]) * CELL_M + X_M[0] + CELL_M / 2
    z = Z_M[1] - CELL_M / 2 - np.arange(VIEW_HW[0]) * CELL_M
    across, ahead = np.meshgrid(x, z)
    u, v, w = np.tensordot(matrix, np.stack([across, ahead, np.ones_like(across)]), axes=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = u / w, v / w
    height, width = size_hw
    inside = (w > 0) & (u >= 1) & (u <= width) & (v >= 1) & (v <= height)
    row, column = (np.where(inside, each, 1).astype(np.int64) - 1 for each in (v, u))
    return row, column, inside


def birds_eye_view(
    image: UInt8[ndarray, "H W"], matrix: Float[ndarray, "3 3"], *, outside: int
) -> UInt8[ndarray, "800 400"]:
    """Return the bird's-eye view of a mask or a map of probability, with `outside` beyond the image."""
    height, width = image.shape
    rows, columns, inside = birds_eye_pixels(matrix, (height, width))
    return np.where(inside, image[rows, columns], np.uint8(outside))

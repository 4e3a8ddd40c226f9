"""The road seen from above: KITTI's official ranking judges there, so that far pixels count by metres and not by area.

A calibration file gives the way from the road plane to the picture: P2 · R0_rect · inverse of Tr_cam_to_road, of
which columns 0, 2 and 3 are a homography, because points on the road have y = 0. Each cell of the view, 5 cm a side,
takes the pixel that holds its centre; cells that fall outside the picture are not judged.
Conventions: the KITTI road development kit (x −10…10 m to the right, z 6…46 m ahead; 800 rows, the far end on top;
pixels are counted from 1, so that the point (u, v) lies in row ⌊v⌋ − 1 and column ⌊u⌋ − 1).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.storage.files import file_bytes

CELL_M = 0.05
X_M, Z_M = (-10.0, 10.0), (6.0, 46.0)
SIZE_HW = (800, 400)
MAX_BYTES = 1 << 20
LEAST_TURN = 1e-6
"""A rotation has the determinant 1; below this a matrix is none, and its inverse may overflow or not exist."""
_ROWS = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_cam_to_road": (3, 4)}


def read_calibration(path: Path) -> dict[str, Float[ndarray, "_ _"]]:
    """The matrices `P2`, `R0_rect` and `Tr_cam_to_road` of a file with a line `name: numbers` each.

    Raises:
        InputMissingError: there is no such file.
        DataError: a matrix is missing, has not its count of finite numbers, or is the way to a road without a way back.
    """
    text = file_bytes(path, MAX_BYTES).decode("utf-8", "replace")
    found: dict[str, Float[ndarray, "_ _"]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, rest = line.partition(":")
        shape = _ROWS.get(name.strip())
        if shape is None:
            continue
        try:
            values = np.array([float(word) for word in rest.split()])
        except ValueError as error:
            raise DataError(f"{name} holds something else than numbers", file=path, line=number) from error
        if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
            what = f"{name} has {values.size} numbers and not {shape[0] * shape[1]} finite ones"
            raise DataError(what, remedy="Take the calibration that came with the picture", file=path, line=number)
        found[name.strip()] = values.reshape(shape)
        if name.strip() == "Tr_cam_to_road" and abs(np.linalg.det(found["Tr_cam_to_road"][:, :3])) < LEAST_TURN:
            what = "Tr_cam_to_road turns nothing round: its first three columns have no inverse"
            raise DataError(what, remedy="Take the calibration that came with the picture", file=path, line=number)
    missing = [name for name in _ROWS if name not in found]
    if missing:
        raise DataError(f"{' and '.join(missing)} missing", remedy="Take KITTI road's own calib files", file=path)
    return found


def homography(calibration: dict[str, Float[ndarray, "_ _"]]) -> Float[ndarray, "3 3"]:
    """From (x, z, 1) in metres on the road to (u·w, v·w, w) in pixels of the picture."""
    rectify, to_road = np.eye(4), np.eye(4)
    rectify[:3, :3] = calibration["R0_rect"]
    to_road[:3] = calibration["Tr_cam_to_road"]
    projection = calibration["P2"] @ rectify @ np.linalg.inv(to_road)
    return projection[:, [0, 2, 3]]


def look_up(
    matrix: Float[ndarray, "3 3"], size_hw: tuple[int, int]
) -> tuple[Int[ndarray, "800 400"], Int[ndarray, "800 400"], Bool[ndarray, "800 400"]]:
    """For each cell of the view its row and column in a picture of that size, and whether it lies in it."""
    x = np.arange(SIZE_HW[1]) * CELL_M + X_M[0] + CELL_M / 2
    z = Z_M[1] - CELL_M / 2 - np.arange(SIZE_HW[0]) * CELL_M
    across, ahead = np.meshgrid(x, z)
    u, v, w = np.tensordot(matrix, np.stack([across, ahead, np.ones_like(across)]), axes=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = u / w, v / w
    height, width = size_hw
    seen = (w > 0) & (u >= 1) & (u <= width) & (v >= 1) & (v <= height)
    row, column = (np.where(seen, place, 1).astype(np.int64) - 1 for place in (v, u))
    return row, column, seen


def from_above(
    picture: UInt8[ndarray, "H W"], matrix: Float[ndarray, "3 3"], *, outside: int
) -> UInt8[ndarray, "800 400"]:
    """A mask or a map of probability seen from above; `outside` where the picture does not reach."""
    height, width = picture.shape
    rows, columns, seen = look_up(matrix, (height, width))
    return np.where(seen, picture[rows, columns], np.uint8(outside))

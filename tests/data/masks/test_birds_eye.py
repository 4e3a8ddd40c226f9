from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.data.masks import birds_eye
from singleshot.errors import DataError, InputMissingError

# A camera 1.5 m above the road that looks straight ahead: focal length 100 px, centre (200, 50). A road point
# (x, z) has camera coordinates (x, 1.5, z), so u = 100·x/z + 200 and v = 150/z + 50.
P2 = "100 0 200 0 0 100 50 0 0 0 1 0"
EYE = "1 0 0 0 1 0 0 0 1"
TO_ROAD = "1 0 0 0 0 1 0 -1.5 0 0 1 0"


def calibration(path: Path, *, p2: str = P2, eye: str = EYE, to_road: str = TO_ROAD) -> Path:
    path.write_text(f"P0: 1 2 3\nP2: {p2}\nR0_rect: {eye}\nTr_cam_to_road: {to_road}\n\n")
    return path


def test_a_point_on_the_road_comes_where_it_was_worked_out_by_hand(tmp_path: Path) -> None:
    matrix = birds_eye.homography(birds_eye.read_calibration(calibration(tmp_path / "c.txt")))
    u, v, w = matrix @ np.array([2.0, 10.0, 1.0])
    assert (u / w, v / w) == (pytest.approx(220.0), pytest.approx(65.0))


def test_cells_take_the_devkits_pixel_and_the_far_end_is_on_top(tmp_path: Path) -> None:
    matrix = birds_eye.homography(birds_eye.read_calibration(calibration(tmp_path / "c.txt")))
    rows, columns, seen = birds_eye.look_up(matrix, (100, 400))
    assert rows.shape == (800, 400)
    # Cell (0, 200): x = 0.025 m, z = 45.975 m: u = 200.05, v = 53.26, which is column 200 and row 53 counted from 1.
    assert (rows[0, 200], columns[0, 200], bool(seen[0, 200])) == (52, 199, True)
    # Cell (799, 0): x = −9.975 m, z = 6.025 m: u = 34.44, v = 74.90.
    assert (rows[799, 0], columns[799, 0], bool(seen[799, 0])) == (73, 33, True)


def test_what_the_picture_does_not_reach_is_outside(tmp_path: Path) -> None:
    matrix = birds_eye.homography(birds_eye.read_calibration(calibration(tmp_path / "c.txt")))
    view = birds_eye.from_above(np.ones((60, 400), np.uint8), matrix, outside=255)
    assert view.shape == birds_eye.SIZE_HW
    # v up to 60 needs z of 150 / 10 = 15 m and more: (46 − 15) / 0.05 = 620 rows from the top.
    assert view[:620, 200].max() == 1 and view[620:, 200].min() == 255
    # u = 100·x/z + 200 from 1 on needs x ≥ −1.99·z: nearer than 5 m, and so everywhere; in a narrow picture it is not.
    narrow = birds_eye.from_above(np.ones((400, 200), np.uint8), matrix, outside=255)
    assert narrow[0, 199] == 1 and narrow[0, 200] == 255  # u is 199.95, and 200.05


def test_a_turned_camera_is_turned_back(tmp_path: Path) -> None:
    # The camera's x and y exchanged: what was to the right is below.
    turned = calibration(tmp_path / "t.txt", to_road="0 1 0 0 1 0 0 -1.5 0 0 1 0")
    matrix = birds_eye.homography(birds_eye.read_calibration(turned))
    u, v, w = matrix @ np.array([2.0, 10.0, 1.0])
    assert (u / w, v / w) == (pytest.approx(100 * 1.5 / 10 + 200), pytest.approx(100 * 2 / 10 + 50))


@pytest.mark.parametrize(
    "changes", [{"p2": "1 2 3"}, {"eye": "1 0 0 0 1 0 0 0 x"}, {"to_road": "nan " * 12}, {"to_road": "1 " * 12}]
)
def test_a_malformed_calibration_is_refused_with_its_line(tmp_path: Path, changes: dict[str, str]) -> None:
    path = calibration(tmp_path / "c.txt", **changes)
    with pytest.raises(DataError) as raised:
        birds_eye.read_calibration(path)
    assert raised.value.file == path and raised.value.line in (2, 3, 4)


def test_a_missing_matrix_or_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(f"P2: {P2}\n")
    with pytest.raises(DataError, match="R0_rect and Tr_cam_to_road missing"):
        birds_eye.read_calibration(tmp_path / "c.txt")
    with pytest.raises(InputMissingError):
        birds_eye.read_calibration(tmp_path / "none.txt")

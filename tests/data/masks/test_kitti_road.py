from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.masks import files as mask_files
from singleshot.data.masks import kitti_road
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import VOID

RED, MAGENTA, BLACK = (255, 0, 0), (255, 0, 255), (0, 0, 0)


@pytest.fixture
def road(tmp_path: Path) -> Path:
    for part in ("training/image_2", "training/gt_image_2", "testing/image_2"):
        (tmp_path / "data_road" / part).mkdir(parents=True)
    training = tmp_path / "data_road" / "training"
    for category, count in (("um", 7), ("umm", 6), ("uu", 1)):
        for i in range(count):
            cv2.imwrite(str(training / "image_2" / f"{category}_{i:06d}.png"), np.zeros((4, 6, 3), np.uint8))
            mask = np.array([[RED, MAGENTA, BLACK] * 2] * 4, np.uint8)
            cv2.imwrite(str(training / "gt_image_2" / f"{category}_road_{i:06d}.png"), mask[..., ::-1])
            if category == "um":
                lane = np.array([[RED] * 6] * 4, np.uint8)
                cv2.imwrite(str(training / "gt_image_2" / f"um_lane_{i:06d}.png"), lane[..., ::-1])
    cv2.imwrite(str(tmp_path / "data_road/testing/image_2/um_000000.png"), np.zeros((4, 6, 3), np.uint8))
    return tmp_path


def test_every_sixth_image_of_a_category_is_in_val_and_none_in_both(road: Path) -> None:
    train, val = (kitti_road.read(road, split) for split in ("train", "val"))
    assert [sample.image_id for sample in val.samples] == ["um_000005", "umm_000005"]
    assert len(train) == 12 and not train.faults
    assert len(kitti_road.read(road / "data_road", "trainval")) == 14


def test_black_is_void_and_lane_files_are_not_read_as_roads(road: Path) -> None:
    split = kitti_road.read(road, "train")
    path = split.samples[0].mask_path
    assert path is not None and path.name == "um_road_000000.png" and split.mask_code is not None
    assert mask_files.read(path, split.mask_code)[0].tolist() == [0, 1, VOID] * 2


def test_the_test_split_has_no_masks(road: Path) -> None:
    (sample,) = kitti_road.read(road, "test").samples
    assert sample.mask_path is None
    assert kitti_road.result_name(sample.image_id) == "um_road_000000.png"


def test_a19_a_missing_mask_and_a_mask_without_image_are_faults(road: Path) -> None:
    masks = road / "data_road/training/gt_image_2"
    (masks / "umm_road_000000.png").rename(masks / "uu_road_000009.png")
    split = kitti_road.read(road, "train")
    assert sorted(fault.kind for fault in split.faults) == ["missing-mask", "missing-picture"]


def test_an_unknown_split_or_folder_is_refused(road: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="There are: train, val"):
        kitti_road.read(road, "training")
    assert not kitti_road.looks_like(tmp_path / "elsewhere")
    with pytest.raises(InputMissingError, match="not a KITTI road folder"):
        kitti_road.read(tmp_path / "elsewhere", "train")
    for image in (road / "data_road/testing/image_2").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="0 images"):
        kitti_road.read(road, "test")


def test_the_published_sample_is_read(shared: Path) -> None:
    split = kitti_road.read(shared / "data/kitti_road_sample", "train")
    (sample,) = split.samples
    assert sample.size_hw == (375, 1242) and sample.mask_path is not None and split.mask_code is not None
    counts = np.bincount(mask_files.read(sample.mask_path, split.mask_code).ravel(), minlength=256)
    assert counts[[0, 1, VOID]].tolist() == [398964, 61316, 5470]


# A camera 1.5 m above the road that looks straight ahead: focal length 100 px, centre (200, 50). A road point
# (x, z) has camera coordinates (x, 1.5, z), so u = 100·x/z + 200 and v = 150/z + 50.
P2 = "100 0 200 0 0 100 50 0 0 0 1 0"
EYE = "1 0 0 0 1 0 0 0 1"
TO_ROAD = "1 0 0 0 0 1 0 -1.5 0 0 1 0"


def calibration(path: Path, *, p2: str = P2, eye: str = EYE, to_road: str = TO_ROAD) -> Path:
    path.write_text(f"P0: 1 2 3\nP2: {p2}\nR0_rect: {eye}\nTr_cam_to_road: {to_road}\n\n")
    return path


def test_a_road_point_projects_to_the_pixel_worked_out_by_hand(tmp_path: Path) -> None:
    matrix = kitti_road.homography(kitti_road.read_calibration(calibration(tmp_path / "c.txt")))
    u, v, w = matrix @ np.array([2.0, 10.0, 1.0])
    assert (u / w, v / w) == (pytest.approx(220.0), pytest.approx(65.0))


def test_cells_take_the_pixel_of_the_devkit_and_the_far_end_is_on_top(tmp_path: Path) -> None:
    matrix = kitti_road.homography(kitti_road.read_calibration(calibration(tmp_path / "c.txt")))
    rows, columns, inside = kitti_road.birds_eye_pixels(matrix, (100, 400))
    assert rows.shape == (800, 400)
    # Cell (0, 200): x = 0.025 m, z = 45.975 m: u = 200.05, v = 53.26, which is column 200 and row 53 counted from 1.
    assert (rows[0, 200], columns[0, 200], bool(inside[0, 200])) == (52, 199, True)
    # Cell (799, 0): x = −9.975 m, z = 6.025 m: u = 34.44, v = 74.90.
    assert (rows[799, 0], columns[799, 0], bool(inside[799, 0])) == (73, 33, True)


def test_cells_beyond_the_image_get_the_outside_value(tmp_path: Path) -> None:
    matrix = kitti_road.homography(kitti_road.read_calibration(calibration(tmp_path / "c.txt")))
    view = kitti_road.birds_eye_view(np.ones((60, 400), np.uint8), matrix, outside=255)
    assert view.shape == kitti_road.VIEW_HW
    # v up to 60 needs z of 150 / 10 = 15 m and more: (46 − 15) / 0.05 = 620 rows from the top.
    assert view[:620, 200].max() == 1 and view[620:, 200].min() == 255
    # u = 100·x/z + 200 from 1 on needs x ≥ −1.99·z: nearer than 5 m, and so everywhere; in a narrow image it is not.
    narrow = kitti_road.birds_eye_view(np.ones((400, 200), np.uint8), matrix, outside=255)
    assert narrow[0, 199] == 1 and narrow[0, 200] == 255  # u is 199.95, and 200.05


def test_a_rotated_camera_is_rectified(tmp_path: Path) -> None:
    # The camera's x and y exchanged: what was to the right is below.
    turned = calibration(tmp_path / "t.txt", to_road="0 1 0 0 1 0 0 -1.5 0 0 1 0")
    matrix = kitti_road.homography(kitti_road.read_calibration(turned))
    u, v, w = matrix @ np.array([2.0, 10.0, 1.0])
    assert (u / w, v / w) == (pytest.approx(100 * 1.5 / 10 + 200), pytest.approx(100 * 2 / 10 + 50))


@pytest.mark.parametrize(
    "changes", [{"p2": "1 2 3"}, {"eye": "1 0 0 0 1 0 0 0 x"}, {"to_road": "nan " * 12}, {"to_road": "1 " * 12}]
)
def test_a_malformed_calibration_is_refused_with_its_line(tmp_path: Path, changes: dict[str, str]) -> None:
    path = calibration(tmp_path / "c.txt", **changes)
    with pytest.raises(DataError) as raised:
        kitti_road.read_calibration(path)
    assert raised.value.file == path and raised.value.line in (2, 3, 4)


def test_a_missing_matrix_or_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(f"P2: {P2}\n")
    with pytest.raises(DataError, match="R0_rect and Tr_cam_to_road missing"):
        kitti_road.read_calibration(tmp_path / "c.txt")
    with pytest.raises(InputMissingError):
        kitti_road.read_calibration(tmp_path / "none.txt")

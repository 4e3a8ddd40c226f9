from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.masks import folders as mask_folders
from singleshot.data.masks import kitti_road
from singleshot.errors import DataError
from singleshot.evaluation.maxf import MaxF, for_server, maxf_table, plane_note
from singleshot.structures import VOID, Dataset

CALIBRATION = (
    "P2: 100 0 200 0 0 100 50 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_cam_to_road: 1 0 0 0 0 1 0 -1.5 0 0 1 0\n"
)


@pytest.fixture
def road(tmp_path: Path) -> Dataset:
    for part in ("image_2", "gt_image_2"):
        (tmp_path / "training" / part).mkdir(parents=True)
    for name in ("um_000000", "uu_000000"):
        cv2.imwrite(str(tmp_path / f"training/image_2/{name}.png"), np.zeros((80, 400, 3), np.uint8))
        truth = np.zeros((80, 400, 3), np.uint8)
        truth[:, :, 2] = 255
        truth[52:, 100:300, 0] = 255
        cv2.imwrite(str(tmp_path / "training/gt_image_2" / kitti_road.result_name(name)), truth)
    return kitti_road.read(tmp_path, "train")


def calibrate(road: Dataset) -> None:
    for sample in road.samples:
        path = kitti_road.calibration_path(sample.image_path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(CALIBRATION)


def truth_and_perfect() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((80, 400), np.uint8)
    truth[52:, 100:300] = 1
    return truth, truth * np.uint8(255)


def test_categories_are_pooled_apart_and_together(road: Dataset) -> None:
    truth, perfect = truth_and_perfect()
    metric = MaxF(road)
    metric.add(0, truth, perfect)
    metric.add(1, truth, np.zeros_like(perfect))
    report = metric.compute()
    said = report.as_json()
    assert said["plane"] == "in_picture" and said["from_above"] is None and said["images"] == 2
    assert set(said["categories"]) == {"um", "uu", "urban"}
    assert said["categories"]["um"]["maxf"] == 1.0
    share = truth.mean()
    assert said["categories"]["uu"]["maxf"] == pytest.approx(2 * share / (1 + share))
    assert said["maxf"] == report.maxf and said["threshold"] == 1 and said["rec"] == 0.5
    assert "calib" in (plane_note(report) or "") and maxf_table(report).row_count == 3


def test_with_calibrations_the_view_from_above_ranks(road: Dataset) -> None:
    calibrate(road)
    truth, perfect = truth_and_perfect()
    metric = MaxF(road)
    for index in range(2):
        metric.add(index, truth, perfect)
    report = metric.compute()
    assert report.plane == "from_above" and report.maxf == 1.0 and plane_note(report) is None
    # Far pixels count by metres: a mistake at the horizon costs more from above than in the picture.
    truth[:, :200] = perfect[:, :200] = 0  # so that calling everything road is a bad answer
    wrong = perfect.copy()
    wrong[52:60] = 0
    metric = MaxF(road)
    for index in range(2):
        metric.add(index, truth, wrong)
    said = metric.compute().as_json()
    # In the picture 20 of 28 rows are right and nothing is false.
    assert said["in_picture"]["urban"]["maxf"] == pytest.approx(2 * (20 / 28) / (1 + 20 / 28))
    assert said["from_above"]["urban"]["maxf"] < said["in_picture"]["urban"]["maxf"]
    assert said["maxf"] == said["from_above"]["urban"]["maxf"]


def test_a_result_from_above_is_evaluated_from_above_alone(road: Dataset) -> None:
    calibrate(road)
    truth, perfect = truth_and_perfect()
    in_picture, above = for_server(perfect, road.samples[0].image_path)
    assert (in_picture == perfect).all() and above is not None and above.shape == kitti_road.VIEW_HW
    metric = MaxF(road)
    metric.add(0, truth, above)
    report = metric.compute()
    assert report.in_picture is None and report.maxf == 1.0


def test_g13_a_map_of_another_size_is_refused(road: Dataset) -> None:
    truth, _ = truth_and_perfect()
    for shape in ((40, 200), kitti_road.VIEW_HW):  # nothing is from above without a calibration
        with pytest.raises(DataError, match="the image 400×80"):
            MaxF(road).add(0, truth, np.zeros(shape, np.uint8))


def test_ranks_that_share_the_work_give_the_same_figures(road: Dataset) -> None:
    truth, perfect = truth_and_perfect()
    alone, first, second, whole = (MaxF(road) for _ in range(4))
    for index, metric in enumerate((first, second)):
        metric.add(index, truth, perfect // np.uint8(index + 1))
        alone.add(index, truth, perfect // np.uint8(index + 1))
    whole.merge([first.state(), second.state()])
    assert whole.compute().as_json() == alone.compute().as_json()


def test_void_alone_gives_no_figures(road: Dataset) -> None:
    metric = MaxF(road)
    metric.add(0, np.full((80, 400), VOID, np.uint8), np.zeros((80, 400), np.uint8))
    assert metric.compute().maxf is None


def test_more_than_two_classes_are_refused(shared: Path) -> None:
    with pytest.raises(DataError, match="Use --metric miou"):
        MaxF(mask_folders.read(shared / "data/camvid", "val"))

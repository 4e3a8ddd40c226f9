from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.errors import DataError, FaultyDataError, InputMissingError
from singleshot.exporting import calibration
from singleshot.prediction.predictor import Detector
from singleshot.streets import write
from tests.conftest import MaskFolder
from tests.exporting import made


def test_a_plain_folder_gives_images_and_no_score(tmp_path: Path):
    for place, image in enumerate(made.pictures(3)):
        cv2.imwrite(str(tmp_path / f"{place}.png"), image)
    found = calibration.read(tmp_path, made.detector())
    assert len(found.files) == 3 and found.dataset is None
    inputs = calibration.inputs_of(found.files, made.network().config.preprocess)
    assert [each.shape for each in inputs] == [(1, *made.SIZE_HW, 3)] * 3 and inputs[0].dtype == np.uint8


def test_a_data_set_gives_both_and_an_export_that_is_the_model_loses_nothing(tmp_path: Path):
    root = write.make(tmp_path / "data", train=1, val=2, test=1, workers=1)
    found = calibration.read(root, made.detector())
    assert len(found.files) == 2 and found.dataset is not None and found.dataset.split == "val"
    cost = calibration.cost(made.detector(), made.detector(), found.dataset)
    assert cost.before == cost.after is not None and "0.00 points lost" in str(cost)


def test_a_segmenters_cost_is_reported_in_mean_iou(halves: MaskFolder):
    segmenter = made.segmenter()
    with pytest.raises(DataError, match="the split's classes are dark, bright"):
        calibration.read(halves.root, segmenter)


def test_an_empty_folder_and_other_classes_are_refused(tmp_path: Path):
    with pytest.raises(InputMissingError, match="no pictures to calibrate on"):
        calibration.read(tmp_path, made.detector())
    with pytest.raises(InputMissingError):
        calibration.read(tmp_path / "none", made.detector())
    assert isinstance(made.detector(), Detector)


def test_faulty_annotations_are_refused_and_the_way_round_them_is_reported(tmp_path: Path):
    root = write.make(tmp_path / "data", train=1, val=2, test=1, workers=1)
    (split,) = (root / "ImageSets/Main").glob("val.txt")
    files = [root / "Annotations" / f"{name}.xml" for name in split.read_text().split()]
    file = next(each for each in files if "<name>car" in each.read_text())
    file.write_text(file.read_text().replace("<name>car", "<name>Car"))
    with pytest.raises(FaultyDataError, match=r"'Car' is unknown[\s\S]*calibrate on a folder that holds pictures"):
        calibration.read(root, made.detector())
    assert calibration.read(root / "JPEGImages", made.detector()).dataset is None


def test_a_data_set_without_a_split_is_a_missing_input(tmp_path: Path):
    (tmp_path / "data.yaml").write_text("names: [car]\n")
    with pytest.raises(InputMissingError, match="no split"):
        calibration.read(tmp_path, made.detector())


def test_nothing_to_find_is_no_score():
    assert "no score" in str(calibration.Cost("voc07", None, None, 3, "val"))

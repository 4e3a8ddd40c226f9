from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.data import read
from singleshot.data.masks import roboflow
from singleshot.errors import DataError, InputMissingError
from tests.data.exports import image, mask, roboflow_masks, text


def test_folders_are_splits_and_the_validation_folder_is_val(tmp_path: Path) -> None:
    roboflow_masks(tmp_path)
    (tmp_path / "train").rename(tmp_path / "valid")
    roboflow_masks(tmp_path)
    assert read.splits(tmp_path, with_masks=True) == ["train", "val"]
    assert len(read.read(tmp_path, "val", with_masks=True)) == 3
    with pytest.raises(InputMissingError, match="no split 'test'"):
        roboflow.read(tmp_path, "test")
    assert roboflow.splits(tmp_path / "train") == ["all"] and not roboflow.looks_like(tmp_path / "none")
    text(tmp_path / "valid" / "_classes.csv", "Pixel Value, Class\n0, background\n1, dog\n2, cat\n")
    with pytest.raises(DataError, match="its classes are not those of"):
        roboflow.read(tmp_path, "val")


def test_an_image_without_mask_and_a_mask_without_image_are_faults(tmp_path: Path) -> None:
    roboflow_masks(tmp_path)
    image(tmp_path / "train" / "x.jpg")
    mask(tmp_path / "train" / "y_mask.png")
    found = {fault.kind: fault.file.name for fault in roboflow.read(tmp_path, "train").faults}
    assert found == {"missing-mask": "x.jpg", "missing-picture": "y_mask.png"}


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("Pixel Value, Class\n0, background\n0, cat\n", 3, "number 0 is there twice"),
        ("Pixel Value, Class\nx, cat\n", 2, "'x, cat' is not a number below 255"),
        ("Pixel Value, Class\n255, cat\n", 2, "'255, cat' is not"),
        ("0, background\n1\n", 2, "'1' is not"),
        pytest.param(f"0, background\n{'9' * 5000}, cat\n", 2, "is not a number below 255", id="long"),
        ("Pixel Value, Class\n", 1, "no classes"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(table: str, line: int, said: str, tmp_path: Path) -> None:
    text(tmp_path / "_classes.csv", table)
    with pytest.raises(DataError, match=said) as raised:
        roboflow.read_classes(tmp_path / "_classes.csv")
    assert raised.value.line == line

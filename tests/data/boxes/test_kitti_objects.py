from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import kitti_objects
from singleshot.data.check import audit
from singleshot.errors import InputMissingError
from singleshot.structures import LabelMap

REST = "1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
CAR = f"Car 0.00 0 -1.58 10.5 5 50 30.25 {REST}\n"
IGNORED = "DontCare -1 -1 -10 1.0 1.0 9.0 9.0 -1 -1 -1 -1000 -1000 -1000 -10\n"


def put(root: Path, stem: str, text: str | None, folder: str = "training") -> None:
    image = root / folder / "image_2" / f"{stem}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (ord(stem[-1]), 0, 0)).save(image)
    if text is not None:
        labels = root / folder / "label_2" / f"{stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(text)


def test_kittis_labels_are_recognised_read_and_checked_and_dont_care_regions_are_no_objects(tmp_path: Path) -> None:
    put(tmp_path, "000001", CAR + IGNORED)
    put(tmp_path, "000002", "")
    put(tmp_path, "000003", None, "testing")
    assert (read.recognise(tmp_path), read.splits(tmp_path)) == ("kitti_objects", ["train", "test"])
    dataset = read.read(tmp_path, "train")
    assert dataset.label_map.names == ("Car",)
    assert [sample.boxes_xyxy.tolist() for sample in dataset.samples] == [[[10.5, 5, 50, 30.25]], []]
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("filled-field", "note")]
    assert (audit.audit(tmp_path, split="train").images, audit.audit(tmp_path, split="train").objects) == (2, 1)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("Car 0 0 0 1 2 3\n", "bad-line"),
        (CAR.replace("10.5", "nan"), "not-a-number"),
        (CAR.replace("Car", "Van"), "unknown-class"),
        (CAR.replace(" 50 ", " 10.5 "), "zero-size-box"),
    ],
)
def test_a_fault_has_its_line_and_costs_that_line_alone(row: str, kind: str, tmp_path: Path) -> None:
    put(tmp_path, "000001", CAR + row)
    dataset = kitti_objects.read(tmp_path, "train", label_map=LabelMap(("Car",)))
    assert [(fault.kind, fault.file.name, fault.line) for fault in dataset.faults] == [(kind, "000001.txt", 2)]
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10.5, 5, 50, 30.25]]


def test_other_text_is_not_kittis(tmp_path: Path) -> None:
    put(tmp_path, "000001", "0 0.5 0.5 0.2 0.2\n")
    assert not kitti_objects.fits(tmp_path)
    assert not kitti_objects.fits(tmp_path / "none")
    with pytest.raises(InputMissingError, match="no split 'val'"):
        kitti_objects.read(tmp_path, "val")

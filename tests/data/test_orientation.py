"""Images that EXIF turns are reported in every layout, whichever way the camera was held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.check.audit import audit
from singleshot.data.orientation import TURNS, image_size, rotation_fault, turned_warning
from singleshot.errors import DataError, InputMissingError
from singleshot.images import IMAGE_SUFFIXES
from tests.data.exports import EXPORTS
from tests.data.layouts import BOXES, LAYOUTS, SIZE_HW, Content


def upright(orientation: int) -> tuple[int, int]:
    return SIZE_HW[::-1] if orientation >= 5 else SIZE_HW


def expected(layout: str, orientation: int, annotated: str) -> str | None:
    """The kind of fault that each image has, or None."""
    if orientation == 1:
        return None
    if annotated == "none" or not LAYOUTS[layout].has_size or orientation < 5:
        return "rotated-picture"
    if annotated == "upright":
        return None
    return "other-size-mask" if LAYOUTS[layout].has_masks else "wrong-size"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("layout", "annotated"),
    [(name, size) for name in LAYOUTS for size in ("stored", "upright", "none") if size != "none" or name in BOXES],
)
def test_each_turned_image_is_one_fault_of_reader_and_check(
    layout: str, orientation: int, annotated: str, tmp_path: Path
) -> None:
    chosen = LAYOUTS[layout]
    size_hw = {"stored": SIZE_HW, "upright": upright(orientation), "none": None}[annotated]
    images = chosen.make(tmp_path, Content(orientation, size_hw))
    dataset = read.read(tmp_path, chosen.split, layout=chosen.data_format, cache=False)
    kind = expected(layout, orientation, annotated)
    for faults in (dataset.faults, audit(tmp_path, data_format=chosen.data_format).faults):
        found = [fault for fault in faults if fault.kind in ("rotated-picture", "wrong-size", "other-size-mask")]
        assert [fault.kind for fault in found] == [kind] * (0 if kind is None else len(images))
        named = {path.stem for path in images}
        assert all(any(name in str(fault) for name in named) for fault in found)
        assert all("EXIF tag" in fault.message for fault in found)
        assert {fault.severity for fault in found} <= {"warning" if kind == "rotated-picture" else "fatal"}
    assert len(dataset) == (2 if kind in (None, "rotated-picture") else 0)


def test_a_split_without_annotations_has_no_boxes_that_could_lie_sideways(tmp_path: Path) -> None:
    LAYOUTS["yolo"].make(tmp_path, Content(6))
    dataset = read.read(tmp_path, "train", annotated=False, cache=False)
    assert [fault for fault in dataset.faults if fault.kind == "rotated-picture"] == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_annotated_one_or_that_of_the_upright_image(orientation: int, tmp_path: Path) -> None:
    image = LAYOUTS["yolo"].make(tmp_path, Content(orientation))[0]
    assert image_size(image, None)[0] == upright(orientation)
    assert image_size(image, (7, 9)) == ((7, 9), None)  # of neither: another fault, for who reads the pixels


def test_an_image_that_cannot_be_read_keeps_its_annotated_size_and_else_raises(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"text")
    assert image_size(tmp_path / "a.jpg", (7, 9)) == ((7, 9), None)
    assert image_size(tmp_path / "gone.jpg", (7, 9)) == ((7, 9), None)
    with pytest.raises(DataError, match="not an image"):
        image_size(tmp_path / "a.jpg", None)
    with pytest.raises(InputMissingError):
        image_size(tmp_path / "gone.jpg", None)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_square_image_cannot_show_whether_its_boxes_were_turned(orientation: int) -> None:
    fault = rotation_fault("a.jpg", (50, 50), orientation, (50, 50), Path("a.xml"), 2)
    assert fault is not None and (fault.kind, fault.line) == ("rotated-picture", 2)
    assert TURNS[orientation] in fault.message and fault.message.count("\n") == 0


def test_the_warning_of_train_and_convert_names_the_images_once_and_how_many_more(tmp_path: Path) -> None:
    LAYOUTS["kitti_objects"].make(tmp_path, Content(6))
    dataset = read.read(tmp_path, "train", cache=False)
    text = turned_warning([dataset, dataset])
    assert text is not None and text.startswith("2 images are turned by EXIF") and text.count("a.png") == 1
    (first, *_) = dataset.faults
    many = replace(dataset, faults=tuple(replace(first, file=Path(f"{number}.jpg")) for number in range(25)))
    assert "19.jpg and 5 more" in str(turned_warning([many]))
    assert turned_warning([replace(dataset, faults=())]) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", EXPORTS)
def test_every_tools_export_of_turned_images_is_one_fault_for_each(name: str, orientation: int, tmp_path: Path) -> None:
    layout, make = EXPORTS[name]
    make(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in tmp_path.rglob("*.*"):
        if path.suffix in IMAGE_SUFFIXES:
            with Image.open(path) as stored:
                pixels = stored.copy()
            pixels.save(path, exif=exif)
    datasets = [read.read(tmp_path, split, cache=False) for split in read.splits(tmp_path)]
    files = {sample.image_path.name for dataset in datasets for sample in dataset.samples}
    faults = [fault for dataset in datasets for fault in dataset.faults if "EXIF tag" in fault.message]
    if orientation == 1:
        assert faults == []
        return
    wrong = {fault.message.split(", but ")[1].split()[0] for fault in faults if fault.kind == "wrong-size"}
    turned = {fault.message.split("EXIF tag of ")[1].split()[0] for fault in faults if fault.kind == "rotated-picture"}
    assert turned == files and not turned & wrong and len(faults) == len(turned | wrong) >= 2
    assert {fault.kind for fault in audit(tmp_path).faults} >= {fault.kind for fault in faults}, layout

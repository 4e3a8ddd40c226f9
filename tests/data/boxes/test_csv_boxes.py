from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import csv_boxes
from singleshot.data.check import audit
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import LabelMap

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def put(root: Path, file: str, text: str, *images: str) -> Path:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (ord(Path(image).stem[-1]), 0, 0)).save(root / image)
    (root / file).write_text(text)
    return root


def test_the_cards_have_the_same_boxes_in_csv_and_in_xml(shared: Path) -> None:
    root = shared / "data" / "cards"
    for split in ("train", "test"):
        from_xml = read.read(root, split)
        from_csv = read.read(root, split, layout="csv", label_map=from_xml.label_map)
        of_image = {sample.image_path: sample for sample in from_csv.samples}
        assert from_csv.faults == ()
        for sample in from_xml.samples:
            other = of_image.pop(sample.image_path)
            rows, others = (
                sorted(zip(each.class_ids.tolist(), each.boxes_xyxy.tolist(), strict=True)) for each in (sample, other)
            )
            assert rows == others
        assert of_image == {}


def test_a_folder_of_xml_and_csv_says_which_was_taken_and_how_to_choose_the_other(shared: Path) -> None:
    text = read.describe(read.read(shared / "data" / "cards", "test"))
    assert "taken for Pascal VOC without lists (it fits CSV with a header too: --data-format csv), split test" in text


def test_open_images_fractions_become_pixels_and_groups_are_crowds(tmp_path: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
    rows = "a,xclick,Cat,1,0.25,0.5,0,1,0,0\nb,xclick,Dog,1,0,1,0.1,0.2,0,1\n"
    root = put(tmp_path, "train-annotations-bbox.csv", header + rows, "train/a.jpg", "train/b.jpg")
    assert (read.recognise(root), read.splits(root)) == ("csv", ["train"])
    a, b = csv_boxes.read(root, "train").samples
    np.testing.assert_allclose([*a.boxes_xyxy, *b.boxes_xyxy], [[15, 0, 30, 40], [0, 4, 60, 8]])
    assert a.crowd is None
    assert b.crowd is not None and (b.crowd.tolist(), b.difficult.tolist()) == ([True], [True])


def test_open_images_ids_have_the_names_of_its_class_descriptions(tmp_path: Path) -> None:
    rows = "ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/01yrx,0.25,0.5,0,1\na,/m/0bt9lr,0.5,1,0,1\n"
    (tmp_path / "annotations").mkdir()
    root = put(tmp_path, "annotations/train-annotations-bbox.csv", rows, "train/a.jpg")
    (root / "annotations" / "bbox_labels_600_hierarchy.json").write_text('{"LabelName": "/m/0bl9f", "Subcategory": []}')
    assert read.recognise(root) == "csv"  # a JSON in `annotations` is not COCO's by that alone
    without = read.read(root, "train", cache=False)
    assert without.label_map.names == ("/m/01yrx", "/m/0bt9lr")
    assert [(fault.kind, fault.severity) for fault in without.faults] == [("assumed-classes", "note")]
    (root / "oidv7-class-descriptions-boxable.csv").write_text("LabelName,DisplayName\n/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    dataset = read.read(root, "train", cache=False)
    assert (dataset.label_map.names, dataset.faults) == (("Cat", "Dog"), ())


@pytest.mark.parametrize("delimiter", [";", "\t", ", "])
def test_columns_may_be_separated_by_semicolons_tabs_and_spaces_after_commas(delimiter: str, tmp_path: Path) -> None:
    text = (HEADER + "a.jpg,60,40,cat,1,1,60,40\n").replace(",", delimiter)
    root = put(tmp_path, "labels.csv", text.replace("\n", "\r\n"), "a.jpg")
    assert read.recognise(root) == "csv"
    dataset = read.read(root, "all")
    assert (dataset.label_map.names, dataset.faults) == (("cat",), ())
    assert dataset.samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_files_are_splits_and_classes_are_those_of_all(tmp_path: Path) -> None:
    put(tmp_path, "train_labels.csv", HEADER + "a.jpg,60,40,cat,1,1,60,40\n", "images/train/a.jpg")
    put(tmp_path, "test_labels.csv", HEADER + "b.jpg,60,40,dog,1,1,9,9\n", "images/test/b.jpg")
    assert read.splits(tmp_path) == ["train", "test"]
    assert read.read(tmp_path, "test").label_map.names == ("cat", "dog")
    assert audit.audit(tmp_path).objects == 2


def test_an_image_of_the_files_own_split_is_taken_before_one_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "train_labels.csv", HEADER + "a.jpg,60,40,cat,1,1,60,40\n", "test/a.jpg", "train/a.jpg")
    assert csv_boxes.read(tmp_path, "train").samples[0].image_path == tmp_path / "train" / "a.jpg"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("a.jpg,60,40,cat,x,1,9,9", "not-a-number"),
        ("a.jpg,60,40,cat,nan,1,9,9", "not-a-number"),
        ("a.jpg,60,40,cat,1", "not-a-number"),
        ("a.jpg,60,40,,1,1,9,9", "bad-line"),
        (",60,40,cat,1,1,9,9", "bad-line"),
        ("none.jpg,60,40,cat,1,1,9,9", "missing-picture"),
        ("../../etc/a.png,60,40,cat,1,1,9,9", "missing-picture"),
        ("a.jpg,60,40,cow,1,1,9,9", "unknown-class"),
        ("a.jpg,60,40,cat,9,1,3,9", "inverted-box"),
        ("a.jpg,60,40,cat,5,5,5,9", "zero-size-box"),
    ],
)
def test_a_fault_has_its_line_and_costs_that_line_alone(row: str, kind: str, tmp_path: Path) -> None:
    put(tmp_path, "train_labels.csv", f"{HEADER}a.jpg,60,40,cat,11,6,50,40\n{row}\n", "train/a.jpg")
    dataset = csv_boxes.read(tmp_path, "train", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name, fault.line) for fault in dataset.faults] == [(kind, "train_labels.csv", 3)]
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 50, 40]]


@pytest.mark.parametrize(
    ("text", "kind"),
    [(HEADER, "empty-split"), ("a,b\n1,2\n", "bad-header"), (f'{HEADER}"a.jpg,1\n', "bad-csv")],
)
def test_a_file_that_is_no_such_csv_or_has_no_line_is_refused(text: str, kind: str, tmp_path: Path) -> None:
    root = put(tmp_path, "boxes.csv", text, "a.jpg")
    with pytest.raises(DataError) as refused:
        csv_boxes.read(root / "boxes.csv", "all")
    assert refused.value.kind == kind


def test_other_csv_and_folders_without_images_are_not_taken_for_it(tmp_path: Path) -> None:
    root = put(tmp_path, "notes.csv", "a,b\n", "a.jpg")
    assert not csv_boxes.fits(root)
    (root / "a.jpg").unlink()
    put(root, "boxes.csv", HEADER)
    assert not csv_boxes.fits(root)
    with pytest.raises(InputMissingError, match="no split 'train'"):
        csv_boxes.read(root, "train")

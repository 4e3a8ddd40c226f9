from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from singleshot.data import read as read_any
from singleshot.data.boxes import coco
from singleshot.data.boxes.writing import items
from singleshot.data.check.audit import audit
from singleshot.errors import DataError, InputMissingError, SingleshotError
from singleshot.structures import Dataset, LabelMap, Sample
from tests.data.exports import labelme

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 30, "file_name": "b.jpg", "height": 40, "width": 60},
        {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
        {"id": 50, "file_name": "empty.jpg", "height": 40, "width": 60},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [10, 5, 10.5, 25], "area": 200.0, "iscrowd": 0},
        {"id": 2, "image_id": 30, "category_id": 3, "bbox": [0, 0, 60, 40], "area": 2400, "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
}


def write(root: Path, content: Any, split: str = "train2017", pictures: str = "train2017") -> Path:
    """A COCO folder with every picture that the content names, 60×40."""
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    (root / pictures).mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg", "empty.jpg"):
        if not (root / pictures / name).exists():
            Image.new("RGB", (60, 40), (90, 120, 60)).save(root / pictures / name)
    return file


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = deepcopy(CONTENT)
    change(content)
    return content


def read(root: Path, change: Callable[[dict[str, Any]], object]) -> Dataset:
    write(root, changed(change))
    return coco.read(root, "train2017")


def only_fault(dataset: Dataset, kind: str, severity: str = "fatal") -> str:
    (fault,) = dataset.faults
    assert (fault.kind, fault.severity, fault.line) == (kind, severity, None)
    assert fault.file.name.endswith(".json")
    assert "\n" not in str(fault)
    return fault.message


def test_boxes_are_continuous_and_worked_by_hand(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    dataset = coco.read(tmp_path, "train2017")
    first, second, third = dataset.samples
    assert dataset.faults == ()
    assert first.boxes_xyxy.tolist() == [[10, 5, 20.5, 30], [1, 2, 4, 6]]
    assert (first.image_id, first.image_path, first.size_hw) == ("7", tmp_path / "train2017" / "a.jpg", (40, 60))
    assert first.areas is not None
    assert first.areas.tolist() == [200, 12]
    assert (second.image_id, third.image_id) == ("30", "50")


def test_a_crowd_is_kept_for_the_evaluate_as_difficult_and_marked(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    sample = coco.read(tmp_path, "train2017").samples[1]
    assert sample.crowd is not None
    assert (sample.crowd.tolist(), sample.difficult.tolist()) == ([True], [True])


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    sample = coco.read(tmp_path, "train2017").samples[2]
    assert (sample.boxes_xyxy.shape, sample.class_ids.shape) == ((0, 4), (0,))


def test_b30_sparse_category_ids_become_class_ids_in_their_order_and_lead_back(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    dataset = coco.read(tmp_path, "train2017")
    assert dataset.label_map.names == ("car", "toothbrush")
    assert dataset.samples[0].class_ids.tolist() == [1, 0]
    assert dataset.category_ids == (3, 90)
    given_names = coco.read(tmp_path, "train2017", label_map=LabelMap(("toothbrush", "bus", "car")))
    assert given_names.samples[0].class_ids.tolist() == [0, 2]
    assert given_names.category_ids == (90, None, 3)


@pytest.mark.parametrize(
    ("split", "asked", "pictures"),
    [
        ("train2017", "train2017", "train2017"),
        ("train2017", "train", "train2017"),
        ("train2017", "train", "images/train2017"),
        ("train", "train", "images/train"),
        ("train", "train", "images"),
        ("train", "train", "train"),
        ("train", "train", "."),
    ],
)
def test_images_are_found_in_the_usual_places(tmp_path: Path, split: str, asked: str, pictures: str) -> None:
    write(tmp_path, CONTENT, split, pictures)
    dataset = coco.read(tmp_path, asked)
    assert (len(dataset), dataset.faults) == (3, ())


def test_a_tools_export_has_the_json_among_the_images(tmp_path: Path) -> None:
    file = write(tmp_path, CONTENT, pictures="valid")
    file.rename(tmp_path / "valid" / "_annotations.coco.json")
    assert len(coco.read(tmp_path, "valid")) == 3
    assert len(coco.read(tmp_path / "valid" / "_annotations.coco.json", "anything")) == 3


def test_boxes_alone_need_no_images(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(CONTENT))
    dataset = coco.read(tmp_path / "truth.json", "truth", with_images=False)
    assert (len(dataset), dataset.faults) == (3, ())


def test_a1_a_missing_folder_or_split_is_66_with_what_there_is(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    with pytest.raises(InputMissingError, match="There are: train2017"):
        coco.read(tmp_path, "val2017")
    with pytest.raises(InputMissingError, match="no such folder") as caught:
        coco.read(tmp_path / "nowhere", "train")
    assert caught.value.exit_code == 66
    (tmp_path / "other").mkdir()
    with pytest.raises(InputMissingError, match="annotations/instances_<split>"):
        coco.read(tmp_path / "other", "train")


def test_a2_an_image_that_is_not_there_is_named_with_its_path(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["images"][1].update(file_name="gone.jpg"))
    assert only_fault(dataset, "missing-picture") == (
        f"images[1]: image gone.jpg not found in {tmp_path / 'train2017'}, {tmp_path / 'annotations'}, {tmp_path}. "
        "Add it or delete its entry."
    )
    assert [sample.image_id for sample in dataset.samples] == ["30", "50"]


def test_a4_a_split_without_images_is_65(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 images in the split") as caught:
        read(tmp_path, lambda content: content["images"].clear())
    assert caught.value.kind == "empty-split"


@pytest.mark.parametrize("name", ["a\0.jpg", "\ud800.jpg", "", 5, "..", "/", "../.."])
def test_what_is_not_the_name_of_a_file_is_refused(tmp_path: Path, name: object) -> None:
    dataset = read(tmp_path, lambda content: content["images"][0].update(file_name=name))
    assert "images[0].file_name is" in only_fault(dataset, "bad-field")


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\b", "a\\b.jpg"])
def test_an_absolute_file_name_is_looked_up_below_the_folder_alone(tmp_path: Path, name: str) -> None:
    dataset = read(tmp_path, lambda content: content["images"][0].update(file_name=name))
    assert f"image {name} not found" in only_fault(dataset, "missing-picture")


@pytest.mark.parametrize("name", ["../out.jpg", "..\\out.jpg", "x/../../out.jpg", "{}/out.jpg"])
def test_a_file_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (60, 40)).save(outside / "out.jpg")
    named = name.format(outside)
    root = outside / "coco"
    dataset = read(root, lambda content: content["images"][0].update(file_name=named))
    assert f"image {named} not found" in only_fault(dataset, "missing-picture")


@pytest.mark.parametrize(
    "name",
    [
        *("train2017\\b.jpg", "C:\\me\\b.jpg", "/home/me/coco/train2017/b.jpg", "./b.jpg"),
        *("../train2017/b.jpg", "..\\..\\data\\train2017\\b.jpg", "/home/../coco/b.jpg"),
    ],
)
def test_backslashes_drives_and_absolute_paths_find_the_image_in_the_folder(tmp_path: Path, name: str) -> None:
    dataset = read(tmp_path, lambda content: content["images"][0].update(file_name=name))
    assert dataset.faults == () and (tmp_path / "train2017" / "b.jpg") in [each.image_path for each in dataset.samples]


@pytest.mark.parametrize("outline", [None, {}])
def test_an_empty_segmentation_or_null_fields_are_one_note_and_the_box_is_used(tmp_path: Path, outline: object) -> None:
    row = {"segmentation": outline, "area": None, "iscrowd": None}
    dataset = read(tmp_path, lambda content: content["annotations"][0].update(row))
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("filled-field", "note")] * 3
    assert len(dataset.samples[0].boxes_xyxy) == 2


def test_a_supercategory_0_without_objects_is_no_class(tmp_path: Path) -> None:
    def add_group(content: dict[str, Any]) -> None:
        for row in content["categories"]:
            row["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})

    dataset = read(tmp_path, add_group)
    assert dataset.label_map.names == ("car", "toothbrush")
    assert "'things' has no object" in only_fault(dataset, "placeholder-category", "note")
    content = changed(add_group)
    content["annotations"][2]["category_id"] = 0
    write(tmp_path, content)
    assert coco.read(tmp_path, "train2017").label_map.names == ("things", "car", "toothbrush")


def _boxes(content: dict[str, Any], convert: Callable[[list[float]], list[float]]) -> None:
    content["annotations"] += [
        {"id": 4 + index, "image_id": 7, "category_id": 3, "bbox": box, "area": 1, "iscrowd": 0}
        for index, box in enumerate([[20, 5, 30, 30], [30, 20, 25, 15], [25, 8, 30, 20], [22, 9, 30, 20]])
    ]
    for row in content["annotations"]:
        row["bbox"] = convert(row["bbox"])


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda box: [box[0] / 60, box[1] / 40, box[2] / 60, box[3] / 40], "fractions"),
        (lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]], "corners"),
    ],
)
def test_fractions_and_corners_are_one_fatal_fault_and_no_box_is_used(
    tmp_path: Path, convert: Callable[[list[float]], list[float]], words: str
) -> None:
    dataset = read(tmp_path, lambda content: _boxes(content, convert))
    assert words in only_fault(dataset, "other-coordinates")
    assert all(len(sample.boxes_xyxy) == 0 for sample in dataset.samples)
    assert read(tmp_path, lambda content: _boxes(content, list)).faults == ()


def test_files_of_other_tools_are_recognised_and_their_images_found_from_the_file_too(tmp_path: Path) -> None:
    for name, images in (
        ("ls/result.json", "images"),
        ("fiftyone/labels.json", "data"),
        ("kp/annotations/person_keypoints_default.json", "images/default"),
        ("coco/annotations/instances_val2017.json", "val2017"),
    ):
        root = tmp_path / name.split("/")[0]
        write(root, CONTENT, pictures=images).rename(file := tmp_path / name)
        (split,) = coco.splits(root)
        assert coco.fits(root) and len(coco.read(root, split)) == len(coco.read(file, "any")) == 3
        assert list(coco.sources(file, "any"))


def test_valid_is_val(tmp_path: Path) -> None:
    write(tmp_path, CONTENT, split="valid", pictures="valid")
    assert coco.read(tmp_path, "val").split == "val" and len(coco.read(tmp_path, "validation")) == 3


def test_an_image_without_size_is_measured_with_a_warning(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["images"][1].pop("width"))
    assert "images[1]" in only_fault(dataset, "zero-picture-size", "warning")
    assert dataset.samples[0].size_hw == (40, 60)


def test_b23_an_image_id_that_occurs_twice_names_both_places(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["images"][2].update(id=30))
    message = only_fault(dataset, "duplicate-image-id")
    assert "images[2].id 30 is already that of images[0]" in message
    assert [sample.image_id for sample in dataset.samples] == ["7", "30"]


def test_a5_an_image_file_that_occurs_twice_is_a_warning(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["images"][2].update(file_name="b.jpg"))
    assert "images[2].file_name 'b.jpg' is already that of images[0]" in only_fault(
        dataset, "duplicate-picture", "warning"
    )


def test_b24_annotation_ids_that_are_0_or_twice_lose_no_box(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation, number in zip(content["annotations"], (0, 0, 5), strict=True):
            annotation["id"] = number

    dataset = read(tmp_path, change)
    assert "annotations[1].id 0 is already that of annotations[0]" in only_fault(
        dataset, "duplicate-annotation-id", "warning"
    )
    assert sum(len(sample.boxes_xyxy) for sample in dataset.samples) == 3


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("image_id", 31, "unknown-image"),
        ("image_id", None, "unknown-image"),
        ("image_id", [1], "unknown-image"),
        ("category_id", 4, "unknown-class"),
        ("category_id", "3", "unknown-class"),
    ],
)
def test_b25_an_id_of_nothing_is_named(tmp_path: Path, field: str, value: object, kind: str) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][2].update({field: value}))
    assert f"annotations[2].{field} {value!r}" in only_fault(dataset, kind)


def test_a_category_outside_the_given_classes_is_unknown_where_it_is_used(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    dataset = coco.read(tmp_path, "train2017", label_map=LabelMap(("car",)))
    message = only_fault(dataset, "unknown-class")
    assert message == "annotations[0].category_id 90: class 'toothbrush' is unknown. The classes are: car."


@pytest.mark.parametrize(
    "box",
    [
        None,
        "1,2,3,4",
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, "3", 4],
        [1, 2, None, 4],
        [1, True, 3, 4],
        {},
        [1, 2, 3, 1e300],
        [1, 2, 3, 10**400],
        [1, 2, [[[[[[[[[]]]]]]]]], 4],
    ],
)
def test_b26_a_bbox_that_is_not_four_numbers_is_named_by_its_json_path(tmp_path: Path, box: object) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][1].update(bbox=box))
    assert "annotations[1].bbox is " in only_fault(dataset, "bad-box")


@pytest.mark.parametrize(
    ("box", "kind", "severity"),
    [
        ([5, 5, 0, 9], "zero-size-box", "fatal"),
        ([5, 5, 1e-30, 9], "zero-size-box", "fatal"),
        ([5, 5, -3, 9], "inverted-box", "fatal"),
        ([60, 5, 3, 9], "outside-box", "warning"),
        ([-9, 5, 9, 9], "outside-box", "warning"),
        ([55, 5, 6, 9], "clipped-box", "warning"),
        ([-1, -1, 9, 9], "clipped-box", "warning"),
    ],
)
def test_a_box_that_cannot_be_right_is_named(tmp_path: Path, box: list, kind: str, severity: str) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][1].update(bbox=box))
    assert "annotations[1].bbox (" in only_fault(dataset, kind, severity)
    assert len(dataset.samples[1].boxes_xyxy) == (kind == "clipped-box")


def test_a_box_beyond_the_edge_by_its_rounding_is_clipped_in_silence(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][1].update(bbox=[0, 0, 60.01, 40.01]))
    assert dataset.faults == ()
    assert dataset.samples[1].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_b27_missing_area_and_iscrowd_are_filled_and_counted(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            del annotation["area"], annotation["iscrowd"]

    dataset = read(tmp_path, change)
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("filled-field", "note")] * 2
    assert dataset.faults[0].message == "3 annotations have no `area`; that of the box is used."
    assert dataset.samples[0].areas is not None
    assert dataset.samples[0].areas.tolist() == [10.5 * 25, 12]


@pytest.mark.parametrize(("field", "value"), [("iscrowd", 2), ("iscrowd", "no"), ("area", []), ("area", "5")])
def test_an_area_or_crowd_flag_of_another_kind_is_named(tmp_path: Path, field: str, value: object) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][2].update({field: value}))
    assert f"annotations[2].{field} is {value!r}" in only_fault(dataset, "bad-field")


@pytest.mark.parametrize(
    "outline", [{"size": [0, 0], "counts": "0"}, {"size": [40, 60], "counts": [2399]}, [[0, 0, 1e8, 0, 1e8, 1e8]]]
)
def test_b29_a_segmentation_that_lies_is_named_and_its_box_kept(tmp_path: Path, outline: object) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][0].update(segmentation=outline))
    assert "annotations[0].segmentation: " in only_fault(dataset, "bad-segmentation", "warning")
    assert len(dataset.samples[0].boxes_xyxy) == 2


def test_segmentations_that_fit_are_no_fault(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["segmentation"] = [[10, 5, 20, 5, 20, 30]]
        content["annotations"][1]["segmentation"] = {"size": [40, 60], "counts": [100, 2300]}

    assert read(tmp_path, change).faults == ()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"id": 3, "name": "bus"}, "duplicate-category"),
        ({"id": 4, "name": "car"}, "duplicate-category"),
        ({"id": 4, "name": " "}, "bad-field"),
        ({"id": "4", "name": "bus"}, "bad-field"),
        (5, "bad-field"),
    ],
)
def test_a_category_that_is_none_is_named(tmp_path: Path, row: object, kind: str) -> None:
    dataset = read(tmp_path, lambda content: content["categories"].append(row))
    assert "categories[2]" in only_fault(dataset, kind)
    assert dataset.label_map.names == ("car", "toothbrush")


def test_categories_that_differ_in_case_alone_are_a_warning(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["categories"].append({"id": 5, "name": "Car"}))
    assert "'Car' and 'car'" in only_fault(dataset, "class-variants", "warning")


@pytest.mark.parametrize("content", [[], {"images": [], "annotations": 3}, {"images": {}}, 5, None, {"a": 1}])
def test_json_that_is_no_coco_is_refused_with_what_is_missing(tmp_path: Path, content: object) -> None:
    write(tmp_path, json.dumps(content))
    with pytest.raises(DataError, match="not a COCO file") as caught:
        coco.read(tmp_path, "train2017")
    assert caught.value.kind == "not-coco"


def test_b28_broken_json_is_refused_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps(CONTENT, indent=1)[:400])
    with pytest.raises(DataError) as caught:
        coco.read(tmp_path, "train2017")
    assert caught.value.file == file
    assert caught.value.line is not None
    assert caught.value.line > 10


def test_images_whose_annotations_are_kept_back_have_no_boxes(tmp_path: Path) -> None:
    file = write(tmp_path, CONTENT, pictures="test2017")
    file.rename(file.with_name("image_info_test2017.json"))
    dataset = coco.read(tmp_path, "test2017", annotated=False, label_map=LabelMap(("car",)))
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [0, 0, 0]
    assert dataset.faults == ()


def test_the_folder_is_left_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    coco.read(tmp_path, "train2017")
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 95) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "size"]), inner),
    max_leaves=6,
)
rows = {
    "images": st.fixed_dictionaries(
        {}, optional={"id": values, "file_name": st.just("a.jpg") | values, "height": values, "width": values}
    ),
    "annotations": st.fixed_dictionaries(
        {"bbox": st.lists(st.floats(-20, 80), min_size=4, max_size=4) | values},
        optional={
            "id": values,
            "image_id": st.sampled_from([7, 30]) | values,
            "category_id": st.sampled_from([3, 90]) | values,
            "area": values,
            "iscrowd": st.sampled_from([0, 1]) | values,
            "segmentation": values,
        },
    ),
    "categories": st.fixed_dictionaries({}, optional={"id": values, "name": values}),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_content_gives_good_boxes_or_faults_with_a_file(tmp_path: Path, data: st.DataObject) -> None:
    content = deepcopy(CONTENT)
    for name, row in rows.items():
        content[name] += data.draw(st.lists(row | values, max_size=4))
    file = write(tmp_path, content)
    try:
        dataset = coco.read(tmp_path, "train2017")
    except SingleshotError as error:
        assert error.file is not None
        return
    assert all(fault.file == file or fault.file.suffix == ".jpg" for fault in dataset.faults)
    assert len({sample.image_id for sample in dataset.samples}) == len(dataset)
    for sample in dataset.samples:
        boxes_xyxy, (height, width) = sample.boxes_xyxy, sample.size_hw or (0, 0)
        assert np.isfinite(boxes_xyxy).all()
        assert (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all()
        assert (boxes_xyxy >= 0).all()
        assert (boxes_xyxy[:, 2:] <= [width, height]).all()
        assert ((sample.class_ids >= 0) & (sample.class_ids < len(dataset.label_map))).all()


def test_ignore_is_difficult_and_no_crowd_and_checked(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][0].update(ignore=1))
    first = dataset.samples[0]
    assert first.difficult.tolist() == [True, False] and first.crowd is not None and not first.crowd.any()
    said = only_fault(read(tmp_path, lambda content: content["annotations"][0].update(ignore="yes")), "bad-field")
    assert "annotations[0].ignore is 'yes', which is not a valid ignore" in said


def test_a_negative_area_is_a_bad_field_and_the_box_is_left_out(tmp_path: Path) -> None:
    dataset = read(tmp_path, lambda content: content["annotations"][0].update(area=-5))
    assert "annotations[0].area is -5" in only_fault(dataset, "bad-field")
    assert dataset.samples[0].boxes_xyxy.tolist() == [[1, 2, 4, 6]]


def test_a9_a_link_out_of_the_data_is_named_and_not_used(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write(root, CONTENT)
    (root / "train2017/a.jpg").rename(tmp_path / "a.jpg")
    (root / "train2017/a.jpg").symlink_to(tmp_path / "a.jpg")
    kinds = {(fault.kind, fault.severity) for fault in coco.read(root, "train2017").faults}
    assert kinds == {("outside-link", "fatal"), ("missing-picture", "fatal")}
    (root / "train2017/a.jpg").unlink()
    (tmp_path / "a.jpg").rename(root / "train2017/a.jpg")
    (root / "train2017").rename(elsewhere)
    (root / "train2017").symlink_to(elsewhere)
    found = coco.read(root, "train2017").faults
    assert [fault.file for fault in found if fault.kind == "outside-link"] == [root / "train2017"]


def test_the_written_json_worked_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[1.0, 2.0, 11.0, 22.5]])
    sample = Sample("a", tmp_path / "a.png", (30, 40), rows, np.array([1]), np.array([True]))
    data = Dataset(tmp_path, "voc", "val", LabelMap(("cat", "dog")), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    coco.write([data], items([data], one_folder=False), out)
    assert json.loads((out / "annotations" / "instances_val.json").read_text()) == {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [1.0, 2.0, 10.0, 20.5],
                "area": 205.0,
                "iscrowd": 0,
                "ignore": 1,
            }
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    assert (out / "val" / "a.png").is_file()


def exported(root: Path, files: dict[str, list[str]], folder: str) -> Path:
    """Write JSON files of images, each with one object, and the images in `folder`, where {} is the file's own."""
    for number, (name, images) in enumerate(files.items()):
        file = root / name
        rows = [{"id": index, "file_name": image, "width": 60, "height": 40} for index, image in enumerate(images)]
        boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 30, 20]} for i in range(len(images))]
        content = {"info": {}, "images": rows, "categories": [{"id": 1, "name": "cat"}], "annotations": boxes}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        for index, image in enumerate(images):
            path = root / folder.replace("{}", file.parent.relative_to(root).as_posix()) / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40), (index * 9, number * 9, 99)).save(path)
    return root


@pytest.mark.parametrize(
    ("files", "folder", "splits"),
    [
        ({"train.json": ["a.jpg"], "val.json": ["b.jpg"]}, "images", ["train", "val"]),
        ({"annotations/person_keypoints_train2017.json": ["a.jpg"]}, "train2017", ["train2017"]),
        ({"annotations/instances_default.json": ["a.jpg"]}, "images", ["default"]),  # CVAT
        ({"annotations/instances_default.json": ["a.jpg"]}, "images/default", ["default"]),
        ({"labels.json": ["a.jpg"]}, "data", ["labels"]),  # FiftyOne
        ({"train/labels.json": ["a.jpg"], "test/labels.json": ["b.jpg"]}, "{}/data", ["test", "train"]),
        ({"result.json": ["images/a.jpg"]}, ".", ["result"]),  # Label Studio
    ],
)
def test_coco_is_read_from_where_annotation_tools_put_it(
    files: dict[str, list[str]], folder: str, splits: list[str], tmp_path: Path
) -> None:
    root = exported(tmp_path, files, folder)
    assert read_any.recognise(root) == "coco"
    assert read_any.splits(root) == splits
    for split in splits:
        dataset = read_any.read(root, split)
        assert [sample.boxes_xyxy.tolist() for sample in dataset.samples] == [[[1, 2, 31, 22]]]
        assert [fault for fault in dataset.faults if fault.severity != "note"] == []


def test_instances_come_before_keypoints_and_other_json_is_no_split(tmp_path: Path) -> None:
    names = ["annotations/instances_train.json", "annotations/person_keypoints_train.json"]
    root = exported(tmp_path, {name: ["a.jpg"] for name in names}, "train")
    (root / "package.json").write_text('{"name": "x"}')
    (root / "empty.json").write_text("")
    assert {name: path.name for name, path in coco.split_files(root).items()} == {"train": "instances_train.json"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_is_named_by_reader_or_check_where_the_entry_has_no_size(tmp_path: Path, orientation: int) -> None:
    content = changed(lambda content: [content["images"][0].pop(key) for key in ("height", "width")])
    write(tmp_path, content)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40), (90, 120, 60)).save(tmp_path / "train2017" / "b.jpg", exif=exif)
    found = [fault for fault in audit(tmp_path).faults if fault.kind == "rotated-picture"]
    assert [fault.file.name for fault in found] == ([] if orientation == 1 else ["b.jpg"])


def test_json_of_another_tool_in_annotations_is_not_cocos(tmp_path: Path) -> None:
    labelme(tmp_path)
    for suffix, folder in ((".jpg", "images"), (".json", "annotations")):
        (tmp_path / folder).mkdir()
        for path in tmp_path.glob(f"*{suffix}"):
            path.rename(tmp_path / folder / path.name)
    assert coco.split_files(tmp_path) == {} and read_any.recognise(tmp_path) == "labelme"
    # What is called as COCO's is COCO's, whatever is wrong with it.
    (tmp_path / "annotations" / "instances_train.json").write_text("")
    assert list(coco.split_files(tmp_path)) == ["train"]
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "annotations" / "val2017.json")
    assert list(coco.split_files(tmp_path)) == ["val2017"]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import records
from singleshot.data.boxes.check_box import CONTINUOUS, INCLUSIVE
from singleshot.data.boxes.coordinates import Form
from singleshot.data.boxes.records import Object, Record
from singleshot.errors import DataError
from singleshot.structures import LabelMap
from tests.data.exports import EXPORTS

BOX = (0.0, 0.0, 9.0, 9.0)
NAMES = LabelMap(("cat", "dog"))


def test_fractions_become_pixels_of_the_images_own_size_and_edges_are_clipped(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    record = Record(
        tmp_path / "a.png", tmp_path / "b.csv", None, [Object("dog", (0.5, 0.25, 1.1, 1.0), 3)], relative=True
    )
    found = records.dataset(tmp_path, "csv", "all", [record], NAMES, [])
    np.testing.assert_array_equal(found.samples[0].boxes_xyxy, [[30, 10, 60, 40]])
    assert found.samples[0].size_hw == (40, 60)
    assert [(fault.kind, fault.file.name, fault.line) for fault in found.faults] == [("clipped-box", "b.csv", 3)]


def test_a_fault_in_json_has_the_objects_path_and_no_line(tmp_path: Path) -> None:
    items = [Object("cat ", BOX, 0, path="shapes[0]"), Object("cow", BOX, 1, path="shapes[1]")]
    found = records.dataset(
        tmp_path, "labelme", "all", [Record(tmp_path / "a.png", tmp_path / "a.json", (40, 60), items)], NAMES, []
    )
    assert [(fault.kind, fault.line, fault.message.split(": ")[0]) for fault in found.faults] == [
        ("unknown-class", None, "shapes[0]"),
        ("unknown-class", None, "shapes[1]"),
    ]
    assert len(found.samples[0].boxes_xyxy) == 0


def test_classes_are_sorted_and_near_names_warned_of() -> None:
    items = [Object("dog", BOX, 1), Object("Dog", BOX, 2), Object("ant", BOX, 3)]
    label_map, warnings = records.classes([Record(Path("a.jpg"), Path("a.csv"), None, items)])
    assert label_map.names == ("Dog", "ant", "dog")
    assert [fault.kind for fault in warnings] == ["class-variants"]
    assert records.classes([]) == (LabelMap(()), [])


def test_a_split_without_any_image_is_refused_and_a_missing_image_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 images in the split"):
        records.dataset(tmp_path, "csv", "all", [], NAMES, [])
    found = records.dataset(
        tmp_path, "csv", "all", [Record(tmp_path / "a.png", tmp_path / "a.csv", None, [])], NAMES, []
    )
    assert [fault.kind for fault in found.faults] == ["missing-picture"]


def test_crowds_are_difficult_too(tmp_path: Path) -> None:
    item = Object("cat", BOX, 1, crowd=True)
    found = records.dataset(
        tmp_path, "csv", "all", [Record(tmp_path / "a.png", tmp_path / "a.csv", (9, 9), [item])], NAMES, []
    )
    sample = found.samples[0]
    assert sample.difficult.tolist() == [True]
    assert sample.crowd is not None and sample.crowd.tolist() == [True]


def test_images_without_annotation_are_left_out_or_background() -> None:
    images = [Path("a.jpg")]
    kinds = [records.unlabelled(images, ".xml", allow=allow)[0].kind for allow in (False, True)]
    assert kinds == ["missing-annotation", "unlabelled"]
    assert records.unlabelled([], ".xml", allow=False) == []


@pytest.mark.parametrize(
    ("layout", "boxes", "relative", "words"),
    [
        ("labelme", [(0.1, 0.2, 0.5, 0.6)], False, "fractions"),
        ("kitti_objects", [(10, 20, 9, 12), (30, 10, 20, 15)], False, "width and height"),
        ("voc_xml", [(-0.9, -0.8, 0.5, 0.6)], False, "fractions"),  # as the file has it: 0.1, 0.2
        ("voc_xml", [(9, 19, 9, 12), (29, 9, 20, 15)], False, "width and height"),
        ("imagefolder", [(10, 20, 60, 50), (20, 5, 70, 20)], False, "corners"),  # written 10, 20, 50, 30
        ("imagefolder", [(0.1, 0.2, 0.5, 0.6)], False, "fractions"),
        ("csv", [(10, 20, 50, 30)], True, "pixels"),
    ],
)
def test_boxes_of_another_kind_are_one_fatal_fault_and_none_is_used(
    layout: str, boxes: list[tuple[float, float, float, float]], relative: bool, words: str, tmp_path: Path
) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    items = [Object("dog", (float(a), float(b), float(c), float(d)), n) for n, (a, b, c, d) in enumerate(boxes, 3)]
    record = Record(tmp_path / "a.png", tmp_path / "a.txt", None, items, relative)
    rule = INCLUSIVE if layout == "voc_xml" else CONTINUOUS
    form: Form = "xywh" if layout == "imagefolder" else "xyxy inclusive"
    found = records.dataset(tmp_path, layout, "all", [record], NAMES, [], rule=rule, form=form)
    (fault,) = found.faults
    assert (fault.kind, fault.severity, fault.file.name, fault.line) == ("other-coordinates", "fatal", "a.txt", 3)
    assert words in fault.message and len(found.samples[0].boxes_xyxy) == 0


@pytest.mark.parametrize("tool", EXPORTS)
def test_the_boxes_of_no_tool_are_taken_for_another_kind(tool: str, tmp_path: Path) -> None:
    EXPORTS[tool][1](tmp_path)
    kinds = {fault.kind for name in read.splits(tmp_path) for fault in read.read(tmp_path, name, cache=False).faults}
    assert "other-coordinates" not in kinds

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.boxes import via
from singleshot.data.check import audit
from singleshot.errors import DataError
from singleshot.structures import LabelMap
from tests.data.exports import image, text

RECT = {"name": "rect", "x": 10, "y": 5, "width": 40, "height": 30}


def region(shape: Any = None, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": RECT if shape is None else shape, "region_attributes": attributes or {"type": "cat"}}


def put(root: Path, *regions: Any, regions_as: Any = list) -> Path:
    image(root / "a.jpg")
    row = {"filename": "a.jpg", "size": 5, "regions": regions_as(regions), "file_attributes": {}}
    text(root / "via_region_data.json", json.dumps({"a.jpg5": row}))
    return root


def test_polygons_circles_and_ellipses_are_the_boxes_around_them(tmp_path: Path) -> None:
    polygon = {"name": "polygon", "all_points_x": [3, 20.5, 9], "all_points_y": [4, 6, 30]}
    put(
        tmp_path,
        region(),
        region(polygon, type="dog"),
        region({"name": "circle", "cx": 20, "cy": 20, "r": 5}),
        region({"name": "ellipse", "cx": 20, "cy": 20, "rx": 10, "ry": 4, "theta": math.pi / 2}),
        region({"name": "point", "cx": 3, "cy": 3}),
        region({"name": "polyline", "all_points_x": [3, 4], "all_points_y": [4, 6]}),
    )
    dataset = read.read(tmp_path, "all")
    expected = [[10, 5, 50, 35], [3, 4, 20.5, 30], [15, 15, 25, 25], [16, 10, 24, 30]]
    np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, expected)
    assert dataset.label_map.names == ("cat", "dog") and dataset.outlines == 3
    assert [fault.message.split(":")[0] for fault in dataset.faults] == ["1 point, 1 polyline"]


def test_the_balloons_of_version_1_have_one_class_and_a_folder_for_each_split(tmp_path: Path) -> None:
    """The Mask R-CNN tutorial's data: `regions` by number, no attributes, `train/` and `val/`."""
    for split in ("train", "val"):
        polygon = {"name": "polygon", "all_points_x": [3, 20, 9], "all_points_y": [4, 6, 30]}
        bare = {"shape_attributes": polygon, "region_attributes": {}}
        put(tmp_path / split, bare, regions_as=lambda rows: {str(i): row for i, row in enumerate(rows)})
    assert (read.recognise(tmp_path), read.splits(tmp_path)) == ("via", ["train", "val"])
    dataset = read.read(tmp_path, "val")
    assert dataset.label_map.names == ("object",)
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("assumed-classes", "note")]
    assert dataset.samples[0].image_path == tmp_path / "val" / "a.jpg"


def test_the_class_is_the_attribute_that_is_called_so(tmp_path: Path) -> None:
    put(tmp_path, region(quality={"good": True}, Label="dog"), region(quality={}, Label="cat"))
    assert read.read(tmp_path, "all").label_map.names == ("cat", "dog")
    put(tmp_path, region(kind={"cat": True, "dog": False}))
    assert read.read(tmp_path, "all").label_map.names == ("cat",)
    put(tmp_path, region(colour="red", form="round"))
    with pytest.raises(DataError, match="attributes 'colour', 'form', and none is called as a class is"):
        read.read(tmp_path, "all")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (3, "bad-field"),
        (region({"name": "rect", "x": 1, "y": 2, "width": "3", "height": 4}), "bad-box"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}), "bad-box"),
        (region({"name": "star"}), "bad-box"),
        (region(type={"cat": True, "dog": True}), "bad-field"),
        (region(type=""), "bad-field"),
        (region(type="cow"), "unknown-class"),
        (region(RECT | {"width": 0}), "zero-size-box"),
    ],
)
def test_a_fault_has_its_json_path_and_costs_that_region_alone(bad: Any, kind: str, tmp_path: Path) -> None:
    put(tmp_path, region(), bad)
    dataset = via.read(tmp_path, "all", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name) for fault in dataset.faults] == [(kind, "via_region_data.json")]
    assert "['a.jpg5'].regions[1]" in dataset.faults[0].message
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 50, 35]]


def test_a_fault_in_csv_has_its_line(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    header = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    good = 'a.jpg,5,"{}",3,0,"{""name"":""rect"",""x"":10,""y"":5,""width"":40,""height"":30}","{""type"":""cat""}"\n'
    rows = [
        good,
        good.replace("40", "x"),
        good.replace("40", '""x""'),
        good.replace("a.jpg", ""),
        "b.jpg,5,{},0,0,{},{}\n",
    ]
    text(tmp_path / "via_region_data.csv", header + "".join(rows))
    dataset = read.read(tmp_path, "all")
    found = [(fault.kind, fault.line) for fault in dataset.faults]
    assert sorted(found) == [("bad-box", 4), ("bad-line", 3), ("bad-line", 5), ("missing-picture", 6)]
    assert len(dataset.samples[0].boxes_xyxy) == 1
    text(tmp_path / "via_region_data.csv", header + 'a.jpg,"')
    with pytest.raises(DataError, match="not CSV"):
        read.read(tmp_path, "all")


def test_other_files_are_not_vias(tmp_path: Path) -> None:
    put(tmp_path, region(), region())
    assert "regions[1] of a.jpg" in audit.audit(tmp_path).faults[0].message
    text(tmp_path / "via_region_data.json", '{"images": [], "annotations": []}')
    assert not via.fits(tmp_path) and not via.fits(tmp_path / "none")
    text(tmp_path / "via_region_data.json", "[]")
    with pytest.raises(DataError, match="not a table of VIA's images"):
        via.read(tmp_path / "via_region_data.json", "all")

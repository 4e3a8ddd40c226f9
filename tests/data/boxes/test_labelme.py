from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import labelme
from singleshot.data.check import audit
from singleshot.errors import InputMissingError
from singleshot.structures import LabelMap


def put(root: Path, stem: str, *shapes: Any, **fields: Any) -> None:
    """Write a 60×40 image and its JSON as LabelMe does."""
    file = root / f"{stem}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (ord(file.stem[-1]), 0, 0)).save(file.with_suffix(".jpg"))
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"..\\{file.stem}.jpg",
        "imageData": "not base64",
        "imageHeight": 40,
        "imageWidth": 60,
    }
    file.write_text(json.dumps(content | fields))


def shape(kind: str, *points: tuple[float, float], label: str = "cat") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def test_rectangles_polygons_and_circles_are_boxes_and_points_are_counted(tmp_path: Path) -> None:
    put(
        tmp_path,
        "train/a",
        shape("rectangle", (50, 30), (10.5, 5)),
        shape("polygon", (1, 2), (9, 3), (4, 20), label="dog"),
        shape("circle", (20, 20), (23, 24)),
        shape("point", (3, 3)),
    )
    put(tmp_path, "val/b", imageHeight=None)
    assert (read.recognise(tmp_path), read.splits(tmp_path)) == ("labelme", ["train", "val"])
    dataset = read.read(tmp_path, "train")
    assert dataset.label_map.names == ("cat", "dog")
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10.5, 5, 50, 30], [1, 2, 9, 20], [15, 15, 25, 25]]
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("filled-field", "note")]
    empty = read.read(tmp_path, "val")
    assert (empty.samples[0].size_hw, len(empty.samples[0].boxes_xyxy)) == ((40, 60), 0)
    assert audit.audit(tmp_path).objects == 3


def test_rotated_rectangles_and_masks_are_the_boxes_around_them_and_other_shapes_are_counted_by_name(
    tmp_path: Path,
) -> None:
    corners = ((20, 5), (30, 15), (20, 25), (10, 15))
    put(
        tmp_path,
        "a",
        shape("oriented_rectangle", *corners),
        shape("rotation", *corners),
        shape("mask", (3, 4), (12, 8)) | {"mask": "iVBORw0KGgo"},  # the first and the last pixel
        shape("point", (3, 3)),
        shape("linestrip", (3, 3), (4, 4), (5, 5)),
        shape("point", (4, 3)),
    )
    dataset = read.read(tmp_path, "all")
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 30, 25], [10, 5, 30, 25], [3, 4, 13, 9]]
    notes = [fault.message for fault in dataset.faults]
    assert notes == ["1 linestrip, 2 point: shapes that are no boxes, and are not read."]


@pytest.mark.parametrize(
    ("bad", "kind", "path"),
    [
        ({"points": [[1, 2], [3, 4]]}, "bad-field", "shapes[1] "),
        (shape("rectangle", (1, 2)), "bad-box", "shapes[1].points"),
        (shape("polygon", (1, 2), (3, 4)), "bad-box", "shapes[1].points"),
        (shape("rectangle", (float("1e200"), 2), (3, 4)), "bad-box", "shapes[1].points"),
        (shape("rectangle", (5, 5), (5, 9)), "zero-size-box", "shapes[1]: box (5, 5, 5, 9)"),
        (shape("rectangle", (70, 50), (90, 60)), "outside-box", "shapes[1]: box"),
        (shape("rectangle", (1, 2), (30, 40), label="cow"), "unknown-class", "shapes[1]: class 'cow'"),
    ],
)
def test_a_fault_has_its_path_in_the_json_and_costs_that_shape_alone(
    bad: dict[str, Any], kind: str, path: str, tmp_path: Path
) -> None:
    put(tmp_path, "a", shape("rectangle", (1, 2), (30, 40)), bad)
    dataset = labelme.read(tmp_path, "all", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name) for fault in dataset.faults] == [(kind, "a.json")]
    assert dataset.faults[0].message.startswith(path)
    assert dataset.samples[0].boxes_xyxy.tolist() == [[1, 2, 30, 40]]


def test_files_that_are_none_and_images_without_one_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a", shape("rectangle", (1, 2), (30, 40)))
    put(tmp_path, "b", shapes=3)
    put(tmp_path, "c")
    (tmp_path / "c.json").write_text("{")
    put(tmp_path, "d")
    (tmp_path / "d.json").unlink()
    kinds = {fault.file.name: fault.kind for fault in labelme.read(tmp_path, "all").faults}
    assert kinds == {"b.json": "bad-field", "c.json": "bad-json", "d.jpg": "missing-annotation"}
    assert len(labelme.read(tmp_path, "all", allow_unlabelled=True)) == 2


def test_other_json_is_not_labelmes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    assert not labelme.fits(tmp_path)
    assert not labelme.fits(tmp_path / "none")
    with pytest.raises(InputMissingError, match="no split 'train'"):
        labelme.read(tmp_path, "train")

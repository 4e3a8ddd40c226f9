from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.boxes import label_studio
from singleshot.data.check import audit
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import LabelMap
from tests.data.exports import image, text


def region(kind: str = "rectanglelabels", label: str = "cat", **value: Any) -> dict[str, Any]:
    if not value:
        value = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0}
    fields = {
        "original_width": 60,
        "original_height": 40,
        "image_rotation": 0,
        "from_name": "label",
        "to_name": "image",
    }
    return {**fields, "id": "r", "type": kind, "value": {**value, kind: [label]}}


def task(*regions: Any, name: str = "/data/upload/1/0f3a9c1e-a.jpg", **annotation: Any) -> dict[str, Any]:
    annotations = [{"id": 1, "result": list(regions), "was_cancelled": False, **annotation}]
    return {"id": 1, "data": {"image": name, "note": "x"}, "annotations": annotations, "predictions": []}


def put(root: Path, *tasks: Any) -> Path:
    image(root / "a.jpg")
    text(root / "export.json", json.dumps(list(tasks)))
    return root


def test_per_cent_become_pixels_and_other_shapes_the_boxes_around_them(tmp_path: Path) -> None:
    put(
        tmp_path,
        task(
            region(),
            region(x=50, y=25, width=25, height=25, rotation=90),
            region("polygonlabels", "dog", points=[[10, 10], [50, 20], [30, 75]], closed=True),
            region("ellipselabels", x=50, y=50, radiusX=10, radiusY=30, rotation=0),
            region("keypointlabels", x=1, y=2, width=0.5),
            region("brushlabels", format="rle", rle=[1, 2]),
        ),
    )
    dataset = read.read(tmp_path, "all")
    # The second: 15×10 pixels at (30, 10), turned clockwise about that corner, is 10×15 to the left of it.
    expected = [[15, 20, 45, 30], [20, 10, 30, 25], [6, 4, 30, 30], [24, 8, 36, 32]]
    np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, expected, atol=1e-9)
    assert dataset.label_map.names == ("cat", "dog") and dataset.outlines == 3
    assert dataset.samples[0].size_hw == (40, 60)
    (note,) = dataset.faults
    assert note.severity == "note" and note.message.startswith("1 brushlabels, 1 keypointlabels: not boxes")


def test_the_tags_rectangle_and_labels_together_are_one_object(tmp_path: Path) -> None:
    plain = region("rectangle")
    plain["value"].pop("rectangle")
    put(tmp_path, task(plain, region("labels")))
    assert len(read.read(tmp_path, "all").samples[0].boxes_xyxy) == 1


def test_the_ground_truth_counts_or_else_the_first_annotation_that_was_not_cancelled(tmp_path: Path) -> None:
    both = task(region(label="dog"), was_cancelled=True)
    both["annotations"] += task(region())["annotations"] + task(region(label="cow"), ground_truth=True)["annotations"]
    dataset = read.read(put(tmp_path, both), "all")
    assert dataset.label_map.names == ("cow",)
    assert [fault.message.split(":")[0] for fault in dataset.faults] == ["1 annotations of tasks that have another"]


def test_a_task_that_no_one_annotated_is_left_out_with_a_warning_and_an_empty_one_is_background(tmp_path: Path) -> None:
    put(tmp_path, task(region()), task(name="b.jpg"), task(region(), name="c.jpg", was_cancelled=True))
    image(tmp_path / "b.jpg"), image(tmp_path / "c.jpg")
    dataset = read.read(tmp_path, "all")
    assert [sample.image_id for sample in dataset.samples] == ["a", "b"]
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("missing-annotation", "warning")]
    assert len(read.read(tmp_path, "all", allow_unlabelled=True)) == 3


def test_the_short_export_has_the_same_boxes(tmp_path: Path) -> None:
    """JSON-MIN: a region's fields and its sizes are one object, in a list called after the tag."""
    flat = {**region()["value"], "original_width": 60, "original_height": 40}
    short = {"image": "/data/local-files/?d=pets/a.jpg", "id": 1, "label": [flat], "annotator": 1, "annotation_id": 5}
    put(tmp_path, short)
    dataset = read.read(tmp_path, "all")
    assert (dataset.layout, dataset.faults) == ("label_studio", ())
    np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, [[15, 20, 45, 30]])


@pytest.mark.parametrize(
    "name",
    ["s3://bucket/pets/a.jpg", "https://x.org/a.jpg?size=2", "/data/upload/3/0f3a9c1e-a.jpg", "C%3A%5Cpets%5Ca.jpg"],
)
def test_an_image_is_found_by_the_end_of_any_servers_name(name: str, tmp_path: Path) -> None:
    assert len(read.read(put(tmp_path, task(region(), name=name)), "all")) == 1


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (3, "bad-field"),
        (region(x=1, y="2", width=3, height=4), "bad-box"),
        (region("polygonlabels", points=[[1, 2], [3, 4]]), "bad-box"),
        (region("polygonlabels", points=[[1, 2], [3, 4], [5, None]]), "bad-box"),
        (region(label=" "), "bad-field"),
        (region(label="cow"), "unknown-class"),
        (region() | {"original_width": 0}, "bad-field"),
        (region() | {"image_rotation": 90}, "bad-field"),
        (region(x=10, y=10, width=0, height=5), "zero-size-box"),
    ],
)
def test_a_fault_has_its_json_path_and_costs_that_region_alone(bad: Any, kind: str, tmp_path: Path) -> None:
    put(tmp_path, task(region(), bad))
    dataset = label_studio.read(tmp_path, "all", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name) for fault in dataset.faults] == [(kind, "export.json")]
    assert dataset.faults[0].message.startswith("[0].annotations[0].result[1]")
    assert len(dataset.samples[0].boxes_xyxy) == 1


def test_a_task_without_image_and_an_image_that_is_not_there_are_named(tmp_path: Path) -> None:
    put(tmp_path, task(region()), {"data": {"text": "hello"}}, task(region(), name="x.jpg"))
    found = [(fault.kind, fault.message.split(":")[0].split(" ")[0]) for fault in audit.audit(tmp_path).faults]
    assert found == [("bad-field", "[1]"), ("missing-picture", "[2]")]


def test_doubled_boxes_are_named_with_their_image(tmp_path: Path) -> None:
    messages = [fault.message for fault in audit.audit(put(tmp_path, task(region(), region()))).faults]
    assert len(messages) == 1 and "result[1] of a.jpg: box (15, 20, 45, 30) of class 'cat'" in messages[0]


def test_other_json_is_not_label_studios(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    text(tmp_path / "export.json", '[{"a": 1}]')
    assert not label_studio.fits(tmp_path) and not label_studio.fits(tmp_path / "none")
    text(tmp_path / "export.json", '{"annotations": 1}')
    with pytest.raises(DataError, match="not a list of tasks"):
        label_studio.read(tmp_path / "export.json", "all")
    with pytest.raises(InputMissingError):
        label_studio.read(tmp_path / "none", "all")

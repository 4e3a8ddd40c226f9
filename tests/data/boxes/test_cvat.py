from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.boxes import cvat
from singleshot.data.check import audit
from singleshot.errors import DataError
from singleshot.structures import LabelMap
from tests.data.exports import image, text


def put(root: Path, *shapes: str, size: str = 'width="60" height="40"', more: str = "") -> Path:
    """Write an image and its export; the first shape is in line 3."""
    image(root / "images" / "a.jpg")
    rows = "\n".join(shapes)
    body = f'<annotations><version>1.1</version>\n<image id="0" name="a.jpg" {size}>\n{rows}\n</image>{more}\n'
    text(root / "annotations.xml", body + "</annotations>\n")
    return root


def box(name: str = "cat", left: object = 10, more: str = "") -> str:
    return f'<box label="{name}" occluded="0" xtl="{left}" ytl="5.00" xbr="50.00" ybr="35.00" {more}/>'


def test_rotated_boxes_polygons_ellipses_and_masks_are_the_boxes_around_them(tmp_path: Path) -> None:
    put(
        tmp_path,
        box(more='rotation="90.00"'),
        '<polygon label="dog" points="1.50,2.00;30.00,4.00;20.00,25.25" z_order="0"><attribute name="x">1</attribute>'
        "</polygon>",
        '<ellipse label="cat" cx="30" cy="20" rx="10" ry="4" rotation="90"/>',
        '<mask label="dog" rle="3, 5" left="2" top="4" width="4" height="2"/>',
        '<polyline label="dog" points="1,2;3,4"/>',
        '<points label="dog" points="1,2"/><tag label="dog"/>',
    )
    dataset = cvat.read(tmp_path, "all")
    # The first: 40×30 about (30, 20) upright is 30×40.
    expected = [[15, 0, 45, 40], [1.5, 2, 30, 25.25], [26, 10, 34, 30], [2, 4, 6, 6]]
    np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, expected)
    assert [dataset.label_map.names[each] for each in dataset.samples[0].class_ids] == ["cat", "dog", "cat", "dog"]
    assert dataset.samples[0].box_places is not None and dataset.samples[0].box_places.tolist() == [3, 4, 5, 6]
    assert dataset.outlines == 4
    (note,) = dataset.faults
    assert (note.kind, note.severity) == ("filled-field", "note")
    assert note.message.startswith("1 points, 1 polyline: shapes that are no boxes")


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (box(left="x"), "not-a-number"),
        (box(left="1e400"), "not-a-number"),
        (box(more='rotation="nan"'), "not-a-number"),
        ('<polygon label="cat" points="1,2;3,4"/>', "bad-box"),
        ('<polygon label="cat" points="1,2;3,4;5"/>', "bad-box"),
        ('<polygon label="cat"/>', "not-a-number"),
        (box(name=" "), "missing-tag"),
        (box(name="cow"), "unknown-class"),
        (box(left="50.00"), "zero-size-box"),
    ],
)
def test_a_fault_has_its_line_and_costs_that_shape_alone(shape: str, kind: str, tmp_path: Path) -> None:
    put(tmp_path, box(), shape)
    dataset = cvat.read(tmp_path, "all", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name, fault.line) for fault in dataset.faults] == [(kind, "annotations.xml", 4)]
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 50, 35]]


def test_subsets_are_splits_and_an_image_without_shapes_is_one(tmp_path: Path) -> None:
    for subset in ("Train", "Validation"):
        image(tmp_path / "images" / subset / "a.jpg")
    rows = "".join(
        f'<image id="{number}" name="a.jpg" subset="{subset}" width="60" height="40">{shape}</image>'
        for number, (subset, shape) in enumerate((("Train", box()), ("Validation", "")))
    )
    text(tmp_path / "annotations.xml", f"<annotations><version>1.1</version>{rows}</annotations>")
    assert read.splits(tmp_path) == ["train", "val"]
    (val,) = read.read(tmp_path, "val").samples
    assert (val.image_path.parent.name, len(val.boxes_xyxy), val.size_hw) == ("Validation", 0, (40, 60))
    assert audit.audit(tmp_path).images == 2


def test_an_image_that_is_missing_or_has_another_size_is_named(tmp_path: Path) -> None:
    put(tmp_path, box(), size='width="61" height="40"', more='\n<image id="1" name="x/b.jpg" width="9" height="9"/>')
    found = {fault.kind: fault for fault in audit.audit(tmp_path).faults}
    assert (found["missing-picture"].line, found["missing-picture"].file.name) == (5, "annotations.xml")
    assert found["wrong-size"].severity == "fatal"
    put(tmp_path, box(), size='width="" height="0"')
    assert [fault.kind for fault in cvat.read(tmp_path, "all").faults] == ["zero-picture-size"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('<annotations><version>1.1</version><image id="0" name="a.jpg">', "bad-xml"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations><version>1.1</version></annotations>', "forbidden-xml"),
        ('<annotations><version>1.1</version><track id="0" label="cat"/></annotations>', "not-an-annotation"),
        ("<annotation/>", "not-an-annotation"),
        ("<annotations>" + "<a>" * 70, "too-large-xml"),
    ],
)
def test_other_files_are_refused_with_their_line(content: str, kind: str, tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    text(tmp_path / "annotations.xml", content)
    with pytest.raises(DataError) as raised:
        cvat.read(tmp_path / "annotations.xml", "all")
    assert (raised.value.kind, raised.value.line) == (kind, 1)

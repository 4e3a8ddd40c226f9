from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.check import audit
from singleshot.data.masks import files, outlines
from singleshot.errors import DataError
from singleshot.structures import VOID, MaskCode
from tests.data.exports import image, labelme_masks, text


def inside(x: Fraction, y: Fraction, points: list[tuple[float, float]]) -> bool:
    """Whether a ray to the left crosses an odd number of edges, in exact arithmetic."""
    odd = False
    for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True):
        a1, b1, a2, b2 = (Fraction(each) for each in (x1, y1, x2, y2))
        if (b1 <= y) != (b2 <= y) and x >= a1 + (y - b1) * (a2 - a1) / (b2 - b1):
            odd = not odd
    return odd


@pytest.mark.parametrize("seed", range(30))
def test_a_pixel_is_inside_where_its_centre_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-4, 16, (int(rng.integers(3, 9)), 2))
    corners = np.round(corners * 2) / 2 if seed % 2 else corners  # through the centres, too
    points = [(float(x), float(y)) for x, y in corners]
    expected = [[inside(Fraction(2 * x + 1, 2), Fraction(2 * y + 1, 2), points) for x in range(12)] for y in range(10)]
    np.testing.assert_array_equal(outlines.polygon((10, 12), points), expected)


def test_polygons_with_a_common_edge_share_no_pixel_and_leave_none_out() -> None:
    left = outlines.polygon((9, 9), [(0.0, 0.0), (3.3, 0.0), (6.1, 9.0), (0.0, 9.0)])
    right = outlines.polygon((9, 9), [(3.3, 0.0), (9.0, 0.0), (9.0, 9.0), (6.1, 9.0)])
    assert not (left & right).any() and (left | right).all()


def test_one_with_a_hole_is_drawn_by_the_even_odd_rule_and_one_without_area_covers_nothing() -> None:
    star = [
        (0.0, 0.0),
        (8.0, 0.0),
        (8.0, 8.0),
        (0.0, 8.0),
        (0.0, 0.0),
        (2.0, 2.0),
        (6.0, 2.0),
        (6.0, 6.0),
        (2.0, 6.0),
        (2.0, 2.0),
    ]
    assert outlines.polygon((8, 8), star).sum() == 64 - 16
    assert not outlines.polygon((8, 8), [(1.0, 1.0), (5.0, 1.0), (3.0, 1.0)]).any()
    assert not outlines.polygon((8, 8), [(9.0, 9.0), (12.0, 9.0), (12.0, 12.0)]).any()


def put(root: Path, *shapes: Any, **fields: Any) -> None:
    image(root / "a.jpg")
    content = {"shapes": list(shapes), "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60, **fields}
    text(root / "a.json", json.dumps(content))


def shape(label: str, *points: tuple[float, float], kind: str = "rectangle") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind}


def test_later_shapes_lie_over_earlier_ones_and_ignored_ones_are_void(tmp_path: Path) -> None:
    put(
        tmp_path,
        shape("dog", (0, 0), (10, 10)),
        shape("cat", (20, 20), (20, 25), kind="circle"),
        shape("__ignore__", (5, 5), (15, 15)),
        shape("_background_", (0, 0), (2, 2)),
        shape("dog", (1, 1), (2, 2), kind="line"),
    )
    dataset = read.read(tmp_path, "all", with_masks=True)
    assert dataset.label_map.names == ("_background_", "cat", "dog") and dataset.mask_code is not None
    assert [fault.severity for fault in dataset.faults] == ["note"]
    drawn = files.read(tmp_path / "a.json", dataset.mask_code)
    assert (drawn == VOID).sum() == 100 and (drawn == 2).sum() == 100 - 25 - 4
    assert abs(int((drawn == 1).sum()) - 25 * np.pi) < 3 and drawn.shape == (40, 60)
    boxes = read.read(tmp_path, "all")  # for a detector
    assert boxes.layout == "labelme" and len(boxes.samples[0].boxes_xyxy) == 4
    assert read.read(tmp_path, "all", layout="labelme", with_masks=True).layout == "labelme_masks"


def test_rotated_rectangles_are_drawn_and_the_rectangle_of_an_embedded_mask_is_void(tmp_path: Path) -> None:
    put(
        tmp_path,
        shape("dog", (20, 10), (30, 20), (20, 30), (10, 20), kind="oriented_rectangle"),
        shape("dog", (50, 30), (54, 33), kind="mask") | {"mask": "iVBORw0KGgo"},
    )
    dataset = read.read(tmp_path, "all", with_masks=True)
    assert dataset.mask_code is not None and dataset.label_map.names == ("_background_", "dog")
    drawn = files.read(tmp_path / "a.json", dataset.mask_code)
    assert (drawn == VOID).sum() == 5 * 4 and (drawn[30:34, 50:55] == VOID).all()
    assert abs(int((drawn == 1).sum()) - 200) <= 20  # a square on its corner


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"shapes": []}, "bad-field"),
        ({"shapes": [shape("cow", (1, 2), (3, 4))], "imageHeight": 4, "imageWidth": 4}, "unknown-mask-value"),
        ({"shapes": [shape("cat", (1, 2))], "imageHeight": 4, "imageWidth": 4}, "bad-box"),
        ({"shapes": [], "imageHeight": 900_000, "imageWidth": 900_000}, "too-large-mask"),
        ([], "bad-field"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_path(content: Any, kind: str, tmp_path: Path) -> None:
    text(tmp_path / "a.json", json.dumps(content))
    with pytest.raises(DataError) as raised:
        outlines.draw(tmp_path / "a.json", MaskCode(tuple(range(256)), names=("_background_", "cat")))
    assert raised.value.kind == kind


def test_a_size_that_is_not_the_images_own_is_a_fault(tmp_path: Path) -> None:
    labelme_masks(tmp_path)
    image(tmp_path / "a.jpg", (61, 40))
    found = audit.audit(tmp_path, data_format="labelme_masks").faults
    assert [(fault.kind, fault.file.name) for fault in found] == [("wrong-size", "a.jpg")]

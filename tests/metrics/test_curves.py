"""The picture of the curves: its marks by number, and that it is drawn for every kind of result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot.errors import UsageError
from singleshot.metrics.average_precision import all_point_ap, precision_recall
from singleshot.metrics.curves import draw_precision_recall, operating_point
from singleshot.metrics.voc_ap import ClassResult

NONE = np.empty(0)
ABSENT = ClassResult(None, NONE, NONE, NONE, 0, 3)
NEVER_FOUND = ClassResult(0.0, NONE, NONE, NONE, 4, 0)


def result(seed: int = 0) -> ClassResult:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.random(50))[::-1]
    precision, recall = precision_recall(rng.random(50) < scores, 40)
    return ClassResult(all_point_ap(precision, recall), precision, recall, scores, 40, 50)


def test_the_operating_point_is_the_last_one_at_or_above_the_threshold():
    curve = ClassResult(1.0, np.array([1.0, 0.5, 2 / 3]), np.array([0.25, 0.25, 0.5]), np.array([0.9, 0.5, 0.1]), 4, 3)
    assert operating_point(curve, 0.5) == (0.25, 0.5)
    assert operating_point(curve, 0.1) == (0.5, 2 / 3)


@pytest.mark.parametrize("curve", [ABSENT, NEVER_FOUND])
def test_a_class_without_detections_has_no_operating_point(curve: ClassResult):
    assert operating_point(curve, 0.01) is None


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"absent": ABSENT},
        {"never found": NEVER_FOUND},
        {"car": result(), "absent": ABSENT, "never found": NEVER_FOUND, "$5_^ {note": result(1)},
        {f"class {seed}": result(seed) for seed in range(40)},
    ],
    ids=["no classes", "absent", "never found", "few", "many"],
)
def test_an_image_is_drawn_for_every_kind_of_result(tmp_path: Path, curves: dict):
    path = tmp_path / "curves.png"
    draw_precision_recall(curves, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400


def test_a_curve_puts_its_colour_on_the_image(tmp_path: Path):
    draw_precision_recall({"absent": ABSENT}, tmp_path / "without.png")
    draw_precision_recall({"car": result()}, tmp_path / "with.png")
    blue = np.array((31, 119, 180))
    counts = [
        int((np.asarray(Image.open(tmp_path / name).convert("RGB")) == blue).all(axis=-1).sum())
        for name in ("without.png", "with.png")
    ]
    assert counts[0] == 0
    assert counts[1] > 500


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_the_suffix_says_the_format_and_the_folder_is_made(tmp_path: Path, name: str, start: bytes):
    draw_precision_recall({"car": result()}, tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().startswith(start)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]  # no temporary file stays


@pytest.mark.parametrize("name", ["curves", "curves.tmp", "curves.json"])
def test_another_suffix_is_refused_and_nothing_is_written(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        draw_precision_recall({}, tmp_path / name)
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.boxes import voc
from singleshot.data.stats import draw_stats, measure
from singleshot.structures import Dataset, LabelMap, Sample


def sample(name: str, size_hw: tuple[int, int] | None, boxes: list[list[float]], class_ids: list[int]) -> Sample:
    rows = np.array(boxes, float).reshape(-1, 4)
    return Sample(name, Path(name), size_hw, rows, np.array(class_ids, int), np.arange(len(boxes)) == 1)


DATA = Dataset(
    Path("root"),
    "voc",
    "train",
    LabelMap(("cat", "dog", "owl")),
    (
        sample("a", (100, 100), [[0, 0, 20, 5], [10, 10, 20, 20]], [0, 0]),
        sample("b", (100, 100), [], []),
        sample("c", None, [[0, 0, 8, 2]], [1]),
    ),
)


def test_the_figures_equal_those_worked_out_by_hand() -> None:
    found = measure(DATA)
    assert (found.images, found.boxes_per_image.tolist(), found.difficult) == (3, [2, 0, 1], 1)
    assert found.sides_px.tolist() == [10.0, 10.0, 4.0]
    assert found.shares[:2].tolist() == pytest.approx([0.1, 0.1]) and np.isnan(found.shares[2])
    assert found.aspect_ratios.tolist() == [4.0, 1.0, 4.0]
    assert found.objects_of_class.tolist() == [2, 1, 0] and found.images_of_class.tolist() == [1, 1, 0]
    assert found.common_sizes_hw() == [((100, 100), 2)]


def test_the_json_is_strict_and_null_where_there_are_no_objects() -> None:
    facts = json.loads(json.dumps(measure(DATA).as_json(), allow_nan=False))
    assert facts["pictures_without_objects"] == 1 and facts["objects"] == 3
    assert facts["classes"]["owl"] == {"objects": 0, "pictures": 0, "side_px": None, "aspect_ratio": None}
    assert facts["classes"]["cat"]["side_px"]["0.5"] == 10.0
    assert facts["boxes_per_picture"] == {"0": 1, "1": 1, "2": 1}


def test_a_split_without_images_has_empty_figures() -> None:
    facts = measure(Dataset(Path("root"), "voc", "train", LabelMap(("cat",)), ())).as_json()
    assert facts["pictures"] == facts["objects"] == 0 and facts["side_px"] is None
    assert facts["picture_sizes"]["smallest_hw"] is None


def test_the_figures_of_bccd(shared: Path) -> None:
    found = measure(voc.read(shared / "data/bccd", "test"))
    assert found.images == 72 and found.common_sizes_hw() == [((480, 640), 72)]
    assert int(found.objects_of_class.sum()) == 945


def test_plots_are_drawn_for_many_classes_odd_names_and_no_data(tmp_path: Path) -> None:
    names = LabelMap(("$100$", *(f"class {i}" for i in range(40))))
    rows = np.array([[0.0, 0.0, 20.0, 5.0], [1.0, 1.0, 2.0, 9.0]])
    ids = np.array([0, 7])
    samples = [Sample(f"{i}", Path("x"), (60 + i, 80), rows, ids, np.zeros(2, bool)) for i in range(4)]
    data = Dataset(Path("root"), "voc", "train", names, samples)
    draw_stats(measure(data), tmp_path / "a.png", title="a_b$c")
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 1000
    draw_stats(measure(replace(data, samples=())), tmp_path / "b.png", title="empty")
    assert cv2.imread(str(tmp_path / "b.png")) is not None

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from singleshot.data.stats import measure
from singleshot.data.stats_plot import draw_stats
from singleshot.structures import Dataset, LabelMap, Sample


def test_plots_are_drawn_of_many_classes_with_strange_names_and_of_nothing(tmp_path: Path) -> None:
    names = LabelMap(("$100$", *(f"class {i}" for i in range(40))))
    rows = np.array([[0.0, 0.0, 20.0, 5.0], [1.0, 1.0, 2.0, 9.0]])
    ids = np.array([0, 7])
    samples = [Sample(f"{i}", Path("x"), (60 + i, 80), rows, ids, np.zeros(2, bool)) for i in range(4)]
    data = Dataset(Path("root"), "voc", "train", names, samples)
    draw_stats(measure(data), tmp_path / "a.png", title="a_b$c")
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 1000
    draw_stats(measure(replace(data, samples=())), tmp_path / "b.png", title="empty")
    assert cv2.imread(str(tmp_path / "b.png")) is not None

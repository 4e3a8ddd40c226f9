from __future__ import annotations

import numpy as np

from benchmarks.select_images import curve, farthest_first, uncertainty


def test_unsure_scores_count_and_an_image_without_detections_is_certain() -> None:
    assert uncertainty(np.array([])) == 0.0 and uncertainty(np.array([1.0, 0.0])) == 0.0
    assert uncertainty(np.array([0.5])) == 1.0 > uncertainty(np.array([0.9]))


def test_each_next_image_is_the_farthest_from_all_before() -> None:
    features = np.array([[0.0], [0.1], [1.0], [5.0], [5.1]])
    assert farthest_first(features, [0], [1, 2, 3, 4], 2) == [4, 2]
    assert farthest_first(features, [0], [1], 5) == [1] and farthest_first(features, [0], [], 3) == []


def test_the_curve_states_the_difference_and_its_interval_at_each_size() -> None:
    rows = [
        {
            "seed": 0,
            "size": size,
            "way": way,
            "figures": dict.fromkeys(("AP50", "AP75", "AP50:95"), value),
            "drawn": {"AP50:95": [value + shift for shift in np.linspace(-0.1, 0.1, 40)]},
        }
        for size in (20, 50)
        for way, value in (("random", 0.5), ("chosen", 0.6))
    ]
    lines = curve(rows, [20, 50])
    assert lines[3] == "| 20 | chosen | 0.600 (0.600–0.600) | 0.600 (0.600–0.600) | 0.600 (0.600–0.600) | " + (
        "+0.100 (+0.100 to +0.100) |"
    )

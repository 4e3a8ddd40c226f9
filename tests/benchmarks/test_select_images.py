from __future__ import annotations

import numpy as np

from benchmarks.select_images import curve


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

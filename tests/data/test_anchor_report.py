from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from singleshot.data import anchor_report
from singleshot.detection.ssd import config_for
from singleshot.structures import Sample

CONFIG = config_for("vgg300", ("car", "light"))


def picture(boxes: list[list[float]], class_ids: list[int], size_hw: tuple[int, int] | None = (300, 300)) -> Sample:
    count = len(boxes)
    boxes_xyxy = np.array(boxes, float).reshape(-1, 4)
    return Sample("a", Path("a.jpg"), size_hw, boxes_xyxy, np.array(class_ids, int), np.zeros(count, bool))


# Around (92, 92), the centre of a cell of the first map: a square of 30 is a default box there, one of 8 is in none.
CAR, LIGHT = [77.0, 77.0, 107.0, 107.0], [88.0, 88.0, 96.0, 96.0]


def test_objects_are_grouped_by_class_and_size_and_counted() -> None:
    found = anchor_report.report([picture([CAR, LIGHT], [0, 1]), picture([LIGHT], [1]), picture([], [])], CONFIG)
    assert [(g.class_name, g.size_px, g.objects, g.reached) for g in found.groups] == [
        ("car", (16.0, 32.0), 1, 1),
        ("light", (8.0, 16.0), 2, 0),
    ]
    # 8·8 of 30·30 by hand, for the square of 30; the box of √2·30 by 30/√2 is as large.
    assert found.best_iou.tolist() == pytest.approx([1.0, 64 / 900, 64 / 900], abs=1e-6)
    assert found.unreached == pytest.approx(2 / 3)
    assert found.unreached_fitted <= found.unreached


def test_the_json_holds_the_figures_and_adds_up() -> None:
    facts = anchor_report.report([picture([CAR, LIGHT], [0, 1])], CONFIG).as_json()
    assert facts["objects"] == 2 and facts["unreached"] == 0.5
    assert sum(facts["histogram"]["counts"]) == 2 == sum(facts["histogram"]["counts_fitted"])
    assert len(facts["suggested"]) == 6 and set(facts["suggested"][0]) >= {"min_size", "ratios"}
    big = anchor_report.report([picture([[0.0, 0.0, 290.0, 290.0]], [0])], CONFIG).as_json()
    assert big["groups"][0]["size_px"] == [128.0, None]
    assert not any(math.isinf(edge or 0) for group in big["groups"] for edge in group["size_px"])


def test_no_objects_give_an_empty_report_and_no_warning() -> None:
    found = anchor_report.report([picture([], [])], CONFIG)
    assert found.groups == () and found.unreached == 0.0 and found.suggested == CONFIG.anchors
    assert anchor_report.warning([picture([], [])], CONFIG) is None
    assert anchor_report.warning([], CONFIG) is None
    assert anchor_report.warning([picture([LIGHT], [1], size_hw=None)], CONFIG) is None


def test_the_warning_starts_above_five_in_a_hundred() -> None:
    fine = [picture([CAR], [0])] * 95
    assert anchor_report.warning([*fine, *[picture([LIGHT], [1])] * 5], CONFIG) is None
    line = anchor_report.warning([*fine, *[picture([LIGHT], [1])] * 10], CONFIG)
    assert line is not None and line.startswith("10% of the objects") and "data anchors" in line

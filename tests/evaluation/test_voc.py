from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot.errors import DataError
from singleshot.evaluation.voc import SIZE_BANDS_PX, VocReport, threshold_warning, voc_report, voc_table
from singleshot.structures import Dataset, Detections, LabelMap, Sample

NAMES = LabelMap(("car", "bus"))


def sample(name: str, boxes_xyxy: list, class_ids: list[int], difficult: list[bool] | None = None) -> Sample:
    count = len(boxes_xyxy)
    return Sample(
        name,
        Path(f"{name}.jpg"),
        (100, 200),
        np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4),
        np.array(class_ids, dtype=np.int64),
        np.array(difficult if difficult is not None else [False] * count, dtype=np.bool_),
    )


def split(*samples: Sample) -> Dataset:
    return Dataset(Path("data"), "voc", "test", NAMES, samples)


def detections(boxes_xyxy: list, scores: list[float], class_ids: list[int]) -> Detections:
    ids = np.array(class_ids, dtype=np.int64)
    boxes = np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(scores, dtype=np.float32), ids, NAMES.names_of(ids), (100, 200))


ONE, TWO = [10.0, 10.0, 40.0, 40.0], [60.0, 10.0, 160.0, 90.0]
NOTHING = detections([], [], [])


def by_hand() -> VocReport:
    """Two cars, one found at 0.4; a bus found at 0.2 after a miss at 0.3."""
    there = split(sample("a", [ONE, TWO], [0, 0]), sample("b", [TWO], [1]), sample("c", [], []))
    found = [detections([ONE], [0.4], [0]), detections([ONE, TWO], [0.3, 0.2], [1, 1]), NOTHING]
    return voc_report(found, there, metric="voc12", size_bands_px=SIZE_BANDS_PX)


def test_a_report_worked_by_hand():
    report = by_hand()
    assert report.ap == {"car": 0.5, "bus": 0.5}
    assert report.map == 0.5
    assert (report.images, report.ground_truths, report.detections) == (3, 3, 3)
    assert report.curves["bus"].precision.tolist() == [0.0, 0.5]


def test_thresholds_keep_the_figures_of_what_scores_at_least_that():
    at = by_hand().at_thresholds
    assert list(at) == [0.01, 0.1, 0.3, 0.5]
    assert [figures.ap for figures in at.values()] == [
        {"car": 0.5, "bus": 0.5},
        {"car": 0.5, "bus": 0.5},
        {"car": 0.5, "bus": 0.0},
        {"car": 0.0, "bus": 0.0},
    ]
    assert [figures.map for figures in at.values()] == [0.5, 0.5, 0.25, 0.0]


def test_sizes_are_evaluated_one_by_one():
    bands = by_hand().ap_by_size
    # ONE is 30 pixels wide and high, TWO the root of 100 · 80, 89.
    assert [band.ground_truths for band in bands] == [0, 1, 2, 0]
    assert [band.ap for band in bands] == [
        {"car": None, "bus": None},
        {"car": 1.0, "bus": None},
        {"car": 0.0, "bus": 1.0},
        {"car": None, "bus": None},
    ]
    assert [band.map for band in bands] == [None, 1.0, 0.5, None]


def test_json_has_exactly_the_documented_keys_and_null_without_ground_truths():
    there = split(sample("a", [ONE], [0]))
    report = voc_report([detections([ONE], [0.5], [0])], there, size_bands_px=[(96.0, float("inf"))])
    written = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(written) == {
        "metric",
        "map",
        "map_interval",
        "ap",
        "images",
        "ground_truths",
        "detections",
        "at_thresholds",
        "ap_by_size",
    }
    assert written["metric"] == "voc07"
    assert written["ap"] == {"car": 1.0, "bus": None}
    assert (written["map"], written["images"], written["ground_truths"], written["detections"]) == (1.0, 1, 1, 1)
    assert written["at_thresholds"][3] == {"threshold": 0.5, "map": 1.0, "ap": {"car": 1.0, "bus": None}}
    assert written["ap_by_size"] == [
        {"size_px": [96.0, None], "ground_truths": 0, "map": None, "ap": {"car": None, "bus": None}}
    ]


def test_g1_no_detections_give_zero():
    report = voc_report([NOTHING, NOTHING], split(sample("a", [ONE], [0]), sample("b", [], [])))
    assert (report.map, report.ap, report.detections) == (0.0, {"car": 0.0, "bus": None}, 0)


def test_g2_no_ground_truths_give_none_and_null():
    report = voc_report([detections([ONE], [0.9], [0])], split(sample("a", [], [])))
    assert (report.map, report.ap, report.ground_truths) == (None, {"car": None, "bus": None}, 0)
    assert '"map": null' in json.dumps(report.as_json())
    empty = voc_report([], split())
    assert (empty.map, empty.images) == (None, 0)


def test_g10_only_difficult_ground_truths_give_none():
    report = voc_report([detections([ONE], [0.9], [0])], split(sample("a", [ONE], [0], [True])))
    assert (report.map, report.ground_truths, report.detections) == (None, 0, 1)


def test_g6_a_score_that_is_nan_is_refused():
    with pytest.raises(DataError):
        voc_report([detections([ONE], [float("nan")], [0])], split(sample("a", [ONE], [0])))


def test_detections_of_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="2 images for a split of 1"):
        voc_report([NOTHING, NOTHING], split(sample("a", [ONE], [0])))


@pytest.mark.parametrize(
    ("threshold", "warned"), [(0.0, False), (0.01, False), (0.05, False), (0.06, True), (0.5, True)]
)
def test_a_threshold_above_a_twentieth_is_warned_of(threshold: float, warned: bool):
    warning = threshold_warning(threshold)
    assert (warning is not None) == warned
    assert warning is None or f"{threshold:g} is not comparable" in warning


def test_the_table_shows_every_class_and_the_mean_and_takes_no_name_for_markup():
    from rich.console import Console

    there = replace(split(sample("a", [ONE], [0])), label_map=LabelMap(("[red]car", "bus")))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(voc_table(voc_report([NOTHING], there)))
    lines = capture.get().splitlines()
    assert any("[red]car" in line and "0.000" in line for line in lines)
    assert any("bus" in line and "n/a" in line for line in lines)
    assert any("mean" in line for line in lines)


def test_the_interval_of_the_mean_is_there_when_asked_for_and_brackets_it():
    samples = [sample(f"{index}", [ONE], [0]) for index in range(20)]
    found = [detections([ONE], [0.9], [0]) if index % 2 else detections([], [], []) for index in range(20)]
    there = split(*samples)
    assert voc_report(found, there).map_interval is None
    report = voc_report(found, there, metric="voc12", resamples=100)
    assert report.map_interval is not None and report.map == 0.5
    low, high = report.map_interval
    assert 0.2 < low < 0.5 < high < 0.8


def test_the_best_threshold_of_a_class_is_the_score_of_greatest_f1():
    """Scores .9 and .6 are right, .7 and .3 wrong: from .6 on precision is 2/3, recall 1 and F1 0.8."""
    there = split(sample("a", [ONE, TWO], [0, 0]))
    wrong = [120.0, 50.0, 150.0, 90.0]
    found = [detections([ONE, wrong, TWO, wrong], [0.9, 0.7, 0.6, 0.3], [0, 0, 0, 0])]
    thresholds = voc_report(found, there, metric="voc12").best_thresholds(otherwise=0.4)
    assert thresholds == (0.6, 0.4)  # of the other class there is nothing to find


def test_a_threshold_never_drops_the_detection_that_it_was_taken_from():
    score = float(np.float32(0.123456))
    report = voc_report([detections([ONE], [score], [0])], split(sample("a", [ONE], [0])))
    assert report.best_thresholds()[0] <= score and report.best_thresholds()[0] == 0.123

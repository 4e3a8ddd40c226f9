from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.boxes import coco, results
from singleshot.evaluation.coco import coco_report, coco_table, cut_warning
from singleshot.structures import Dataset, Detections, LabelMap, Sample

NAMES = LabelMap(("car", "bus"))
ONE, TWO = [10.0, 10.0, 40.0, 40.0], [60.0, 10.0, 160.0, 90.0]


def sample(boxes_xyxy: list, class_ids: list[int], **more: np.ndarray) -> Sample:
    count = len(boxes_xyxy)
    fields = {"difficult": np.zeros(count, np.bool_), **more}
    return Sample(
        "a", Path("a.jpg"), (100, 200), np.array(boxes_xyxy).reshape(-1, 4), np.array(class_ids, np.int64), **fields
    )


def split(*samples: Sample) -> Dataset:
    return Dataset(Path("data"), "coco", "val", NAMES, samples)


def detections(boxes_xyxy: list, scores: list[float], class_ids: list[int]) -> Detections:
    ids = np.array(class_ids, np.int64)
    boxes = np.array(boxes_xyxy, np.float64).reshape(-1, 4)
    return Detections(boxes, np.array(scores, np.float64), ids, NAMES.names_of(ids), (100, 200))


def test_cocos_own_example_has_the_expected_figures(shared: Path) -> None:
    folder = shared / "data" / "eval_coco"
    dataset = coco.read(folder / "ground_truth.json", "val", with_images=False)
    found = results.read_coco(folder / "instances_val2014_fakebbox100_results.json", dataset)
    report = coco_report(found, dataset)
    expected = json.loads((folder / "expected.json").read_text())
    assert {name.lower().replace("_", ""): value for name, value in report.summary.items()} == pytest.approx(
        {name.lower(): value for name, value in expected.items()}, abs=1e-6
    )
    assert (report.images, report.figures.ground_truths, report.figures.detections) == (100, 830, 734)


def test_a_report_worked_by_hand() -> None:
    """One of two cars is found: precision 1 up to recall 0.5, so 51 of the 101 points; the bus is missed."""
    report = coco_report([detections([ONE], [0.9], [0])], split(sample([ONE, TWO, ONE], [0, 0, 1])))
    assert report.ap == pytest.approx({"car": 51 / 101, "bus": 0.0})
    assert report.map == pytest.approx(51 / 202)
    assert report.ground_truths_of == {"car": 2, "bus": 1}


def test_json_has_cocos_figures_beside_the_common_ones() -> None:
    report = coco_report([detections([ONE], [0.9], [0])], split(sample([ONE], [0])))
    written = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert (written["metric"], written["map"]) == ("coco", pytest.approx(1))
    assert written["ap"] == {"car": pytest.approx(1), "bus": None}
    assert (written["images"], written["ground_truths"], written["detections"]) == (1, 1, 1)
    assert [written[name] for name in ("ap50", "ap_small", "ar100")] == pytest.approx([1, 1, 1])
    assert written["ap_large"] is None


def test_what_is_difficult_or_a_crowd_counts_neither_way() -> None:
    flag = np.array([False, True])
    there = split(sample([ONE, TWO], [0, 0], difficult=flag, crowd=flag, areas=np.array([900.0, 8000.0])))
    report = coco_report([detections([ONE, TWO, TWO], [0.9, 0.95, 0.8], [0, 0, 0])], there)
    assert (report.map, report.figures.ground_truths) == (pytest.approx(1), 1)


def test_annotated_areas_decide_what_is_small() -> None:
    there = split(sample([TWO], [0], areas=np.array([500.0])))
    report = coco_report([detections([TWO], [0.9], [0])], there)
    assert (report.summary["ap_small"], report.summary["ap_medium"]) == (pytest.approx(1), None)


def test_g1_no_detections_give_zero_and_g2_no_objects_give_none() -> None:
    assert coco_report([detections([], [], [])], split(sample([ONE], [0]))).map == 0.0
    nothing = coco_report([detections([ONE], [0.9], [0])], split(sample([], [])))
    assert (nothing.map, nothing.ap) == (None, {"car": None, "bus": None})


def test_g4_a_detection_that_occurs_twice_is_once_a_false_one() -> None:
    """Two cars; the first is found twice before the second: precision 1, 1/2, 2/3 at recalls 1/2, 1/2, 1."""
    report = coco_report([detections([ONE, ONE, TWO], [0.9, 0.8, 0.7], [0, 0, 0])], split(sample([ONE, TWO], [0, 0])))
    assert report.ap["car"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_g9_more_than_a_hundred_detections_of_a_class_in_an_image_are_noted() -> None:
    there = split(sample([ONE], [0]))
    few = coco_report([detections([ONE] * 100, [0.5] * 100, [0] * 100)], there)
    many = coco_report([detections([ONE] * 101, [0.5] * 101, [0] * 101)], there)
    assert cut_warning(few) is None
    warning = cut_warning(many)
    assert warning is not None
    assert warning.startswith("1 of 101 detections were not evaluated")


def test_detections_of_another_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images for a split of 2"):
        coco_report([detections([], [], [])], split(sample([], []), sample([], [])))


def test_the_table_shows_classes_with_objects_and_the_twelve_figures() -> None:
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(coco_table(coco_report([detections([ONE], [0.9], [0])], split(sample([ONE], [0])))))
    lines = capture.get().splitlines()
    assert any("car" in line and "1.000" in line for line in lines)
    assert not any("bus" in line for line in lines)
    assert sum(any(name in line for name in ("mean", "AP", "AR")) for line in lines[4:]) == 12
    assert any("AP large" in line and "n/a" in line for line in lines)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singleshot import evaluation, weights
from singleshot.data import voc
from singleshot.data.voc_xml import annotation_xml
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, Fault
from singleshot.evaluation import Report, judge, threshold_warning
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset, Detections, LabelMap, Sample

NAMES = LabelMap(("car", "bus"))
IDS = ("c", "a", "b", "e", "d")  # the split's order is its own


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of different sizes; the first has no object, the second a difficult one too."""
    folder = tmp_path_factory.mktemp("voc")
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for place, name in enumerate(IDS):
        height, width = 60 + 10 * place, 100 - 5 * place
        image = cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (width, height))
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), image)
        boxes_xyxy = np.array([[5.0, 5.0, 40.0, 50.0], [30.0, 10.0, 60.0, 40.0]])[: min(place, 2)]
        names = ["car", "bus"][: len(boxes_xyxy)]
        text = annotation_xml(
            f"{name}.jpg", (height, width), boxes_xyxy, names, difficult=np.arange(len(names)) == 2 - place
        )
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    (folder / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{name}\n" for name in IDS))
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> Dataset:
    return voc.read(root, "test", label_map=NAMES)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    network = SSD(config_for("lite320-fine", NAMES.names, input_size_hw=(96, 128))).eval()
    return Detector(network, bf16=False).with_postprocess(score_threshold=0.0, max_detections=20)


def test_there_is_one_answer_a_picture_in_the_order_of_the_split(detector: Detector, data: Dataset):
    seen: list[tuple[str, ...]] = []
    found = evaluation.detect(detector, data, batch_size=2, on_batch=lambda batch, _: seen.append(batch.image_ids))
    assert [sample.image_id for sample in data.samples] == list(IDS)
    assert [result.size_hw for result in found] == [sample.size_hw for sample in data.samples]
    assert sorted(name for batch in seen for name in batch) == sorted(IDS)
    assert max(map(len, seen)) == 2
    for sample, result in zip(data.samples, found, strict=True):
        alone = detector.predict(sample.image_path, threshold=0.0)
        assert len(result) == len(alone) > 0
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)


def test_a_split_without_pictures_has_no_answers(detector: Detector, data: Dataset):
    assert evaluation.detect(detector, replace(data, samples=())) == []


def broken(data: Dataset, tmp_path: Path) -> Dataset:
    """The same with picture 2 cut in half."""
    sample = data.samples[2]
    path = tmp_path / "cut.jpg"
    path.write_bytes(sample.image_path.read_bytes()[:400])
    samples = list(data.samples)
    samples[2] = replace(sample, image_path=path)
    return replace(data, samples=samples)


def test_a_broken_picture_ends_detection_unless_it_may_be_skipped(detector: Detector, data: Dataset, tmp_path: Path):
    with pytest.raises(DataError, match=r"cut\.jpg"):
        evaluation.detect(detector, broken(data, tmp_path))


def test_a_skipped_picture_has_empty_detections_and_is_reported(detector: Detector, data: Dataset, tmp_path: Path):
    skipped: list[Fault] = []
    found = evaluation.detect(detector, broken(data, tmp_path), on_bad="skip", on_skipped=skipped.extend)
    assert [fault.file.name for fault in skipped] == ["cut.jpg"]
    assert [len(result) > 0 for result in found] == [True, True, False, True, True]
    assert found[2].size_hw == data.samples[2].size_hw
    assert found[2].as_json() == []


def test_nothing_is_reported_where_nothing_was_skipped(detector: Detector, data: Dataset):
    skipped: list[list[Fault]] = []
    evaluation.detect(detector, data, on_bad="skip", on_skipped=skipped.append)
    assert skipped == []


def test_a_weights_file_and_a_folder_are_judged_as_detector_and_split_are(
    detector: Detector, data: Dataset, root: Path, tmp_path: Path
):
    weights.save(tmp_path / "w.safetensors", detector.network, {})
    one = evaluation.evaluate(tmp_path / "w.safetensors", root)
    other = evaluation.evaluate(detector, data)
    assert (one.images, one.ground_truths) == (other.images, other.ground_truths) == (5, 6)
    assert one.detections == other.detections == 100
    assert one.map == pytest.approx(other.map, abs=1e-3)


def test_a_threshold_drops_detections_before_they_are_judged(detector: Detector, data: Dataset):
    report = evaluation.evaluate(detector, data, threshold=1.0)
    assert (report.detections, report.map) == (0, 0.0)


def test_a_detector_of_other_classes_is_refused(detector: Detector, data: Dataset):
    with pytest.raises(DataError, match=r"bus, car, the detector's\s+car, bus"):
        evaluation.evaluate(detector, replace(data, label_map=LabelMap(("bus", "car"))))


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


def by_hand() -> Report:
    """Two cars, one found at 0.4; a bus found at 0.2 after a miss at 0.3."""
    there = split(sample("a", [ONE, TWO], [0, 0]), sample("b", [TWO], [1]), sample("c", [], []))
    found = [detections([ONE], [0.4], [0]), detections([ONE, TWO], [0.3, 0.2], [1, 1]), NOTHING]
    return judge(found, there, metric="voc12", size_bands_px=evaluation.SIZE_BANDS_PX)


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


def test_sizes_are_judged_one_by_one():
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
    report = judge([detections([ONE], [0.5], [0])], there, size_bands_px=[(96.0, float("inf"))])
    written = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(written) == {
        "metric",
        "map",
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
    report = judge([NOTHING, NOTHING], split(sample("a", [ONE], [0]), sample("b", [], [])))
    assert (report.map, report.ap, report.detections) == (0.0, {"car": 0.0, "bus": None}, 0)


def test_g2_no_ground_truths_give_none_and_null():
    report = judge([detections([ONE], [0.9], [0])], split(sample("a", [], [])))
    assert (report.map, report.ap, report.ground_truths) == (None, {"car": None, "bus": None}, 0)
    assert '"map": null' in json.dumps(report.as_json())
    empty = judge([], split())
    assert (empty.map, empty.images) == (None, 0)


def test_g10_only_difficult_ground_truths_give_none():
    report = judge([detections([ONE], [0.9], [0])], split(sample("a", [ONE], [0], [True])))
    assert (report.map, report.ground_truths, report.detections) == (None, 0, 1)


def test_g6_a_score_that_is_nan_is_refused():
    with pytest.raises(DataError):
        judge([detections([ONE], [float("nan")], [0])], split(sample("a", [ONE], [0])))


def test_detections_that_do_not_pair_off_with_the_pictures_are_refused():
    with pytest.raises(ValueError, match="2 pictures do not pair off with 1"):
        judge([NOTHING, NOTHING], split(sample("a", [ONE], [0])))


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
        console.print(evaluation.table(judge([NOTHING], there)))
    lines = capture.get().splitlines()
    assert any("[red]car" in line and "0.000" in line for line in lines)
    assert any("bus" in line and "n/a" in line for line in lines)
    assert any("mean" in line for line in lines)

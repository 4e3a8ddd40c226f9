from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from singleshot import weights
from singleshot.errors import DataError, Fault, FaultyDataError
from singleshot.evaluation.evaluate import detect_readable, evaluate
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset, LabelMap


def test_a_weights_file_and_a_folder_are_judged_as_detector_and_split_are(
    detector: Detector, data: Dataset, root: Path, tmp_path: Path
):
    weights.save(tmp_path / "w.safetensors", detector.network, {})
    one = evaluate(tmp_path / "w.safetensors", root)
    other = evaluate(detector, data)
    assert (one.images, one.ground_truths) == (other.images, other.ground_truths) == (5, 6)
    assert one.detections == other.detections == 100
    assert one.map == pytest.approx(other.map, abs=1e-3)


def test_a_threshold_drops_detections_before_they_are_judged(detector: Detector, data: Dataset):
    report = evaluate(detector, data, threshold=1.0)
    assert (report.detections, report.map) == (0, 0.0)


def test_a_detector_of_other_classes_is_refused(detector: Detector, data: Dataset):
    with pytest.raises(DataError, match=r"bus, car, the detector's\s+car, bus"):
        evaluate(detector, replace(data, label_map=LabelMap(("bus", "car"))))


def test_faulty_annotations_are_refused_from_python_too_unless_they_may_be_skipped(detector: Detector, data: Dataset):
    fault = Fault(Path("a.xml"), 3, "zero-size-box", "fatal", "no width.")
    with pytest.raises(FaultyDataError, match=r"a\.xml:3"):
        evaluate(detector, replace(data, faults=(fault,)))
    assert evaluate(detector, replace(data, faults=(fault,)), on_bad="skip").images == 5


def test_a_picture_that_cannot_be_read_is_no_picture_with_missed_objects(
    detector: Detector, data: Dataset, tmp_path: Path
):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(data.samples[2].image_path.read_bytes()[:400])
    samples = [replace(sample, image_path=cut) if place == 2 else sample for place, sample in enumerate(data.samples)]
    broken = replace(data, samples=samples)
    with pytest.raises(DataError, match=r"cut\.jpg"):
        evaluate(detector, broken)
    report = evaluate(detector, broken, on_bad="skip")
    rest = evaluate(detector, replace(data, samples=[*data.samples[:2], *data.samples[3:]]))
    assert (report.images, report.ground_truths) == (rest.images, rest.ground_truths) == (4, 5)
    found, kept, faults = detect_readable(detector, broken, on_bad="skip")
    assert len(found) == len(kept) == 4 and [fault.file for fault in faults] == [cut]


def test_a_split_without_pictures_is_judged_as_nothing(detector: Detector, data: Dataset):
    report = evaluate(detector, replace(data, samples=()))
    assert (report.images, report.map) == (0, None)

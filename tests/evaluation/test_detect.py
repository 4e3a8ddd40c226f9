from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot.detection.ssd import SSD
from singleshot.errors import DataError, Fault
from singleshot.evaluation.detect import detect
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset

IDS = ("c", "a", "b", "e", "d")  # the split's order is its own


def test_there_is_one_answer_a_picture_in_the_order_of_the_split(detector: Detector, data: Dataset):
    seen: list[tuple[str, ...]] = []
    found = detect(detector, data, batch_size=2, on_batch=lambda batch, _: seen.append(batch.image_ids))
    assert [sample.image_id for sample in data.samples] == list(IDS)
    assert [result.size_hw for result in found] == [sample.size_hw for sample in data.samples]
    assert sorted(name for batch in seen for name in batch) == sorted(IDS)
    assert max(map(len, seen)) == 2
    for sample, result in zip(data.samples, found, strict=True):
        alone = detector.predict(sample.image_path, threshold=0.0)
        assert len(result) == len(alone) > 0
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)


def test_a_letterboxing_detector_judges_what_it_predicts(detector: Detector, data: Dataset):
    config = detector.network.config
    how = replace(config.preprocess, fit="letterbox")
    network = SSD(replace(config, preprocess=how)).eval()
    network.load_state_dict(detector.network.state_dict())
    boxed = replace(detector, network=network)
    stretched = detect(detector, data)
    for sample, result, other in zip(data.samples, detect(boxed, data, batch_size=2), stretched, strict=True):
        alone = boxed.predict(sample.image_path, threshold=0.0)
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)
        np.testing.assert_allclose(result.boxes_xyxy, alone.boxes_xyxy, atol=1e-2)
        assert result.size_hw == sample.size_hw
        assert not np.allclose(result.scores, other.scores, atol=1e-5)


def test_a_split_without_pictures_has_no_answers(detector: Detector, data: Dataset):
    assert detect(detector, replace(data, samples=())) == []


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
        detect(detector, broken(data, tmp_path))


def test_a_skipped_picture_has_empty_detections_and_is_reported(detector: Detector, data: Dataset, tmp_path: Path):
    skipped: list[Fault] = []
    found = detect(detector, broken(data, tmp_path), on_bad="skip", on_skipped=skipped.extend)
    assert [fault.file.name for fault in skipped] == ["cut.jpg"]
    assert [len(result) > 0 for result in found] == [True, True, False, True, True]
    assert found[2].size_hw == data.samples[2].size_hw
    assert found[2].as_json() == []


def test_nothing_is_reported_where_nothing_was_skipped(detector: Detector, data: Dataset):
    skipped: list[list[Fault]] = []
    detect(detector, data, on_bad="skip", on_skipped=skipped.append)
    assert skipped == []

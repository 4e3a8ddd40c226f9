from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot.evaluation.paired import compare_detectors, compare_segmenters, only_class
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.structures import Dataset, Detections, LabelMap, Sample

NAMES = ("car", "person", "train")
IMAGES = 40


def sample(index: int) -> Sample:
    """A car in each image and a person in every second; no train."""
    ids = [0, 1] if index % 2 else [0]
    boxes = np.array([[0, 0, 20, 20], [40, 0, 60, 20]], np.float64)[: len(ids)]
    path = Path(f"{index}.jpg")
    return Sample(str(index), path, (64, 64), boxes, np.array(ids, np.int64), np.zeros(len(ids), np.bool_))


def found(index: int, classes: tuple[int, ...]) -> Detections:
    """What a detector gives that finds only the objects of some classes."""
    truth = sample(index)
    keep = np.isin(truth.class_ids, classes)
    ids = truth.class_ids[keep]
    scores = np.full(len(ids), 0.9, np.float32)
    names = np.array(NAMES, dtype=object)[ids]
    return Detections(truth.boxes_xyxy[keep].astype(np.float32), scores, ids, names, (64, 64))


@pytest.fixture
def split() -> Dataset:
    return Dataset(Path("data"), "voc", "val", LabelMap(NAMES), [sample(index) for index in range(IMAGES)])


def test_a_class_that_only_one_detector_finds_differs_by_more_than_chance_and_the_mean_with_it(split: Dataset) -> None:
    both = [found(index, (0, 1)) for index in range(IMAGES)]
    cars = [found(index, (0,)) for index in range(IMAGES)]
    mean, car, person, train = compare_detectors([both, cars], split, metric="voc12")
    assert [row.name for row in (mean, car, person, train)] == [None, *NAMES]
    assert (mean.truths, car.truths, person.truths, train.truths) == (60, 40, 20, 0)
    assert person.values == (1.0, 0.0) and person.differences == (0.0, -1.0)
    assert person.intervals == ((1.0, 1.0), (0.0, 0.0)) and person.difference_intervals[1] == (-1.0, -1.0)
    assert person.differs(1) and mean.differs(1) and mean.differences[1] == -0.5
    assert car.difference_intervals[1] == (0.0, 0.0) and not car.differs(1), "equal detectors do not differ"
    assert train.values == (None, None) and train.difference_intervals == (None, None) and not train.differs(1)


def test_one_image_more_is_no_more_than_chance_and_twenty_are(split: Dataset) -> None:
    all_cars = [found(index, (0,)) for index in range(IMAGES)]

    def without(count: int) -> list[Detections]:
        return [found(index, () if index < count else (0,)) for index in range(IMAGES)]

    one, twenty = (compare_detectors([without(count), all_cars], split, metric="voc12")[1] for count in (1, 20))
    assert one.differences[1] == pytest.approx(1 / 40) and not one.differs(1)
    assert twenty.differences[1] == pytest.approx(1 / 2) and twenty.differs(1)
    low, high = twenty.difference_intervals[1] or (0.0, 0.0)
    assert 0.3 < low < 0.5 < high < 0.7, "about 1.96 · √(0.25 / 40) = 0.15 to each side"


def test_a_split_without_images_has_no_figures(split: Dataset) -> None:
    rows = compare_detectors([[], []], replace(split, samples=[]), metric="voc12")
    assert all(row.values == (None, None) and row.intervals == (None, None) for row in rows)
    with pytest.raises(ValueError, match="detections of 0 images"):
        compare_detectors([[], []], split, metric="voc12")


def test_only_the_rows_of_a_class_remain_as_class_0(split: Dataset) -> None:
    flat = FlatDetections.from_images([found(index, (0, 1)) for index in range(IMAGES)])
    found_persons, persons = only_class(flat, GroundTruths.from_samples(split.samples), 1)
    assert len(found_persons) == len(persons) == 20
    assert not found_persons.class_ids.any() and set(persons.image_indices % 2) == {1}


def pixels(right: int, true: int, predicted: int) -> np.ndarray:
    """One image: its pixels of one class, and as many again that are background and right."""
    return np.array([[right, true], [true, true], [predicted, true]])


def test_iou_of_segmenters_is_that_of_the_pixels_of_all_images_with_the_interval_of_the_difference() -> None:
    half = np.stack([pixels(50, 100, 50)] * IMAGES)
    whole = np.stack([pixels(100, 100, 100)] * IMAGES)
    mean, thing, rest = compare_segmenters([half, whole], ("thing", "rest"))
    assert (mean.truths, thing.truths, mean.unit) == (8000, 4000, "pixels")
    assert thing.values == (0.5, 1.0) and rest.values == (1.0, 1.0) and mean.values[0] == pytest.approx(0.75)
    assert thing.intervals == ((0.5, 0.5), (1.0, 1.0)), "all images are alike, so no drawing differs"
    assert thing.difference_intervals[1] == (0.5, 0.5) and thing.differs(1) and not thing.differs(0)


def test_one_image_of_forty_is_no_more_than_chance_for_segmenters_too() -> None:
    good = np.stack([pixels(100, 100, 100)] * IMAGES)
    one = np.concatenate([good[1:], pixels(0, 100, 0)[None]])
    thing = compare_segmenters([good, one], ("thing", "rest"))[1]
    assert thing.differences[1] == pytest.approx(-1 / 40) and not thing.differs(1)
    low, high = thing.intervals[1] or (0.0, 0.0)
    assert 0.91 < low < 0.975 < high == 1.0, "the image is left out of a third of the drawings"


def test_a_class_that_nobody_has_and_a_split_without_images_have_no_iou() -> None:
    images = np.stack([np.array([[9, 0], [9, 0], [9, 0]])] * 3)
    mean, there, nowhere = compare_segmenters([images, images], ("there", "nowhere"))
    assert mean.values == there.values == (1.0, 1.0) and nowhere.values == (None, None)
    assert nowhere.intervals == (None, None) and not nowhere.differs(1)
    for row in compare_segmenters([images[:0], images[:0]], ("there", "nowhere")):
        assert row.values == (None, None) and row.intervals == (None, None) and row.truths == 0

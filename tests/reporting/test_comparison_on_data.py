"""What a comparison shows of data: the counts and scores of each image, the choice of images, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.data import read
from singleshot.data.masks import files as mask_files
from singleshot.errors import DataError
from singleshot.evaluation.paired import Paired
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.mean_iou import confusion, figures
from singleshot.prediction.predictor import Segmenter
from singleshot.reporting.comparison_on_data import (
    NamedModel,
    class_table,
    compare_on_data,
    image_counts,
    most_changed,
    most_different,
    verdict,
)
from singleshot.reporting.page import Html
from singleshot.reporting.report import SplitChoice
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.streets import write
from singleshot.structures import Dataset, MaskCode
from tests.reporting.conftest import found_in, nothing_in


@pytest.fixture(scope="module")
def segmenters() -> list[NamedModel]:
    """Two that have learned nothing."""
    models = []
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        network = FCN(config_for("fcn8s-fine", write.MASK_NAMES, (64, 96))).eval()
        models.append(NamedModel(name, Path(name) / "best.safetensors", Segmenter(network, bf16=False)))
    return models


def test_the_image_on_which_masks_differ_most_is_that_of_the_greatest_difference_of_mean_iou(
    segmenters: list[NamedModel], street_folder: Path
) -> None:
    shown = compare_on_data(segmenters, SplitChoice(street_folder, "test"))
    dataset = read.read(street_folder, "test", with_masks=True)
    assert shown.score == "mean IoU" and len(shown.dataset) == len(dataset) == 4 and shown.notes == []
    scores = []
    for each in segmenters:
        of_run = []
        for sample in dataset.samples:
            truth = mask_files.read(sample.mask_path or Path(), dataset.mask_code or MaskCode((0,) * 256))
            counts = confusion(truth, each.model.predict(sample.image_path).class_ids, len(dataset.label_map))
            of_run.append(figures(counts, dataset.label_map.names).miou)
        scores.append(of_run)
    change = np.subtract(scores[1], scores[0])
    most = int(np.argmax(np.abs(change)))
    expected = f"{dataset.samples[most].image_id}: mean IoU {scores[0][most]:.3f} of a (left) and "
    assert f"{expected}{scores[1][most]:.3f} of b (middle)" in shown.most_different
    assert shown.most_different.count("base64") == int((change != 0).sum())


def test_equal_segmenters_differ_on_no_image_and_by_no_more_than_chance(
    segmenters: list[NamedModel], street_folder: Path
) -> None:
    shown = compare_on_data([segmenters[0], replace(segmenters[0], name="c")], SplitChoice(street_folder, "test"))
    assert shown.most_different.count("On no image.") == 2 and "base64" not in shown.most_different
    assert "c and a differ by no more than chance (+0.000" in verdict(shown.paired[0], ["a", "c"])


def test_images_without_masks_are_refused(segmenters: list[NamedModel], street_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        compare_on_data(segmenters, SplitChoice(street_folder, "test", data_format="voc"))
    assert refused.value.exit_code == 65


def test_the_most_changed_images_are_few_in_order_and_without_those_that_are_equal() -> None:
    assert most_changed(np.zeros(3)) == ([], []) and most_changed(np.empty(0)) == ([], [])
    assert most_changed(np.arange(-6, 7)) == ([12, 11, 10, 9], [0, 1, 2, 3])
    shown = most_different(["a", "b"], [np.array([0, 2, -1])], lambda index, other: Html(f"{index} of {other}"), "note")
    better, worse = shown.split("<h3>a is better</h3>")
    assert "1 of 1" in better and "2 of 1" in worse and "0 of" not in shown


def test_the_table_of_classes_has_shares_of_pixels_for_segmenters_and_objects_for_detectors() -> None:
    both = ((0.25, 0.5), ((0.2, 0.3), (0.4, 0.6)), (0.0, 0.25), ((0.0, 0.0), (0.2, 0.3)))
    table = class_table([Paired(None, 400, *both, "pixels"), Paired("<road>", 100, *both, "pixels")], ["a", "b"])
    assert "IoU of a" in table and "share of true pixels" in table and "25.0%" in table and "&lt;road&gt;" in table
    assert "0.500 (0.400 to 0.600)" in table and "+0.250 (+0.200 to +0.300)" in table and ">yes<" in table
    table = class_table([Paired(None, 7, *both)], ["a", "b"])
    assert "AP of a" in table and ">7<" in table and "objects" in table


def test_objects_found_and_false_detections_are_counted_by_image(scenes: Dataset) -> None:
    truths, classes, images = GroundTruths.from_samples(scenes.samples), len(scenes.label_map), len(scenes)
    right, false, objects = image_counts(FlatDetections.from_images(nothing_in(scenes)), truths, classes, images)
    assert not right.any() and not false.any()
    assert objects.tolist() == [int((~sample.difficult).sum()) for sample in scenes.samples]
    right, false, _ = image_counts(FlatDetections.from_images(found_in(scenes)), truths, classes, images)
    assert np.all(false > 0) and np.all(right <= objects) and right.sum() > 0


def test_the_verdict_is_a_sentence_for_each_other_run() -> None:
    mean = Paired(None, 9, (0.5, 0.7, 0.51), (None,) * 3, (0.0, 0.2, 0.01), ((0.0, 0.0), (0.1, 0.3), (-0.1, 0.1)))
    assert verdict(mean, ["a", "b", "c"]) == (
        "b is better than a by more than chance (b: +0.200, 95 % interval +0.100 to +0.300). "
        "c and a differ by no more than chance (+0.010, 95 % interval -0.100 to +0.100)."
    )
    nothing = Paired(None, 0, (None, None), (None, None), (None, None), (None, None))
    assert "no object to find" in verdict(nothing, ["a", "b"])

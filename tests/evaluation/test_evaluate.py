from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot import weights
from singleshot.classes import CITYSCAPES
from singleshot.data.masks import cityscapes
from singleshot.data.masks import files as mask_files
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, Fault, FaultyDataError, UsageError
from singleshot.evaluation.evaluate import (
    MaskFromFile,
    evaluate,
    masks_from_files,
    metric_for,
    metric_of,
    pixel_metric,
)
from singleshot.evaluation.loop import eval_loader, evaluate_split
from singleshot.evaluation.maxf import MaxF, MaxfReport
from singleshot.evaluation.miou import MeanIoU, MiouReport
from singleshot.evaluation.voc import CollectDetections
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.structures import Batch, Dataset, FullSizeMasks, LabelMap, Segmentation


def test_a_weights_file_and_a_folder_score_as_detector_and_split_do(
    detector: Detector, data: Dataset, root: Path, tmp_path: Path
):
    weights.save(tmp_path / "w.safetensors", detector.network, {})
    one = evaluate(tmp_path / "w.safetensors", root)
    other = evaluate(detector, data)
    assert (one.images, one.ground_truths) == (other.images, other.ground_truths) == (5, 6)
    assert one.detections == other.detections == 100
    assert one.map == pytest.approx(other.map, abs=1e-3)


def test_a_threshold_drops_detections_before_they_are_scored(detector: Detector, data: Dataset):
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


def test_an_unreadable_image_is_not_an_image_with_missed_objects(detector: Detector, data: Dataset, tmp_path: Path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(data.samples[2].image_path.read_bytes()[:400])
    samples = [replace(sample, image_path=cut) if place == 2 else sample for place, sample in enumerate(data.samples)]
    broken = replace(data, samples=samples)
    with pytest.raises(DataError, match=r"cut\.jpg"):
        evaluate(detector, broken)
    report = evaluate(detector, broken, on_bad="skip")
    rest = evaluate(detector, replace(data, samples=[*data.samples[:2], *data.samples[3:]]))
    assert (report.images, report.ground_truths) == (rest.images, rest.ground_truths) == (4, 5)
    loader = eval_loader(detector, broken, on_bad="skip")
    found, readable = evaluate_split(detector, loader, CollectDetections(broken))
    assert len(found) == len(readable) == 4 and [fault.file for fault in loader.faults] == [cut]


def test_a_split_without_images_has_no_score(detector: Detector, data: Dataset):
    report = evaluate(detector, replace(data, samples=()))
    assert (report.images, report.map) == (0, None)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(FCN(config_for("fcn8s-fine", ["dark", "bright"], (48, 64))).eval())


def bare(split: Dataset, *places: int) -> Dataset:
    """The split with no mask at those places."""
    samples = [replace(one, mask_path=None) if i in places else one for i, one in enumerate(split.samples)]
    return replace(split, samples=samples)


def test_a_split_without_masks_is_refused_by_name_and_count(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    pixel_metric("miou", split)
    for lacking, words in (
        (bare(split, 1), "1 of 2 images of val have no mask"),
        (bare(split, 0, 1), "2 of 2 images"),
        (replace(split, mask_code=None), "2 of 2 images"),
    ):
        with pytest.raises(DataError, match=words) as raised:
            metric_for("miou", lacking)
        assert raised.value.kind == "no-masks" and raised.value.remedy == "Name a split with masks"


def test_miou_counts_classes_and_maxf_counts_probabilities(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    truth, blank = torch.tensor([[0, 1, 1, 1]], dtype=torch.uint8), torch.zeros(1, dtype=torch.bool)
    sizes_hw, images = torch.tensor([[1, 4]]), torch.zeros((1, 1, 4, 3), dtype=torch.uint8)
    batch = Batch(images, FullSizeMasks((truth,)), ("a",), torch.tensor([0]), sizes_hw, blank)
    road = np.array([[0.1, 0.9, 0.6, 0.2]], np.float32)
    names, colours = split.label_map.names, np.zeros((2, 3), np.uint8)
    result = Segmentation(np.array([[0, 1, 1, 0]], np.uint8), names, colours, np.stack([1 - road, road]))
    miou, maxf = metric_for("miou", split), metric_for("maxf", split)
    assert isinstance(miou, MeanIoU) and isinstance(maxf, MaxF)
    for metric in (miou, maxf):
        metric.update(batch, [result])
    assert miou.compute().figures.iou == {"dark": 0.5, "bright": pytest.approx(2 / 3)}
    # From 51 on (0.2 of 255, rounded) all of the road is found and nothing else.
    found = maxf.compute().by_category["urban"]
    assert (found.maxf, found.rec) == (1.0, 1.0) and found.threshold is not None and 25 < found.threshold <= 51
    miou.update(replace(batch, targets=FullSizeMasks((None,))), [result])
    assert miou.images == 1


def test_evaluate_scores_a_segmenter_as_the_loop_does(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    direct = evaluate_split(segmenter, eval_loader(segmenter, split), metric_for("miou", split))
    for data in (halves.root, split):
        report = evaluate(segmenter, data, split="val", metric="miou")
        assert isinstance(report, MiouReport) and report.as_json() == direct.as_json()
    maxf = evaluate(segmenter, split, metric="maxf")
    assert isinstance(maxf, MaxfReport) and maxf.images == 2
    empty = evaluate(segmenter, replace(split, samples=[]), metric="miou")
    assert isinstance(empty, MiouReport) and empty.figures.miou is None


def test_a_detectors_metric_for_a_segmenter_and_other_classes_are_refused(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    with pytest.raises(UsageError, match="voc07 is of a detector"):
        evaluate(segmenter, split, metric="voc07")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(DataError, match="the segmenter's dark, bright"):
        evaluate(segmenter, replace(split, label_map=LabelMap(("light", "shade"))), metric="miou")


def test_an_unreadable_mask_is_left_out_when_asked(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    halves.mask("val", 0).write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        evaluate(segmenter, split, metric="miou")
    loader = eval_loader(segmenter, split, on_bad="skip")
    assert evaluate_split(segmenter, loader, metric_for("miou", split)).images == 1
    assert [fault.file for fault in loader.faults] == [halves.mask("val", 0)]


def test_masks_come_in_the_splits_order_and_images_without_a_file_are_left_out(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    (result,) = masks_from_files([None, halves.mask("val", 1)], split, metric="miou")
    assert isinstance(result, MaskFromFile) and result.index == 1 and np.array_equal(result.values, result.truth)
    assert list(masks_from_files([None, None], split, metric="miou")) == []


def test_a_truth_that_cannot_be_read_is_left_out_when_asked(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for index, path in enumerate(files):
        path.write_bytes(halves.mask("val", index).read_bytes())
    halves.mask("val", 0).write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        list(masks_from_files(files, split, metric="miou"))
    fault, result = masks_from_files(files, split, metric="miou", on_bad="skip")
    assert isinstance(result, MaskFromFile) and result.index == 1
    assert isinstance(fault, Fault) and fault.file == halves.mask("val", 0)


def test_a_result_that_cannot_be_read_is_never_left_out(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    (tmp_path / "0.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        list(masks_from_files([tmp_path / "0.png", None], split, metric="miou", on_bad="skip"))


def test_maps_of_road_are_unchanged_and_must_have_the_images_size_or_the_views(halves: Any, tmp_path: Path) -> None:
    split, path = mask_folders.read(halves.root, "val"), tmp_path / "0.png"
    values = np.arange(48 * 64, dtype=np.int64).reshape(48, 64).astype(np.uint8)
    for each in (values, np.zeros((800, 400), np.uint8)):
        path.write_bytes(mask_files.encode(each))
        (result,) = masks_from_files([path, None], split, metric="maxf")
        assert isinstance(result, MaskFromFile) and np.array_equal(result.values, each)
    path.write_bytes(mask_files.encode(values[:5]))
    with pytest.raises(DataError, match="the result is 64×5"):
        list(masks_from_files([path, None], split, metric="maxf"))


def test_a_set_in_train_ids_is_refused_at_its_end(halves: Any, tmp_path: Path) -> None:
    """Each file holds 4 % of pixels below 7, as few as original ids may have; the set has nothing above 18."""
    names = LabelMap(tuple(CITYSCAPES))
    split = replace(mask_folders.read(halves.root, "val"), layout="cityscapes", label_map=names)
    split = replace(split, mask_code=cityscapes.CODE)
    for place in (0, 1):
        cv2.imwrite(str(halves.mask("val", place)), np.full((1, 100), 7, np.uint8))
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for path in files:
        cv2.imwrite(str(path), np.array([[2] * 4 + [8] * 96], np.uint8))
    results = masks_from_files(files, split, metric="miou")
    assert [isinstance(next(results), MaskFromFile) for _ in range(2)] == [True, True]
    with pytest.raises(DataError, match="no value above 18 in the whole set"):
        next(results)


@pytest.mark.parametrize("chosen_by", ["voc12", "coco"])
def test_the_metric_is_that_by_which_the_weights_were_chosen_unless_another_is_named(
    detector: Detector, data: Dataset, root: Path, tmp_path: Path, chosen_by: Any
) -> None:
    weights.save(tmp_path / "w.safetensors", detector.network, {"metric": chosen_by})
    expected = evaluate(detector, data, metric=chosen_by)
    report = evaluate(tmp_path / "w.safetensors", root)
    assert type(report) is type(expected) and report.map == pytest.approx(expected.map, abs=1e-3)
    other = evaluate(tmp_path / "w.safetensors", root, metric="voc07")
    assert other.map == pytest.approx(evaluate(detector, data, metric="voc07").map, abs=1e-3)


def test_weights_without_a_recorded_metric_have_that_of_their_task(detector: Detector, segmenter: Segmenter) -> None:
    assert metric_of(detector) == "voc07" and metric_of(replace(detector, provenance={"metric": "miou"})) == "voc07"
    assert metric_of(segmenter) == "miou" and metric_of(replace(segmenter, provenance={"metric": "maxf"})) == "maxf"

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.load.loader import Shard
from singleshot.data.masks import folders as mask_folders
from singleshot.detection.ssd import SSD
from singleshot.errors import DataError
from singleshot.evaluation.loop import eval_loader, evaluate_split, predictions
from singleshot.evaluation.voc import CollectDetections
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.structures import Dataset, Detections, Segmentation

IDS = ("c", "a", "b", "e", "d")  # the split's order is its own


def detect(detector: Detector, data: Dataset, **options: Any) -> list[Detections]:
    return evaluate_split(detector, eval_loader(detector, data, **options), CollectDetections(data))[0]


def test_each_image_has_one_result_in_the_order_of_the_split(detector: Detector, data: Dataset):
    metric, batches = CollectDetections(data), []
    for batch, raw, results in predictions(detector, eval_loader(detector, data, batch_size=2)):
        assert len(raw.class_logits) == len(results) == len(batch)
        metric.update(batch, results)
        batches.append(batch.image_ids)
    found, _ = metric.compute()
    assert [sample.image_id for sample in data.samples] == list(IDS)
    assert [result.size_hw for result in found] == [sample.size_hw for sample in data.samples]
    assert sorted(name for batch in batches for name in batch) == sorted(IDS)
    assert max(map(len, batches)) == 2
    for sample, result in zip(data.samples, found, strict=True):
        alone = detector.predict(sample.image_path, threshold=0.0)
        assert len(result) == len(alone) > 0
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)


def test_a_letterboxing_detector_is_evaluated_on_what_it_predicts(detector: Detector, data: Dataset):
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


def test_a_split_without_images_has_no_results(detector: Detector, data: Dataset):
    assert detect(detector, replace(data, samples=())) == []


def broken(data: Dataset, tmp_path: Path) -> Dataset:
    """The same with picture 2 cut in half."""
    sample = data.samples[2]
    path = tmp_path / "cut.jpg"
    path.write_bytes(sample.image_path.read_bytes()[:400])
    samples = list(data.samples)
    samples[2] = replace(sample, image_path=path)
    return replace(data, samples=samples)


def test_an_unreadable_image_ends_detection_unless_it_may_be_skipped(detector: Detector, data: Dataset, tmp_path: Path):
    with pytest.raises(DataError, match=r"cut\.jpg"):
        detect(detector, broken(data, tmp_path))


def test_a_skipped_image_has_no_result_and_is_a_fault_of_the_loader(detector: Detector, data: Dataset, tmp_path: Path):
    loader = eval_loader(detector, broken(data, tmp_path), on_bad="skip")
    indices = [index for each in predictions(detector, loader) for index in each.batch.indices.tolist()]
    assert indices == [0, 1, 3, 4]
    assert [fault.file.name for fault in loader.faults] == ["cut.jpg"]
    found, readable = evaluate_split(detector, loader, CollectDetections(data))
    assert [len(result) > 0 for result in found] == [True, True, True, True]
    assert [sample.image_id for sample in readable.samples] == ["c", "a", "e", "d"]


def test_a_loader_without_skipped_images_has_no_faults(detector: Detector, data: Dataset):
    loader = eval_loader(detector, data, on_bad="skip")
    assert evaluate_split(detector, loader, CollectDetections(data))[1] is data
    assert loader.faults == []


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(FCN(config_for("fcn8s-fine", ["dark", "bright"], (32, 32))).eval())


def segment(segmenter: Segmenter, data: Dataset, **options: Any) -> dict[int, Segmentation]:
    """The results by index in the split, of batches of one image."""
    loader = eval_loader(segmenter, data, batch_size=1, **options)
    return {index: result for each in predictions(segmenter, loader) for index, result in _rows(each)}


def _rows(each: Any) -> Any:
    return zip(each.batch.indices.tolist(), each.results, strict=True)


def test_results_come_in_order_at_the_masks_size_and_as_predict_gives_them(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    batches = list(predictions(segmenter, eval_loader(segmenter, split, batch_size=3), probabilities=True))
    assert [len(each.batch) for each in batches] == [len(each.raw) for each in batches] == [3, 1]
    assert [index for each in batches for index in each.batch.indices.tolist()] == [0, 1, 2, 3]
    masks = [mask for each in batches for mask in each.batch.targets.masks]
    results = [result for each in batches for result in each.results]
    for mask, result, sample in zip(masks, results, split.samples, strict=True):
        alone = segmenter.predict(sample.image_path, probabilities=True)
        assert result.class_ids.shape == tuple(mask.shape) == (48, 64)
        assert (result.class_ids == alone.class_ids).mean() > 0.99
        assert result.probabilities is not None and alone.probabilities is not None
        np.testing.assert_allclose(result.probabilities, alone.probabilities, atol=1e-4)


def test_g14_ranks_share_the_split_and_workers_change_nothing(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    alone = segment(segmenter, split)
    parts = [segment(segmenter, split, shard=Shard(rank, 3)) for rank in range(3)]
    assert sorted(index for part in parts for index in part) == [0, 1, 2, 3]
    for part in (*parts, segment(segmenter, split, workers=1)):
        assert all((result.class_ids == alone[index].class_ids).all() for index, result in part.items())


def test_an_unreadable_mask_ends_the_evaluation_or_is_left_out_and_named(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    cv2.imwrite(str(halves.mask("train", 1)), np.full((48, 64), 9, np.uint8))
    with pytest.raises(DataError, match="unknown value 9"):
        segment(segmenter, split)
    assert list(segment(segmenter, split, on_bad="skip")) == [0, 2, 3]
    loader = eval_loader(segmenter, split, on_bad="skip")
    assert len(list(predictions(segmenter, loader))) == 1
    assert [fault.file for fault in loader.faults] == [halves.mask("train", 1)]


def test_images_without_masks_have_results_without_truth(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "val")
    bare = replace(split, samples=[replace(sample, mask_path=None) for sample in split.samples])
    (only,) = predictions(segmenter, eval_loader(segmenter, bare))
    assert only.batch.targets.masks == (None, None) and len(only.results) == 2
    assert segment(segmenter, replace(split, samples=[])) == {}

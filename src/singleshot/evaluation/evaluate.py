"""`singleshot.evaluate`: weights and a split in, figures out: a detector's by VOC or COCO, a segmenter's by pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

from singleshot.data import read
from singleshot.data.faults import OnBad, refuse_or_list
from singleshot.detection.coding import RawDetections
from singleshot.errors import DataError, Fault, UsageError
from singleshot.evaluation.coco import CocoReport, judge_coco
from singleshot.evaluation.detect import detect
from singleshot.evaluation.judge import SIZE_BANDS_PX, judge
from singleshot.evaluation.judge_masks import PixelMetric, judge_segmenter
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.evaluation.report import Report
from singleshot.metrics.voc_ap import Metric
from singleshot.prediction.load import load_detector, load_segmenter
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import Batch, BoxTargets, Dataset, Detections


@overload
def evaluate(
    weights: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str = ...,
    data_format: str | None = ...,
    metric: Metric = ...,
    threshold: float | None = ...,
    on_bad: OnBad = ...,
    workers: int = ...,
    size_bands_px: Sequence[tuple[float, float]] = ...,
) -> Report: ...
@overload
def evaluate(
    weights: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str = ...,
    data_format: str | None = ...,
    metric: Literal["coco"],
    threshold: float | None = ...,
    on_bad: OnBad = ...,
    workers: int = ...,
    size_bands_px: Sequence[tuple[float, float]] = ...,
) -> CocoReport: ...
@overload
def evaluate(
    weights: str | Path | Segmenter,
    data: str | Path | Dataset,
    *,
    split: str = ...,
    data_format: str | None = ...,
    metric: PixelMetric,
    on_bad: OnBad = ...,
    workers: int = ...,
) -> MiouReport | MaxfReport: ...
def evaluate(
    weights: str | Path | Detector | Segmenter,
    data: str | Path | Dataset,
    *,
    split: str = "test",
    data_format: str | None = None,
    metric: Metric | Literal["coco"] | PixelMetric = "voc07",
    threshold: float | None = None,
    on_bad: OnBad = "fail",
    workers: int = 0,
    size_bands_px: Sequence[tuple[float, float]] = SIZE_BANDS_PX,
) -> Report | CocoReport | MiouReport | MaxfReport:
    """Judge a detector or a segmenter on a split.

    Args:
        weights: a weights file, a detector or a segmenter.
        data: a folder in a layout that `data.read` knows, or a split that was read already.
        split: the list to judge by.
        data_format: the folder's layout; None to find out.
        metric: `voc07`, `voc12` or `coco`; of a segmenter `miou`, or `maxf` of two classes.
        threshold: drop detections below this score first; None keeps all that the weights' own threshold lets pass,
            as published figures do. Above 0.05 the figure is not comparable with those: `judge.threshold_warning`
            has the words in which the command line says so, and nothing is printed here.
        on_bad: refuse a split with faults, or go on without what is faulty. How much that is, is then to be seen in
            `images` and `ground_truths` of the report, and in `Dataset.faults`.
        workers: processes that read pictures.
        size_bands_px: sizes of objects to judge one by one too; COCO has its own.

    Raises:
        FaultyDataError: the annotations have faults and `on_bad` is "fail".
        DataError, InputMissingError: a picture cannot be read and `on_bad` is "fail"; or the annotations name a class
            that the detector does not know; or pictures have no masks, or the weights are not for the metric's task.
    """
    if metric in ("miou", "maxf"):
        if isinstance(weights, Detector):
            raise UsageError(f"{metric} is of a segmenter", remedy="Use voc07, voc12 or coco for a detector")
        segmenter = weights if isinstance(weights, Segmenter) else load_segmenter(weights)
        if not isinstance(data, Dataset):
            data = read.read(data, split, layout=data_format, with_masks=True)
        refuse_or_list([data], on_bad)
        return judge_segmenter(segmenter, data, metric=metric, workers=workers, on_bad=on_bad)
    if isinstance(weights, Segmenter):
        raise UsageError(f"{metric} is of a detector", remedy="Use miou or maxf for a segmenter")
    detector = weights if isinstance(weights, Detector) else load_detector(weights)
    if not isinstance(data, Dataset):
        data = read.read(data, split, layout=data_format, label_map=detector.label_map)
    if data.label_map != detector.label_map:
        raise DataError(
            f"the split's classes are {', '.join(data.label_map.names)}, the detector's "
            f"{', '.join(detector.label_map.names)}",
            kind="other-classes",
            remedy="Judge on data with the detector's classes",
            file=data.root,
        )
    refuse_or_list([data], on_bad)
    found, data, _ = detect_readable(detector, data, on_bad=on_bad, workers=workers)
    if threshold is not None:
        found = [result.above(threshold) for result in found]
    if metric == "coco":
        return judge_coco(found, data)
    return judge(found, data, metric=metric, size_bands_px=size_bands_px)


def detect_readable(
    detector: Detector,
    dataset: Dataset,
    *,
    on_bad: OnBad,
    workers: int = 0,
    on_batch: Callable[[Batch[BoxTargets], RawDetections], None] | None = None,
) -> tuple[list[Detections], Dataset, list[Fault]]:
    """What a detector sees in a split, and the split without the pictures that could not be read.

    With those in, objects that the detector was never shown would count as missed.

    Args:
        detector: the detector.
        dataset: the split.
        on_bad: end at a picture that cannot be read, or leave it out.
        workers: processes that read pictures.
        on_batch: see `detect`.

    Returns:
        Detections by picture of the split that is returned, and the faults of the pictures that were left out.

    Raises DataError and InputMissingError as `detect` does.
    """
    faults: list[Fault] = []
    found = detect(detector, dataset, workers=workers, on_batch=on_batch, on_bad=on_bad, on_skipped=faults.extend)
    unread = {fault.file for fault in faults}
    kept = [place for place, sample in enumerate(dataset.samples) if sample.image_path not in unread]
    readable = replace(dataset, samples=[dataset.samples[place] for place in kept])
    return [found[place] for place in kept], readable if faults else dataset, faults

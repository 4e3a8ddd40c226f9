"""`singleshot.evaluate`: weights and a split in, scores out; of detectors by VOC or COCO, of segmenters by pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, overload

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.child_process import refuse_unguarded
from singleshot.data.divide import for_evaluation
from singleshot.data.faults import OnBad, refuse_or_list
from singleshot.data.masks import files as mask_files
from singleshot.data.masks import kitti_road
from singleshot.data.masks import results as mask_results
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, Fault, InputMissingError, UsageError, fault_of
from singleshot.evaluation.coco import CocoAP, CocoReport
from singleshot.evaluation.loop import Metric, check_classes, eval_loader, evaluate_split
from singleshot.evaluation.maxf import MaxF, MaxfReport
from singleshot.evaluation.miou import MeanIoU, MiouReport
from singleshot.evaluation.voc import SIZE_BANDS_PX, VocAP, VocReport
from singleshot.metrics.bootstrap import SAMPLES
from singleshot.metrics.voc_ap import Metric as VocMetric
from singleshot.prediction.load import load, load_detector, load_segmenter
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import UNKNOWN, Dataset, MaskCode

PixelMetric = Literal["miou", "maxf"]
DetectionMetric = VocMetric | Literal["coco"]


@overload
def evaluate(
    weights: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str | None = ...,
    splits: SplitFile | None = ...,
    data_format: str | None = ...,
    metric: VocMetric | None = ...,
    threshold: float | None = ...,
    on_bad: OnBad = ...,
    workers: int = ...,
    device: str = ...,
    batch_size: int | None = ...,
    size_bands_px: Sequence[tuple[float, float]] = ...,
) -> VocReport: ...
@overload
def evaluate(
    weights: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str | None = ...,
    splits: SplitFile | None = ...,
    data_format: str | None = ...,
    metric: Literal["coco"],
    threshold: float | None = ...,
    on_bad: OnBad = ...,
    workers: int = ...,
    device: str = ...,
    batch_size: int | None = ...,
    size_bands_px: Sequence[tuple[float, float]] = ...,
) -> CocoReport: ...
@overload
def evaluate(
    weights: str | Path | Segmenter,
    data: str | Path | Dataset,
    *,
    split: str | None = ...,
    splits: SplitFile | None = ...,
    data_format: str | None = ...,
    metric: PixelMetric,
    on_bad: OnBad = ...,
    workers: int = ...,
    device: str = ...,
    batch_size: int | None = ...,
) -> MiouReport | MaxfReport: ...
def evaluate(
    weights: str | Path | Detector | Segmenter,
    data: str | Path | Dataset,
    *,
    split: str | None = None,
    splits: SplitFile | None = None,
    data_format: str | None = None,
    metric: DetectionMetric | PixelMetric | None = None,
    threshold: float | None = None,
    on_bad: OnBad = "fail",
    workers: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    size_bands_px: Sequence[tuple[float, float]] = SIZE_BANDS_PX,
) -> VocReport | CocoReport | MiouReport | MaxfReport:
    """Evaluate a detector or a segmenter on a split.

    Args:
        weights: a weights file, a detector or a segmenter.
        data: a folder in a layout that `data.read` recognises, or a split that was read already.
        split: the list of images to evaluate on; None for test, or else val, or else the only one, or all images.
            Where the weights' run divided the folder itself, its splits are used.
        splits: take the split from here (see `data.divide.divide`) in place of the folder's own.
        data_format: the folder's layout; None to find out.
        metric: `voc07`, `voc12` or `coco`; of a segmenter `miou`, or `maxf` of two classes. None takes the one by which
            the weights were chosen (`metric_of`).
        threshold: drop detections below this score first; None keeps all that the weights' own threshold lets pass,
            as published figures do. Above 0.05 the score is not comparable with those: `voc.threshold_warning`
            has the words in which the command line says so, and nothing is printed here.
        on_bad: refuse a split with faults, or go on without what is faulty. `images` and `ground_truths` of the report
            and `Dataset.faults` then tell how much that is.
        workers: processes that read images.
        device: where a weights file is opened, see `load`; a detector or segmenter stays where it is.
        batch_size: images that go through the network together; None for 16 of a detector, 8 of a segmenter.
        size_bands_px: sizes of objects to evaluate one by one too; COCO has its own.

    Raises:
        FaultyDataError: the annotations have faults and `on_bad` is "fail".
        DataError, InputMissingError: an image cannot be read and `on_bad` is "fail"; or the annotations name a class
            that the detector does not have; or images have no masks.
        UsageError: the weights are not for the metric's task, there is no such device, or a batch size below 1.
    """
    refuse_unguarded("evaluate")
    if metric is None:
        weights = load(weights, device=device) if isinstance(weights, str | Path) else weights
        metric = metric_of(weights)
    pixels = metric in get_args(PixelMetric)
    model = _load(weights, metric, device, pixels=pixels)
    if not isinstance(data, Dataset):
        label_map = None if pixels else model.label_map
        file = weights if isinstance(weights, Path) else Path(weights) if isinstance(weights, str) else None
        data, _ = for_evaluation(
            Path(data), split,
            weights=file, splits=splits, layout=data_format, label_map=label_map, with_masks=pixels,
        )  # fmt: skip
    refuse_or_list([data], on_bad)
    counter = metric_for(metric, data, threshold=threshold, size_bands_px=size_bands_px, resamples=SAMPLES)
    check_classes(model, data)
    loader = eval_loader(model, data, batch_size=batch_size, workers=workers, on_bad=on_bad)
    return evaluate_split(model, loader, counter, probabilities=metric == "maxf")


def metric_of(model: Detector | Segmenter) -> DetectionMetric | PixelMetric:
    """Return the metric by which a model's weights were chosen in training; voc07 or miou where it is not recorded."""
    pixels = model.task == "segmentation"
    recorded = model.provenance.get("metric")
    pixel_metrics: tuple[PixelMetric, ...] = ("miou", "maxf")
    box_metrics: tuple[DetectionMetric, ...] = ("voc07", "voc12", "coco")
    known: tuple[DetectionMetric | PixelMetric, ...] = pixel_metrics if pixels else box_metrics
    for name in known:
        if name == recorded:
            return name
    return known[0]


def _load(
    weights: str | Path | Detector | Segmenter, metric: str, device: str, *, pixels: bool
) -> Detector | Segmenter:
    """Return the model. Raises UsageError where it is not for the metric's task."""
    if isinstance(weights, str | Path):
        return load_segmenter(weights, device=device) if pixels else load_detector(weights, device=device)
    if (weights.task == "segmentation") == pixels:
        return weights
    if pixels:
        raise UsageError(f"{metric} is of a segmenter", remedy="Use voc07, voc12 or coco for a detector")
    raise UsageError(f"{metric} is of a detector", remedy="Use miou or maxf for a segmenter")


def metric_for(
    name: DetectionMetric | PixelMetric,
    dataset: Dataset,
    *,
    threshold: float | None = None,
    size_bands_px: Sequence[tuple[float, float]] = (),
    resamples: int = 0,
    instances: bool = True,
) -> Metric[Any, Any]:
    """Return the metric of a name, for a split.

    Args:
        name: `voc07`, `voc12`, `coco`, `miou`, or `maxf` of two classes.
        dataset: the split.
        threshold: of detections: drop those that score less.
        size_bands_px: of VOC: sizes of objects to evaluate one by one too.
        resamples: of VOC: drawings of images for the interval of the mean; 0 for none.
        instances: of `miou`: compute Cityscapes' iIoU too, for which every image has a second, larger file.

    Raises:
        DataError: images have no masks (`no-masks`), or MaxF is asked for of other than two classes.
    """
    if name in ("miou", "maxf"):
        return pixel_metric(name, dataset, instances=instances)
    if name == "coco":
        return CocoAP(dataset, threshold)
    return VocAP(dataset, metric=name, size_bands_px=size_bands_px, threshold=threshold, resamples=resamples)


def pixel_metric(name: PixelMetric, dataset: Dataset, *, instances: bool = True) -> MeanIoU | MaxF:
    """Return the metric of a name for a split with masks; arguments and errors as `metric_for`."""
    check_masks(dataset)
    return MaxF(dataset) if name == "maxf" else MeanIoU(dataset, instances=instances)


def check_masks(dataset: Dataset) -> None:
    """Raise DataError (`no-masks`) where images of a split have no masks."""
    without = sum(sample.mask_path is None for sample in dataset.samples)
    if without or dataset.mask_code is None:
        message = f"{without or len(dataset)} of {len(dataset)} images of {dataset.split} have no mask"
        raise DataError(message, kind="no-masks", remedy="Name a split with masks", file=dataset.root)


@dataclass(frozen=True)
class MaskFromFile:
    """Another program's result for an image, beside the truth.

    Args:
        index: of the image in the split.
        values: class ids at the image's size; or the probability of road as 0…255, at that size or seen from above.
        truth: class ids of the annotation, or `VOID`.
    """

    index: int
    values: UInt8[ndarray, "h w"]
    truth: UInt8[ndarray, "H W"]


def masks_from_files(
    files: Sequence[Path | None], dataset: Dataset, *, metric: PixelMetric, on_bad: OnBad = "fail"
) -> Iterator[MaskFromFile | Fault]:
    """Yield another program's masks in the order of `dataset.samples`; images without a file are left out.

    Args:
        files: each sample's result, as `results.find` finds them.
        dataset: a split with masks.
        metric: `miou`: files of classes. `maxf`: grey maps of the probability of road, which are yielded as they are,
            at the image's size or seen from above.
        on_bad: end at a truth that cannot be read, or yield its fault. A result that cannot be read always ends it:
            leaving out images at which a program failed would make its scores better.

    Raises:
        DataError, InputMissingError: a file cannot be read, is of another size, or holds train ids of Cityscapes.
    """
    code = dataset.mask_code or MaskCode((UNKNOWN,) * 256)
    train_ids = mask_results.TrainIdCheck(dataset)
    for index, (sample, file) in enumerate(zip(dataset.samples, files, strict=True)):
        if file is None or sample.mask_path is None:
            continue
        try:
            truth = mask_files.read(sample.mask_path, code)
        except (DataError, InputMissingError) as error:
            if on_bad == "fail":
                raise
            yield fault_of(error, sample.mask_path)
            continue
        size_hw = (truth.shape[0], truth.shape[1])
        if metric == "maxf":
            values = mask_files.read_grey(file)
            if values.shape != kitti_road.VIEW_HW:
                mask_results.check_size(file, values, size_hw)
        else:
            values = mask_results.read(file, dataset, size_hw)
            train_ids.update(values)
        yield MaskFromFile(index, values, truth)
    train_ids.check(next((file.parent for file in files if file is not None), dataset.root))

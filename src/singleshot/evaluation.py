"""Judge detections against a split: one report with every figure, for people, for JSON and for plots.

The judge sees detections and annotations only. Whether a network of ours made the detections or they were read from
another program's result files makes no difference, so their figures can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from singleshot.data import voc
from singleshot.data.augment import NONE
from singleshot.data.loader import DetectionLoader
from singleshot.detection.raw import RawDetections
from singleshot.errors import DataError, Fault
from singleshot.metrics.voc_ap import ClassResult, Metric, above, mean_ap, voc_ap, voc_ap_of_sizes
from singleshot.metrics.voc_matching import FlatDetections, GroundTruths
from singleshot.prediction.predictor import Detector, load
from singleshot.structures import Batch, Dataset, Detections

THRESHOLDS = (0.01, 0.1, 0.3, 0.5)
SIZE_BANDS_PX = ((0.0, 24.0), (24.0, 48.0), (48.0, 96.0), (96.0, math.inf))
HIGHEST_COMPARABLE_THRESHOLD = 0.05


@dataclass(frozen=True)
class Figures:
    """AP per class and its mean, under one condition.

    Args:
        map: the mean over the classes that have an object to find, a fraction; None where none has.
        ap: by class name, fractions; None for a class without an object to find.
    """

    map: float | None
    ap: Mapping[str, float | None]


@dataclass(frozen=True)
class SizeFigures(Figures):
    """`Figures` for objects of `size_px[0]` ≤ √area < `size_px[1]`, of which there are `ground_truths`."""

    size_px: tuple[float, float]
    ground_truths: int


@dataclass(frozen=True)
class Report(Figures):
    """What a split says about some detections. All figures are fractions in 0…1.

    Args:
        metric: `voc07` or `voc12`: which definition of AP the figures follow.
        images: pictures in the split.
        ground_truths: objects to find, without the difficult ones.
        detections: all detections, also those that were ignored.
        curves: precision and recall by class name.
        at_thresholds: the figures that remain when detections below a confidence are dropped.
        ap_by_size: the figures for small to large objects; empty where they were not asked for.
    """

    metric: Metric
    images: int
    ground_truths: int
    detections: int
    curves: Mapping[str, ClassResult]
    at_thresholds: Mapping[float, Figures]
    ap_by_size: tuple[SizeFigures, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `evaluate --json` writes: no curves; null for a class without objects and for an open upper size."""
        return {
            "metric": self.metric,
            "map": self.map,
            "ap": dict(self.ap),
            "images": self.images,
            "ground_truths": self.ground_truths,
            "detections": self.detections,
            "at_thresholds": [
                {"threshold": threshold, "map": figures.map, "ap": dict(figures.ap)}
                for threshold, figures in self.at_thresholds.items()
            ],
            "ap_by_size": [
                {
                    "size_px": [edge if math.isfinite(edge) else None for edge in figures.size_px],
                    "ground_truths": figures.ground_truths,
                    "map": figures.map,
                    "ap": dict(figures.ap),
                }
                for figures in self.ap_by_size
            ],
        }


def evaluate(
    weights: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str = "test",
    metric: Metric = "voc07",
    threshold: float | None = None,
    workers: int = 0,
    size_bands_px: Sequence[tuple[float, float]] = SIZE_BANDS_PX,
) -> Report:
    """Judge a detector on a split.

    Args:
        weights: a weights file or a detector.
        data: a folder in Pascal VOC layout, or a split that was read already.
        split: the list to judge by.
        metric: `voc07` or `voc12`.
        threshold: drop detections below this score first; None keeps all that the weights' own threshold lets pass,
            as published figures do.
        workers: processes that read pictures.
        size_bands_px: sizes of objects to judge one by one too.

    Raises:
        FaultyDataError: a picture or an annotation of the split cannot be read.
        DataError: the annotations name a class that the detector does not know.
    """
    detector = weights if isinstance(weights, Detector) else load(weights)
    if not isinstance(data, Dataset):
        data = voc.read(data, split, label_map=detector.label_map)
    if data.label_map != detector.label_map:
        raise DataError(
            f"the split's classes are {', '.join(data.label_map.names)}, the detector's "
            f"{', '.join(detector.label_map.names)}",
            kind="other-classes",
            remedy="Judge on data with the detector's classes",
            file=data.root,
        )
    found = detect(detector, data, workers=workers)
    if threshold is not None:
        found = [result.above(threshold) for result in found]
    return judge(found, data, metric=metric, size_bands_px=size_bands_px)


def detect(
    detector: Detector,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    workers: int = 0,
    on_batch: Callable[[Batch, RawDetections], None] | None = None,
    on_bad: Literal["fail", "skip"] = "fail",
    on_skipped: Callable[[list[Fault]], None] | None = None,
) -> list[Detections]:
    """What a detector sees in every picture of a split, in the order of `dataset.samples`.

    Args:
        detector: the detector.
        dataset: the pictures. Their boxes are not looked at.
        batch_size: pictures that go through the network together.
        workers: processes that read pictures.
        on_batch: is shown every batch with the network's answer, for a loss or a progress bar.
        on_bad: end at a picture that cannot be read, or go on; nothing is detected in it then.
        on_skipped: is told of the pictures that were left out.

    Raises:
        DataError, InputMissingError: a picture cannot be read, and `on_bad` is "fail".
    """
    blank = np.zeros((0, 4), dtype=np.float32)
    found = [
        Detections(blank, blank[:, 0], np.zeros(0, dtype=np.int64), np.empty(0, dtype=object), sample.size_hw or (0, 0))
        for sample in dataset.samples
    ]
    if not found:
        return found
    size_hw = detector.input_size_hw
    with DetectionLoader(
        dataset,
        size_hw=size_hw,
        augmentation=NONE,
        batch_size=batch_size,
        seed=0,
        workers=workers,
        shuffle=False,
        on_bad=on_bad,
    ) as loader:
        for batch in loader.epoch(0):
            raw = detector.raw(batch.images)
            if on_batch is not None:
                on_batch(batch, raw)
            sizes_hw = [(int(height), int(width)) for height, width in batch.sizes_hw.tolist()]
            for index, result in zip(batch.indices.tolist(), detector.postprocess(raw, sizes_hw), strict=True):
                found[index] = result
        if loader.faults and on_skipped is not None:
            on_skipped(loader.faults)
    return found


def judge(
    detections: Sequence[Detections],
    dataset: Dataset,
    *,
    metric: Metric = "voc07",
    size_bands_px: Sequence[tuple[float, float]] = (),
) -> Report:
    """Judge the detections of a whole split by Pascal VOC's protocol.

    Args:
        detections: by picture, in the order of `dataset.samples`; pictures without detections included.
        dataset: the split with its annotations.
        metric: `voc07` for AP at eleven points of recall, `voc12` for the area under the curve.
        size_bands_px: judge these sizes of objects one by one too (`SIZE_BANDS_PX` is a good choice).

    No detections give 0; a class without objects (or with difficult ones alone) gives None and is not in the mean.
    Raises ValueError where detections and pictures do not pair off or a class id is not the data set's, and DataError
    for a score or box that is not finite.
    """
    if len(detections) != len(dataset):
        raise ValueError(f"detections of {len(detections)} pictures do not pair off with {len(dataset)} pictures")
    names = dataset.label_map.names
    found, there = FlatDetections.from_pictures(detections), GroundTruths.from_samples(dataset.samples)
    results = voc_ap(found, there, len(names), metric=metric)
    figures = _figures(names, results)
    return Report(
        map=figures.map,
        ap=figures.ap,
        metric=metric,
        images=len(dataset),
        ground_truths=sum(result.num_ground_truths for result in results),
        detections=len(found),
        curves=dict(zip(names, results, strict=True)),
        at_thresholds={
            threshold: _figures(names, [above(result, threshold, metric=metric) for result in results])
            for threshold in THRESHOLDS
        },
        ap_by_size=tuple(
            _size_figures(names, voc_ap_of_sizes(found, there, len(names), size_px=band, metric=metric), band)
            for band in size_bands_px
        ),
    )


def threshold_warning(threshold: float) -> str | None:
    """What to tell a user who judges with a confidence threshold; None where it is low enough to be harmless.

    >>> threshold_warning(0.01) is None
    True
    """
    if threshold <= HIGHEST_COMPARABLE_THRESHOLD:
        return None
    return (
        f"AP at threshold {threshold:g} is not comparable with published figures: what is dropped can find no object, "
        f"and recall ends early. Published figures keep all from 0.01"
    )


def table(report: Report) -> Any:
    """A `rich.table.Table`: a row a class with its objects and its AP at each confidence threshold, and the mean."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=f"AP by class and confidence threshold ({report.metric})")
    shown.add_column("class")
    shown.add_column("objects", justify="right")
    for threshold in report.at_thresholds:
        shown.add_column(f"≥ {threshold:g}", justify="right")
    for name, result in report.curves.items():
        aps = (_shown(figures.ap[name]) for figures in report.at_thresholds.values())
        shown.add_row(escape(name), str(result.num_ground_truths), *aps)
    shown.add_section()
    means = (_shown(figures.map) for figures in report.at_thresholds.values())
    shown.add_row("mean", str(report.ground_truths), *means, style="bold")
    return shown


def _figures(names: Sequence[str], results: Sequence[ClassResult]) -> Figures:
    return Figures(mean_ap(results), {name: result.ap for name, result in zip(names, results, strict=True)})


def _size_figures(names: Sequence[str], results: Sequence[ClassResult], size_px: tuple[float, float]) -> SizeFigures:
    figures = _figures(names, results)
    return SizeFigures(figures.map, figures.ap, size_px, sum(result.num_ground_truths for result in results))


def _shown(fraction: float | None) -> str:
    return "n/a" if fraction is None else f"{fraction:.3f}"

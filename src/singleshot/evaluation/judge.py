"""Judge the detections of a split by Pascal VOC's protocol, whole, by confidence and by size of object."""

from __future__ import annotations

import math
from collections.abc import Sequence

from singleshot.evaluation.report import Figures, Report, SizeFigures
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import ClassResult, Metric, above, mean_ap, voc_ap, voc_ap_of_sizes
from singleshot.structures import Dataset, Detections

THRESHOLDS = (0.01, 0.1, 0.3, 0.5)
SIZE_BANDS_PX = ((0.0, 24.0), (24.0, 48.0), (48.0, 96.0), (96.0, math.inf))
HIGHEST_COMPARABLE_THRESHOLD = 0.05


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
    found, there = FlatDetections.from_images(detections), GroundTruths.from_samples(dataset.samples)
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


def _figures(names: Sequence[str], results: Sequence[ClassResult]) -> Figures:
    return Figures(mean_ap(results), {name: result.ap for name, result in zip(names, results, strict=True)})


def _size_figures(names: Sequence[str], results: Sequence[ClassResult], size_px: tuple[float, float]) -> SizeFigures:
    figures = _figures(names, results)
    return SizeFigures(figures.map, figures.ap, size_px, sum(result.num_ground_truths for result in results))

"""Evaluation of detections by Pascal VOC's protocol: whole, by confidence threshold and by size of object.

The report serves people (`voc_table`), JSON (`VocReport.as_json`) and plots (`VocReport.curves`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from singleshot.evaluation.html_table import html_table
from singleshot.evaluation.loop import Metric, Report
from singleshot.metrics.bootstrap import interval, resampled_map
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import ClassResult, above, mean_ap, voc_ap, voc_ap_of_sizes
from singleshot.metrics.voc_ap import Metric as VocMetric
from singleshot.structures import Batch, Dataset, Detections

THRESHOLDS = (0.01, 0.1, 0.3, 0.5)
SIZE_BANDS_PX = ((0.0, 24.0), (24.0, 48.0), (48.0, 96.0), (96.0, math.inf))
HIGHEST_COMPARABLE_THRESHOLD = 0.05


def as_text(fraction: float | None) -> str:
    """Returns a score for people, with three decimals.

    >>> as_text(0.8194), as_text(None)
    ('0.819', 'n/a')
    """
    return "n/a" if fraction is None else f"{fraction:.3f}"


@dataclass(frozen=True)
class MeanAP:
    """AP per class and its mean, under one condition.

    Args:
        map: the mean over the classes that have an object to find, a fraction; None where none has.
        ap: by class name, fractions; None for a class without an object to find.
    """

    map: float | None
    ap: Mapping[str, float | None]

    @property
    def score(self) -> float | None:
        """The figure by which the best epoch is chosen: `map`."""
        return self.map

    def columns(self) -> dict[str, float | None]:
        """Returns the figures for `log.csv`, by column."""
        return {"map": self.map} | {f"ap_{label}": ap for label, ap in self.ap.items()}


@dataclass(frozen=True)
class SizeBand(MeanAP):
    """`MeanAP` of objects of `size_px[0]` ≤ √area < `size_px[1]`, of which there are `ground_truths`."""

    size_px: tuple[float, float]
    ground_truths: int


@dataclass(frozen=True)
class VocReport(MeanAP):
    """The scores of some detections on a split. All are fractions in 0…1.

    Args:
        metric: `voc07` or `voc12`: which definition of AP the scores follow.
        images: images in the split.
        ground_truths: objects to find, without the difficult ones.
        detections: all detections, also those that were ignored.
        curves: precision and recall by class name.
        at_thresholds: the scores that remain when detections below a confidence are dropped.
        ap_by_size: the scores for small to large objects; empty where they were not asked for.
        map_interval: the interval in which `map` lies for 95 % of the splits like this one, see `metrics.bootstrap`;
            None where it was not asked for or there is nothing to find.
    """

    metric: VocMetric
    images: int
    ground_truths: int
    detections: int
    curves: Mapping[str, ClassResult]
    at_thresholds: Mapping[float, MeanAP]
    ap_by_size: tuple[SizeBand, ...] = ()
    map_interval: tuple[float, float] | None = None

    def _repr_html_(self) -> str:
        """Returns the scores as a table, which a notebook shows."""
        return html_table(voc_table(self), map_line(self.metric, self.map, self.images, self.map_interval))

    def as_json(self) -> dict[str, Any]:
        """Returns what `evaluate --json` writes: null for a class without objects and for an open upper size."""
        return {
            "metric": self.metric,
            "map": self.map,
            "map_interval": None if self.map_interval is None else list(self.map_interval),
            "ap": dict(self.ap),
            "images": self.images,
            "ground_truths": self.ground_truths,
            "detections": self.detections,
            "at_thresholds": [
                {"threshold": threshold, "map": scores.map, "ap": dict(scores.ap)}
                for threshold, scores in self.at_thresholds.items()
            ],
            "ap_by_size": [
                {
                    "size_px": [edge if math.isfinite(edge) else None for edge in band.size_px],
                    "ground_truths": band.ground_truths,
                    "map": band.map,
                    "ap": dict(band.ap),
                }
                for band in self.ap_by_size
            ],
        }

    def best_thresholds(self, otherwise: float = 0.5) -> tuple[float, ...]:
        """Returns for each class the score from which on its F1 is best, rounded down to three decimals, 0.01 or more.

        F1 is the harmonic mean of precision and recall. A class of which nothing is found right takes `otherwise`.
        """
        found = []
        for curve in self.curves.values():
            f1 = 2 * curve.precision * curve.recall / np.maximum(curve.precision + curve.recall, 1e-12)
            best = int(np.argmax(f1)) if len(f1) else 0
            usable = len(f1) > 0 and f1[best] > 0
            found.append(max(0.01, math.floor(float(curve.scores[best]) * 1000) / 1000) if usable else otherwise)
        return tuple(found)


class DetectionMetric(Metric[Detections, Report]):
    """Collects the detections of a split: AP needs all of them at once.

    Args:
        dataset: the split with its annotations.
        threshold: drop detections that score less; None keeps all.
    """

    def __init__(self, dataset: Dataset, threshold: float | None = None) -> None:
        self.dataset, self.threshold = dataset, threshold
        self._results: dict[int, Detections] = {}

    def update(self, batch: Batch[Any], results: Sequence[Detections]) -> None:
        """Adds the detections of a batch."""
        self._results |= dict(zip(batch.indices.tolist(), results, strict=True))

    def state(self) -> dict[int, Detections]:
        """Returns the detections by index in the split."""
        return self._results

    def merge(self, states: Iterable[dict[int, Detections]]) -> None:
        """Puts the detections of all ranks together."""
        self._results = {index: found for state in states for index, found in state.items()}

    def collected(self) -> tuple[list[Detections], Dataset]:
        """Returns the detections by image in the order of the split, and the split without images that have none.

        Those could not be read: left in, objects that the detector never got would count as missed.
        """
        indices = sorted(self._results)
        results = [self._results[index] for index in indices]
        if self.threshold is not None:
            results = [each.above(self.threshold) for each in results]
        if len(indices) == len(self.dataset):
            return results, self.dataset
        return results, replace(self.dataset, samples=[self.dataset.samples[index] for index in indices])


class CollectDetections(DetectionMetric[tuple[list[Detections], Dataset]]):
    """Returns the detections themselves, see `DetectionMetric.collected`."""

    def compute(self) -> tuple[list[Detections], Dataset]:
        """Returns the detections by image, and the split without images that could not be read."""
        return self.collected()


class VocAP(DetectionMetric[VocReport]):
    """AP by Pascal VOC's protocol.

    Args:
        dataset: the split with its annotations.
        metric: `voc07` for AP at eleven points of recall, `voc12` for the area under the curve.
        size_bands_px: sizes of objects that are evaluated one by one too.
        threshold: drop detections that score less; None keeps all.
        resamples: drawings of images for the interval of the mean; 0 for no interval.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        metric: VocMetric = "voc07",
        size_bands_px: Sequence[tuple[float, float]] = (),
        threshold: float | None = None,
        resamples: int = 0,
    ) -> None:
        super().__init__(dataset, threshold)
        self.metric: VocMetric = metric
        self.size_bands_px, self.resamples = size_bands_px, resamples

    def compute(self) -> VocReport:
        """Returns the scores, see `voc_report`."""
        detections, dataset = self.collected()
        return voc_report(
            detections, dataset, metric=self.metric, size_bands_px=self.size_bands_px, resamples=self.resamples
        )


def voc_report(
    detections: Sequence[Detections],
    dataset: Dataset,
    *,
    metric: VocMetric = "voc07",
    size_bands_px: Sequence[tuple[float, float]] = (),
    resamples: int = 0,
) -> VocReport:
    """Scores the detections of a whole split by Pascal VOC's protocol.

    Args:
        detections: by image, in the order of `dataset.samples`; images without detections included.
        dataset: the split with its annotations.
        metric: `voc07` for AP at eleven points of recall, `voc12` for the area under the curve.
        size_bands_px: sizes of objects to evaluate one by one too (`SIZE_BANDS_PX` is a good choice).
        resamples: drawings of images for the interval of the mean (`bootstrap.SAMPLES` is a good choice); 0 for none.

    No detections give 0; a class without objects (or with difficult ones alone) gives None and is not in the mean.
    Raises ValueError where the numbers of detections and images differ or a class id is not the data set's, and
    DataError for a score or box that is not finite.
    """
    check_length(detections, dataset)
    names = dataset.label_map.names
    flat, truths = FlatDetections.from_images(detections), GroundTruths.from_samples(dataset.samples)
    results = voc_ap(flat, truths, len(names), metric=metric)
    scores = _mean_ap(names, results)
    bands = []
    for band in size_bands_px:
        of_band = voc_ap_of_sizes(flat, truths, len(names), size_px=band, metric=metric)
        mean = _mean_ap(names, of_band)
        bands.append(SizeBand(mean.map, mean.ap, band, sum(result.num_ground_truths for result in of_band)))
    bounds = None
    if resamples and len(dataset):
        values = resampled_map(flat, truths, len(names), images=len(dataset), metric=metric, samples=resamples)
        bounds = interval(values)
    return VocReport(
        map=scores.map,
        ap=scores.ap,
        metric=metric,
        images=len(dataset),
        ground_truths=sum(result.num_ground_truths for result in results),
        detections=len(flat),
        curves=dict(zip(names, results, strict=True)),
        at_thresholds={
            threshold: _mean_ap(names, [above(result, threshold, metric=metric) for result in results])
            for threshold in THRESHOLDS
        },
        ap_by_size=tuple(bands),
        map_interval=bounds,
    )


def check_length(detections: Sequence[Detections], dataset: Dataset) -> None:
    """Raises ValueError where a split does not have as many images as there are results."""
    if len(detections) != len(dataset):
        raise ValueError(f"detections of {len(detections)} images for a split of {len(dataset)} images")


def _mean_ap(names: Sequence[str], results: Sequence[ClassResult]) -> MeanAP:
    return MeanAP(mean_ap(results), {name: result.ap for name, result in zip(names, results, strict=True)})


def threshold_warning(threshold: float) -> str | None:
    """Returns a warning for evaluation with a confidence threshold; None where it is low enough to be harmless.

    >>> threshold_warning(0.01) is None
    True
    """
    if threshold <= HIGHEST_COMPARABLE_THRESHOLD:
        return None
    return (
        f"AP at threshold {threshold:g} is not comparable with published figures: what is dropped can find no object, "
        f"and recall ends early. Published figures keep all from 0.01"
    )


def voc_table(report: VocReport) -> Any:
    """Returns a `rich.table.Table`: a row for each class and one for the mean.

    Columns: objects, AP over all detections, which is the class's score, and the AP that remains of those that score
    at least so much. A detector may keep detections below the lowest of these thresholds, or score on another scale.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"AP by class and confidence threshold ({report.metric})")
    table.add_column("class")
    table.add_column("objects", justify="right")
    table.add_column("all", justify="right")
    for threshold in report.at_thresholds:
        table.add_column(f"≥ {threshold:g}", justify="right")
    for name, result in report.curves.items():
        aps = (as_text(scores.ap[name]) for scores in report.at_thresholds.values())
        table.add_row(Text(name), str(result.num_ground_truths), as_text(report.ap[name]), *aps)
    table.add_section()
    means = (as_text(scores.map) for scores in report.at_thresholds.values())
    table.add_row("mean", str(report.ground_truths), as_text(report.map), *means, style="bold")
    return table


def map_line(metric: str, mean: float | None, images: int, bounds: tuple[float, float] | None = None) -> str:
    """Returns the one score that people quote, in a line, with its interval if there is one.

    >>> map_line("voc12", 0.819, 240, (0.79, 0.845))
    'mAP (voc12) 0.819 on 240 images, 95 % interval 0.790 to 0.845'
    """
    line = f"mAP ({metric}) {as_text(mean)} on {images} {'image' if images == 1 else 'images'}"
    return line if bounds is None else f"{line}, 95 % interval {as_text(bounds[0])} to {as_text(bounds[1])}"

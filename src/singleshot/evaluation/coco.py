"""Evaluation of detections by COCO's protocol: one report, for people and for JSON.

Any data set can be evaluated so, not only COCO's own. What VOC calls difficult is then treated as COCO treats a crowd:
it counts neither as found nor as missed. COCO gives its objects' areas, by which they are small, medium or large;
elsewhere the area of the box is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.data.load.samples import areas_of
from singleshot.evaluation.html_table import html_table
from singleshot.evaluation.voc import DetectionMetric, MeanAP, as_text, check_length, map_line
from singleshot.metrics.coco_ap import MAX_DETECTIONS, CocoFigures, CocoTruths, coco_ap
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.structures import Dataset, Detections, Sample

SUMMARY = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


@dataclass(frozen=True)
class CocoReport(MeanAP):
    """The scores of some detections on a split; `map` is COCO's AP. All are fractions in 0…1.

    Args:
        figures: COCO's twelve figures and counts.
        ground_truths_of: objects to find by class name.
        images: images in the split.
    """

    figures: CocoFigures
    ground_truths_of: Mapping[str, int]
    images: int

    @property
    def summary(self) -> dict[str, float | None]:
        """COCO's twelve figures by name; None where the split has no object of that kind."""
        return {name: getattr(self.figures, name) for name in SUMMARY}

    def _repr_html_(self) -> str:
        """Returns the scores as a table, which a notebook shows."""
        return html_table(coco_table(self), map_line("coco", self.map, self.images))

    def as_json(self) -> dict[str, Any]:
        """Returns what `evaluate --metric coco --json` writes: `ap_small` and its like beside `map` and `ap`."""
        return {
            "metric": "coco",
            "map": self.map,
            "ap": dict(self.ap),
            "images": self.images,
            "ground_truths": self.figures.ground_truths,
            "detections": self.figures.detections,
            "detections_cut": self.figures.cut,
            **{name: value for name, value in self.summary.items() if name != "ap"},
        }


class CocoAP(DetectionMetric[CocoReport]):
    """AP and AR by COCO's protocol; arguments as `DetectionMetric`."""

    def compute(self) -> CocoReport:
        """Returns the scores, see `coco_report`."""
        return coco_report(*self.collected())


def coco_report(detections: Sequence[Detections], dataset: Dataset) -> CocoReport:
    """Scores the detections of a whole split by COCO's protocol.

    Args:
        detections: by image, in the order of `dataset.samples`; images without detections included.
        dataset: the split with its annotations.

    No detections give 0; a class without objects gives None and is not in the mean. Raises ValueError where the
    numbers of detections and images differ, and DataError as `coco_ap` does.
    """
    check_length(detections, dataset)
    names = dataset.label_map.names
    truths = _truths(dataset.samples)
    figures = coco_ap(FlatDetections.from_images(detections), truths, len(names))
    ignored = np.zeros(len(truths), np.bool_) if truths.is_crowd is None else truths.is_crowd
    counts = np.bincount(truths.class_ids[~ignored], minlength=len(names))
    return CocoReport(
        map=figures.ap,
        ap=dict(zip(names, figures.class_ap, strict=True)),
        figures=figures,
        ground_truths_of=dict(zip(names, counts.tolist(), strict=True)),
        images=len(dataset),
    )


def cut_warning(report: CocoReport) -> str | None:
    """Returns a warning where some detections were not evaluated; None where all were.

    The protocol takes the best hundred of a class in an image, and nobody notices where more were found.
    """
    if not report.figures.cut:
        return None
    return (
        f"{report.figures.cut} of {report.figures.detections} detections were not evaluated: COCO takes the "
        f"{MAX_DETECTIONS} best of a class in an image"
    )


def coco_table(report: CocoReport) -> Any:
    """Returns a `rich.table.Table`: COCO's twelve figures, and the AP of every class that has objects."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="AP by class (coco: mean over overlaps of 0.50 to 0.95)")
    for column in ("class", "objects", "AP"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, ap in report.ap.items():
        if ap is not None:
            table.add_row(Text(name), str(report.ground_truths_of[name]), as_text(ap))
    table.add_section()
    for name, value in report.summary.items():
        label = "mean" if name == "ap" else name[:2].upper() + name[2:].replace("_", " ")
        count = str(report.figures.ground_truths) if name == "ap" else ""
        table.add_row(label, count, as_text(value), style="bold" if name == "ap" else None)
    return table


def _truths(samples: Sequence[Sample]) -> CocoTruths:
    plain = GroundTruths.from_samples(samples)
    areas = [areas_of(sample) for sample in samples]
    # Where the format has crowds, `"ignore": 1` is difficult and no crowd: COCO's own evaluation does not read it.
    crowds = [sample.difficult if sample.crowd is None else sample.crowd for sample in samples]
    return CocoTruths(
        plain.boxes_xyxy,
        plain.class_ids,
        plain.image_indices,
        is_crowd=np.concatenate([np.empty(0, np.bool_), *crowds]),
        areas=np.concatenate([np.empty(0), *areas]),
    )

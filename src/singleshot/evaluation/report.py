"""The figures of a judgement as one record, for people, for JSON and for plots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from singleshot.metrics.voc_ap import ClassResult, Metric


def as_text(fraction: float | None) -> str:
    """A figure for people, with three decimals.

    >>> as_text(0.8194), as_text(None)
    ('0.819', 'n/a')
    """
    return "n/a" if fraction is None else f"{fraction:.3f}"


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

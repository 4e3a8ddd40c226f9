"""Judge maps of road probability by KITTI road's MaxF: by category, in the picture and seen from above.

The benchmark ranks by the view from above (`data.birds_eye`), for which every picture needs its calibration file;
where one is missing the picture plane alone is judged, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.data.masks import kitti_road
from singleshot.errors import DataError
from singleshot.metrics.road_maxf import LEVELS, RoadFigures, as_values, figures, histogram
from singleshot.structures import VOID, Dataset

ALL = "urban"
"""All categories of roads together: KITTI's URBAN_ROAD."""


@dataclass(frozen=True)
class MaxfReport:
    """What a split says about maps of road probability.

    Args:
        in_picture: figures by category (`um`, `umm`, `uu`, as far as they occur) and of all, `urban`; None where the
            maps were given from above only.
        from_above: the same in the view from above; None where a picture has no calibration.
        images: pictures that were judged.
    """

    in_picture: Mapping[str, RoadFigures] | None
    from_above: Mapping[str, RoadFigures] | None
    images: int

    @property
    def plane(self) -> str:
        """What the figures at the top of the report are of: `from_above`, which ranks, where it is to be had."""
        return "in_picture" if self.from_above is None else "from_above"

    @property
    def shown(self) -> Mapping[str, RoadFigures]:
        """The figures of that plane."""
        return self.from_above or self.in_picture or {}

    @property
    def maxf(self) -> float | None:
        """MaxF of all pictures together."""
        return self.shown[ALL].maxf

    def as_json(self) -> dict[str, Any]:
        """What `evaluate --json` writes: the figures of `urban` in `plane` at the top, then everything."""
        top = {name: value for name, value in self.shown[ALL].as_json().items() if name != "images"}
        return {
            "metric": "maxf",
            "plane": self.plane,
            **top,
            "images": self.images,
            "categories": _listed(self.shown),
            "in_picture": _listed(self.in_picture),
            "from_above": _listed(self.from_above),
        }


class MaxfJudge:
    """Pools pixels picture by picture; `report` divides once.

    Args:
        dataset: a split of KITTI road, or any with two classes of which the second is road: then all pictures are
            one category and nothing is judged from above.

    Raises:
        DataError: the data set has other than two classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        if len(dataset.label_map) != 2:
            what = f"MaxF judges one class against the rest, and the data set has {len(dataset.label_map)}"
            raise DataError(what, kind="other-classes", remedy="Use --metric miou", file=dataset.root)
        self.dataset = dataset
        self.pooled: dict[str, dict[str, Any]] = {"in_picture": {}, "from_above": {}}
        self.images = 0
        self.calibrated = dataset.layout == "kitti_road"

    def count(self, index: int, truth: UInt8[ndarray, "H W"], values: UInt8[ndarray, "h w"]) -> None:
        """One picture: its truth, and the probability of road as 0…255 at its size, or seen from above (800×400).

        Raises:
            DataError: the map is of neither size, or is from above and the picture has no calibration.
        """
        sample = self.dataset.samples[index]
        calibration = kitti_road.calibration_path(sample.image_path) if self.calibrated else None
        there = calibration is not None and calibration.is_file()
        if values.shape == truth.shape:
            self._pool("in_picture", sample.image_id, histogram(truth, values))
        elif values.shape != kitti_road.VIEW_HW or not there:
            height, width = values.shape
            what = f"the map for {sample.image_id} is {width}×{height}, the picture {truth.shape[1]}×{truth.shape[0]}"
            raise DataError(what, kind="other-size-mask", remedy="Write it at the picture's size", file=calibration)
        if calibration is not None and there:
            matrix = kitti_road.homography(kitti_road.read_calibration(calibration))
            road = kitti_road.birds_eye_view(truth, matrix, outside=VOID)
            above = kitti_road.birds_eye_view(values, matrix, outside=0) if values.shape == truth.shape else values
            self._pool("from_above", sample.image_id, histogram(road, above))
        else:
            self.calibrated = False
        self.images += 1

    def report(self) -> MaxfReport:
        """What the pictures so far come to."""
        planes = {plane: self._figures(pooled) for plane, pooled in self.pooled.items()}
        above = planes["from_above"] if self.calibrated else None
        complete = sum(images for _, images in self.pooled["in_picture"].values()) == self.images
        return MaxfReport(planes["in_picture"] if complete or above is None else None, above, self.images)

    def merge(self, others: Iterable[MaxfJudge]) -> None:
        """Add what other ranks pooled."""
        for other in others:
            self.images += other.images
            self.calibrated = self.calibrated and other.calibrated
            for plane, pooled in other.pooled.items():
                for category, (counts, images) in pooled.items():
                    before, seen = self.pooled[plane].get(category, (np.zeros((2, LEVELS), np.int64), 0))
                    self.pooled[plane][category] = (before + counts, seen + images)

    def _pool(self, plane: str, image_id: str, counts: ndarray) -> None:
        category = kitti_road.category_of(image_id) if self.dataset.layout == "kitti_road" else "all"
        before, images = self.pooled[plane].get(category, (np.zeros((2, LEVELS), np.int64), 0))
        self.pooled[plane][category] = (before + counts, images + 1)

    def _figures(self, pooled: Mapping[str, Any]) -> dict[str, RoadFigures]:
        by_category = {name: figures(counts, images) for name, (counts, images) in sorted(pooled.items())}
        total = sum((counts for counts, _ in pooled.values()), np.zeros((2, LEVELS), np.int64))
        return by_category | {ALL: figures(total, sum(images for _, images in pooled.values()))}


def maxf_table(report: MaxfReport) -> Any:
    """A `rich.table.Table`: a row a category."""
    from rich.table import Table

    title = "Road, seen from above" if report.plane == "from_above" else "Road, in the picture"
    shown = Table(title=f"{title} ({report.images} pictures)")
    shown.add_column("category")
    for name in ("MaxF", "AP", "PRE", "REC", "FPR", "FNR"):
        shown.add_column(name, justify="right")
    for name, row in report.shown.items():
        values = (row.maxf, row.ap, row.pre, row.rec, row.fpr, row.fnr)
        shown.add_row(name, *("n/a" if value is None else f"{value:.4f}" for value in values))
    return shown


def plane_note(report: MaxfReport) -> str | None:
    """What to tell a user whose figures are not of the plane that ranks."""
    if report.from_above is not None:
        return None
    return "judged in the picture plane: no calib/*.txt for every picture. KITTI's ranking is of the view from above"


def for_server(
    chances: Float[ndarray, "H W"], image_path: Path
) -> tuple[UInt8[ndarray, "H W"], UInt8[ndarray, "800 400"] | None]:
    """A map of road probability as 0…255, in the picture and, where there is a calibration, from above."""
    values = as_values(chances)
    calibration = kitti_road.calibration_path(image_path)
    if not calibration.is_file():
        return values, None
    matrix = kitti_road.homography(kitti_road.read_calibration(calibration))
    return values, kitti_road.birds_eye_view(values, matrix, outside=0)


def _listed(planes: Mapping[str, RoadFigures] | None) -> dict[str, Any] | None:
    return None if planes is None else {name: row.as_json() for name, row in planes.items()}

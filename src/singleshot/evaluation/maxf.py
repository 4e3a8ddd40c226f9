"""Evaluation of maps of road probability by KITTI road's MaxF: by category, in the image and seen from above.

The benchmark ranks by the view from above (`kitti_road.birds_eye_view`), for which every image needs its calibration
file; where one is missing the image plane alone is evaluated, and `plane_note` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.masks import kitti_road
from singleshot.errors import DataError
from singleshot.evaluation.html_table import html_table
from singleshot.evaluation.loop import Metric
from singleshot.metrics.road_maxf import LEVELS, ROAD, RoadFigures, as_values, figures, histogram
from singleshot.structures import VOID, Batch, Dataset, Segmentation

ALL = "urban"
"""All categories of roads together: KITTI's URBAN_ROAD."""


@dataclass(frozen=True)
class MaxfReport:
    """The scores of maps of road probability on a split.

    Args:
        in_picture: scores by category (`um`, `umm`, `uu`, as far as they occur) and of all, `urban`; None where the
            maps were given from above only.
        from_above: the same in the view from above; None where an image has no calibration.
        images: images that were evaluated.
    """

    in_picture: Mapping[str, RoadFigures] | None
    from_above: Mapping[str, RoadFigures] | None
    images: int

    @property
    def plane(self) -> str:
        """The plane of the scores at the top of the report: `from_above`, which ranks, where it is available."""
        return "in_picture" if self.from_above is None else "from_above"

    @property
    def by_category(self) -> Mapping[str, RoadFigures]:
        """The scores in that plane."""
        return self.from_above or self.in_picture or {}

    @property
    def maxf(self) -> float | None:
        """MaxF of all images together."""
        return self.by_category[ALL].maxf

    @property
    def score(self) -> float | None:
        """The figure by which the best epoch is chosen: `maxf`."""
        return self.maxf

    def columns(self) -> dict[str, float | None]:
        """Returns the figures for `log.csv`, by column."""
        return {"maxf": self.maxf}

    def _repr_html_(self) -> str:
        """Returns the scores as a table, which a notebook shows."""
        return html_table(maxf_table(self))

    def as_json(self) -> dict[str, Any]:
        """Returns what `evaluate --json` writes: the scores of `urban` in `plane` at the top, then everything."""
        top = {name: value for name, value in self.by_category[ALL].as_json().items() if name != "images"}
        return {
            "metric": "maxf",
            "plane": self.plane,
            **top,
            "images": self.images,
            "categories": _listed(self.by_category),
            "in_picture": _listed(self.in_picture),
            "from_above": _listed(self.from_above),
        }


class MaxF(Metric[Segmentation, MaxfReport]):
    """Pools pixels image by image; `compute` divides once.

    Args:
        dataset: a split of KITTI road, or any with two classes of which the second is road: then all images are one
            category and nothing is evaluated from above.

    Raises:
        DataError: the data set has other than two classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        if len(dataset.label_map) != 2:
            message = f"MaxF scores one class against the rest, and the data set has {len(dataset.label_map)}"
            raise DataError(message, kind="other-classes", remedy="Use --metric miou", file=dataset.root)
        self.dataset = dataset
        self._pools = _Pools(calibrated=dataset.layout == "kitti_road")

    def update(self, batch: Batch[Any], results: Sequence[Segmentation]) -> None:
        """Adds a batch whose targets are `FullSizeMasks` and whose results carry probabilities."""
        for index, mask, result in zip(batch.indices.tolist(), batch.targets.masks, results, strict=True):
            if result.probabilities is None:
                raise ValueError("MaxF needs probabilities")
            if mask is not None:
                self.add(index, mask.numpy(), as_values(result.probabilities[ROAD]))

    def add(self, index: int, truth: UInt8[ndarray, "H W"], values: UInt8[ndarray, "h w"]) -> None:
        """Adds one image.

        Args:
            index: of the image in the split.
            truth: the class ids of its mask, or `VOID`.
            values: the probability of road as 0…255 at its size, or seen from above (800×400).

        Raises:
            DataError: the map has neither size, or is from above and the image has no calibration.
        """
        pools, sample = self._pools, self.dataset.samples[index]
        path = kitti_road.calibration_path(sample.image_path) if pools.calibrated else None
        calibration = path if path is not None and path.is_file() else None
        category = kitti_road.category_of(sample.image_id) if self.dataset.layout == "kitti_road" else "all"
        if values.shape == truth.shape:
            _pool(pools.in_picture, category, histogram(truth, values), 1)
        elif values.shape != kitti_road.VIEW_HW or calibration is None:
            height, width = values.shape
            message = f"the map for {sample.image_id} is {width}×{height}, the image {truth.shape[1]}×{truth.shape[0]}"
            raise DataError(message, kind="other-size-mask", remedy="Write it at the image's size", file=path)
        if calibration is not None:
            matrix = kitti_road.homography(kitti_road.read_calibration(calibration))
            road = kitti_road.birds_eye_view(truth, matrix, outside=VOID)
            above = kitti_road.birds_eye_view(values, matrix, outside=0) if values.shape == truth.shape else values
            _pool(pools.from_above, category, histogram(road, above), 1)
        else:
            pools.calibrated = False
        pools.images += 1

    def state(self) -> _Pools:
        """Returns the pools."""
        return self._pools

    def merge(self, states: Iterable[_Pools]) -> None:
        """Adds the pools of all ranks up."""
        total = _Pools(calibrated=True)
        for pools in states:
            total.images += pools.images
            total.calibrated = total.calibrated and pools.calibrated
            for own, other in ((total.in_picture, pools.in_picture), (total.from_above, pools.from_above)):
                for category, (counts, images) in other.items():
                    _pool(own, category, counts, images)
        self._pools = total

    def compute(self) -> MaxfReport:
        """Returns the scores of the images so far."""
        pools = self._pools
        above = _scores(pools.from_above) if pools.calibrated else None
        complete = sum(images for _, images in pools.in_picture.values()) == pools.images
        return MaxfReport(_scores(pools.in_picture) if complete or above is None else None, above, pools.images)


_Pool: TypeAlias = dict[str, tuple[ndarray, int]]
"""By category: the histogram of `road_maxf.histogram` over its images, and their number."""


@dataclass
class _Pools:
    """What was added so far; `calibrated` as long as every image had a calibration."""

    calibrated: bool
    images: int = 0
    in_picture: _Pool = field(default_factory=dict)
    from_above: _Pool = field(default_factory=dict)


def _pool(pool: _Pool, category: str, counts: ndarray, images: int) -> None:
    before, number = pool.get(category, (np.zeros((2, LEVELS), np.int64), 0))
    pool[category] = (before + counts, number + images)


def _scores(pool: _Pool) -> dict[str, RoadFigures]:
    """Return the scores by category and of all, `urban`."""
    by_category = {name: figures(counts, images) for name, (counts, images) in sorted(pool.items())}
    total = sum((counts for counts, _ in pool.values()), np.zeros((2, LEVELS), np.int64))
    return by_category | {ALL: figures(total, sum(images for _, images in pool.values()))}


def maxf_table(report: MaxfReport) -> Any:
    """Returns a `rich.table.Table`: a row for each category."""
    from rich.table import Table
    from rich.text import Text

    title = "Road, seen from above" if report.plane == "from_above" else "Road, in the image"
    table = Table(title=f"{title} ({report.images} images)")
    table.add_column("category")
    for name in ("MaxF", "AP", "PRE", "REC", "FPR", "FNR"):
        table.add_column(name, justify="right")
    for name, row in report.by_category.items():
        values = (row.maxf, row.ap, row.pre, row.rec, row.fpr, row.fnr)
        table.add_row(Text(name), *("n/a" if value is None else f"{value:.4f}" for value in values))
    return table


def plane_note(report: MaxfReport) -> str | None:
    """Returns a note where the scores are not of the plane that ranks; None where they are."""
    if report.from_above is not None:
        return None
    return "evaluated in the image plane: no calib/*.txt for every image. KITTI ranks by the view from above"


def for_server(
    values: UInt8[ndarray, "H W"], image_path: Path
) -> tuple[UInt8[ndarray, "H W"], UInt8[ndarray, "800 400"] | None]:
    """Returns a map of road probability, 0…255, as it is and, where the image has a calibration, seen from above."""
    calibration = kitti_road.calibration_path(image_path)
    if not calibration.is_file():
        return values, None
    matrix = kitti_road.homography(kitti_road.read_calibration(calibration))
    return values, kitti_road.birds_eye_view(values, matrix, outside=0)


def _listed(planes: Mapping[str, RoadFigures] | None) -> dict[str, Any] | None:
    return None if planes is None else {name: row.as_json() for name, row in planes.items()}

"""What a data set is made of: pictures and their sizes, objects by class, by size, by shape and by picture.

The questions that come before a training: is a class rare, are objects small, are pictures of one size, is anything
empty? One pass over the samples; pictures are not opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.boxes import area
from singleshot.structures import Dataset

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Stats:
    """The figures of one split. Without objects the arrays of objects are empty.

    Args:
        class_names: by class id.
        picture_sizes_hw: (P, 2) of the pictures whose size is annotated.
        pictures: all of them.
        boxes_per_picture: (pictures,) objects in each.
        class_ids: (N,) of all objects.
        sides_px: (N,) √area of each object, in pixels of its picture.
        shares: (N,) √(area of the object / area of its picture); NaN where the picture's size is not annotated.
        aspect_ratios: (N,) width over height.
        difficult: how many objects are difficult.
        pictures_of_class: (C,) pictures with at least one object of the class.
    """

    class_names: tuple[str, ...]
    picture_sizes_hw: Int[ndarray, "S 2"]
    pictures: int
    boxes_per_picture: Int[ndarray, " P"]
    class_ids: Int[ndarray, " N"]
    sides_px: Float[ndarray, " N"]
    shares: Float[ndarray, " N"]
    aspect_ratios: Float[ndarray, " N"]
    difficult: int
    pictures_of_class: Int[ndarray, " C"]

    @property
    def objects_of_class(self) -> Int[ndarray, " C"]:
        """How many objects each class has."""
        return np.bincount(self.class_ids, minlength=len(self.class_names))

    def common_sizes_hw(self, most: int = 5) -> list[tuple[tuple[int, int], int]]:
        """The commonest sizes of pictures and how many there are of each, most first."""
        counts = Counter((int(height), int(width)) for height, width in self.picture_sizes_hw)
        return counts.most_common(most)

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON holds them. Quantiles are by their share: `"0.5"` is the median; null for no objects."""
        sizes = self.picture_sizes_hw
        return {
            "pictures": self.pictures,
            "pictures_without_objects": int((self.boxes_per_picture == 0).sum()),
            "objects": len(self.class_ids),
            "difficult": self.difficult,
            "classes": {
                name: {
                    "objects": int(objects),
                    "pictures": int(pictures),
                    "side_px": _quantiles(self.sides_px[self.class_ids == place]),
                    "aspect_ratio": _quantiles(self.aspect_ratios[self.class_ids == place]),
                }
                for place, (name, objects, pictures) in enumerate(
                    zip(self.class_names, self.objects_of_class, self.pictures_of_class, strict=True)
                )
            },
            "picture_sizes": {
                "distinct": len(np.unique(sizes, axis=0)),
                "smallest_hw": sizes.min(axis=0).tolist() if len(sizes) else None,
                "largest_hw": sizes.max(axis=0).tolist() if len(sizes) else None,
                "commonest": [{"size_hw": list(size), "pictures": count} for size, count in self.common_sizes_hw()],
            },
            "boxes_per_picture": {str(key): int(value) for key, value in sorted(Counter(self._per_picture).items())},
            "side_px": _quantiles(self.sides_px),
            "share_of_picture_side": _quantiles(self.shares[~np.isnan(self.shares)]),
            "aspect_ratio": _quantiles(self.aspect_ratios),
        }

    @property
    def _per_picture(self) -> list[int]:
        return self.boxes_per_picture.tolist()


def measure(dataset: Dataset) -> Stats:
    """The figures of a split; of one without pictures they are all 0 or empty."""
    samples = dataset.samples
    boxes_xyxy = np.concatenate([np.zeros((0, 4)), *(sample.boxes_xyxy for sample in samples)])
    class_ids = np.concatenate([np.zeros(0, np.int64), *(sample.class_ids for sample in samples)])
    per_picture = np.array([len(sample.boxes_xyxy) for sample in samples], np.int64)
    areas = np.array([np.prod(sample.size_hw) if sample.size_hw else np.nan for sample in samples], np.float64)
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    occurring = np.concatenate([np.zeros(0, np.int64), *(np.unique(sample.class_ids) for sample in samples)])
    return Stats(
        class_names=dataset.label_map.names,
        picture_sizes_hw=_sizes([sample.size_hw for sample in samples]),
        pictures=len(samples),
        boxes_per_picture=per_picture,
        class_ids=class_ids,
        sides_px=np.sqrt(area(boxes_xyxy)),
        shares=np.sqrt(area(boxes_xyxy) / np.repeat(areas, per_picture)),
        aspect_ratios=sides[:, 0] / sides[:, 1],
        difficult=sum(int(sample.difficult.sum()) for sample in samples),
        pictures_of_class=np.bincount(occurring, minlength=len(dataset.label_map)),
    )


def _sizes(sizes_hw: Sequence[tuple[int, int] | None]) -> Int[ndarray, "S 2"]:
    return np.array([size for size in sizes_hw if size is not None], np.int64).reshape(-1, 2)


def _quantiles(values: Float[ndarray, " N"]) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}

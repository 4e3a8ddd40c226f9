"""Detections and ground truths of a whole split as flat tables, which every metric of detectors takes.

Boxes are continuous, in pixels of their image. An image is its index in the split. Detections of equal score keep the
order of their images in the split, then their order in the image: no result depends on anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.structures import Detections, Sample


@dataclass(frozen=True)
class GroundTruths:
    """The objects of a split.

    Args:
        boxes_xyxy: (G, 4) pixels, continuous.
        class_ids: (G,) 0-based.
        difficult: (G,) objects that count neither as found nor as missed.
        image_indices: (G,) index of each object's image in the split.
    """

    boxes_xyxy: Float[ndarray, "G 4"]
    class_ids: Int[ndarray, " G"]
    difficult: Bool[ndarray, " G"]
    image_indices: Int[ndarray, " G"]

    def __len__(self) -> int:
        return len(self.class_ids)

    @classmethod
    def from_samples(cls, samples: Sequence[Sample]) -> GroundTruths:
        """Collect the objects of the samples of a split. Images may have none."""
        return cls(
            np.concatenate([np.empty((0, 4)), *(sample.boxes_xyxy for sample in samples)]),
            np.concatenate([np.empty(0, np.int64), *(sample.class_ids for sample in samples)]),
            np.concatenate([np.empty(0, np.bool_), *(sample.difficult for sample in samples)]),
            np.repeat(np.arange(len(samples)), [len(sample.class_ids) for sample in samples]),
        )


@dataclass(frozen=True)
class FlatDetections:
    """The detections of a split.

    Args:
        boxes_xyxy: (D, 4) pixels, continuous.
        scores: (D,) any finite numbers; only their order counts.
        class_ids: (D,) 0-based.
        image_indices: (D,) index of each detection's image in the split.

    Raises DataError if a score or a box is not finite: such a row cannot be ranked.
    """

    boxes_xyxy: Float[ndarray, "D 4"]
    scores: Float[ndarray, " D"]
    class_ids: Int[ndarray, " D"]
    image_indices: Int[ndarray, " D"]

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~(np.isfinite(self.scores) & np.isfinite(self.boxes_xyxy).all(axis=1)))
        if len(bad):
            raise DataError(
                f"{len(bad)} detections have a score or box that is not finite, the first one in image "
                f"{int(self.image_indices[bad[0]]) + 1} of the split",
                kind="not-finite",
                remedy="Check the weights: they have most often diverged",
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_images(cls, images: Sequence[Detections]) -> FlatDetections:
        """Collect the detections of the images of a split, in its order. Images may have none."""
        # Boxes become float64 here, once, so that one kernel serves all; of scores only the order matters.
        return cls(
            np.concatenate([np.empty((0, 4)), *(image.boxes_xyxy for image in images)]),
            np.concatenate([np.empty(0, np.float32), *(image.scores for image in images)]),
            np.concatenate([np.empty(0, np.int64), *(image.class_ids for image in images)]),
            np.repeat(np.arange(len(images)), [len(image) for image in images]),
        )

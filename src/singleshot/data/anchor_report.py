"""What a model's default boxes reach of a data set, by class and size, and what fitted ones would.

The figures behind `singleshot data anchors` and behind the warning at the start of a training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot.boxes import area
from singleshot.config import to_json_dict
from singleshot.detection.anchor_fit import fit_anchors
from singleshot.detection.anchor_reach import best_iou, truths_at_input
from singleshot.detection.anchors import FeatureMap
from singleshot.detection.ssd import SSDConfig
from singleshot.structures import Sample, evenly_spaced

IOU_THRESHOLD = 0.5
MOST_UNREACHED = 0.05
SIZE_BANDS_PX = ((0.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 128.0), (128.0, math.inf))
_WARNING_PICTURES = 5000


@dataclass(frozen=True)
class Group:
    """Objects of one class and size, and how many of them some default box overlaps enough.

    Args:
        class_name: their class.
        size_px: from and below, √area in pixels of the network's input.
        objects: how many there are, at least 1.
        reached: how many the model's own boxes reach.
        reached_fitted: how many the suggested boxes reach.
    """

    class_name: str
    size_px: tuple[float, float]
    objects: int
    reached: int
    reached_fitted: int


@dataclass(frozen=True)
class AnchorReport:
    """What default boxes reach of some objects; with no objects the arrays and `groups` are empty.

    Args:
        groups: by class, then by size; groups without objects are left out.
        best_iou: (N,) each object's best IoU with the model's own default boxes.
        best_iou_fitted: (N,) the same with the suggested ones.
        suggested: the suggested rows; the model's own where no better ones were found.
    """

    groups: tuple[Group, ...]
    best_iou: Float[ndarray, " N"]
    best_iou_fitted: Float[ndarray, " N"]
    suggested: tuple[FeatureMap, ...]

    @property
    def unreached(self) -> float:
        """The share of the objects below the threshold with the model's own boxes; 0 for no objects."""
        return _share_below(self.best_iou)

    @property
    def unreached_fitted(self) -> float:
        """The same with the suggested boxes."""
        return _share_below(self.best_iou_fitted)

    def as_json(self) -> dict[str, Any]:
        """The figures and the histogram, as JSON holds them; shares are fractions, an open size is null."""
        edges = np.linspace(0, 1, 21)
        return {
            "iou_threshold": IOU_THRESHOLD,
            "objects": len(self.best_iou),
            "unreached": self.unreached,
            "unreached_fitted": self.unreached_fitted,
            "groups": [
                {
                    "class": group.class_name,
                    "size_px": [edge if math.isfinite(edge) else None for edge in group.size_px],
                    "objects": group.objects,
                    "reached": group.reached,
                    "reached_fitted": group.reached_fitted,
                }
                for group in self.groups
            ],
            "histogram": {
                "edges": edges.round(2).tolist(),
                "counts": np.histogram(self.best_iou, edges)[0].tolist(),
                "counts_fitted": np.histogram(self.best_iou_fitted, edges)[0].tolist(),
            },
            "suggested": [to_json_dict(row) for row in self.suggested],
        }


def report(samples: Sequence[Sample], config: SSDConfig) -> AnchorReport:
    """What the default boxes of a config reach in some pictures, and better ones.

    Args:
        samples: pictures with boxes; those of unknown size are left out.
        config: the detector's; its class names are those of the samples.
    """
    boxes_xyxy, class_ids = truths_at_input(samples, config.preprocess)
    size_hw, clip = config.input_size_hw, config.clip_anchors
    suggested = fit_anchors(boxes_xyxy, config.anchors, size_hw, clip=clip, iou_threshold=IOU_THRESHOLD)
    before, after = (
        best_iou(boxes_xyxy, rows, size_hw, clip).max(axis=1, initial=0.0) for rows in (config.anchors, suggested)
    )
    groups = _groups(config.class_names, class_ids, np.sqrt(area(boxes_xyxy)), before, after)
    return AnchorReport(groups, before, after, suggested)


def warning(samples: Sequence[Sample], config: SSDConfig) -> str | None:
    """A line for a user whose data has many objects that no default box reaches; None where they are few.

    Of more than some thousand pictures, evenly spaced ones are looked at.
    """
    some = [samples[place] for place in evenly_spaced(len(samples), _WARNING_PICTURES)]
    boxes_xyxy, _ = truths_at_input(some, config.preprocess)
    if len(boxes_xyxy) == 0:
        return None
    share = _share_below(best_iou(boxes_xyxy, config.anchors, config.input_size_hw, config.clip_anchors).max(axis=1))
    if share <= MOST_UNREACHED:
        return None
    height, width = config.input_size_hw
    return (
        f"{share:.0%} of the objects overlap no default box of {config.flavour} at {height}x{width} by IoU "
        f"{IOU_THRESHOLD:g}, and are hard to learn. `singleshot data anchors` shows which, and fits the boxes"
    )


def _groups(
    names: Sequence[str],
    class_ids: Int[ndarray, " N"],
    sides: Float[ndarray, " N"],
    before: Float[ndarray, " N"],
    after: Float[ndarray, " N"],
) -> tuple[Group, ...]:
    found = []
    for class_id, name in enumerate(names):
        for low, high in SIZE_BANDS_PX:
            here: Bool[ndarray, " N"] = (class_ids == class_id) & (sides >= low) & (sides < high)
            if here.any():
                counts = (int((each[here] >= IOU_THRESHOLD).sum()) for each in (before, after))
                found.append(Group(name, (low, high), int(here.sum()), *counts))
    return tuple(found)


def _share_below(best: Float[ndarray, " N"]) -> float:
    return float((best < IOU_THRESHOLD).mean()) if len(best) else 0.0

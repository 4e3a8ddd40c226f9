"""From the network's answer to detections: softmax, threshold, decode, suppress, keep the best.

The rules are the Caffe reference's `DetectionOutput`: class scores above 0.01, the 400 best of each class, NMS at
0.45 within a class, the 200 best over all classes; boxes are not cut off at the picture's edge before NMS (torchvision
does cut: `clip_before_nms`). Where the answer lies on a CPU, a compiled pass does it all (`detect_loops`); on an
accelerator, tables of fixed shapes do (`detect_tensors`), and only what is kept comes to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from singleshot.detection.detect_loops import detect_compiled
from singleshot.detection.detect_tensors import detect_tensors
from singleshot.detection.raw import RawDetections
from singleshot.preprocess import Preprocess, boxes_to_pixels, seen_hw
from singleshot.structures import Detections, LabelMap


@dataclass(frozen=True)
class Postprocess:
    """Thresholds and counts; stored with the weights. The defaults are the Caffe reference's.

    Args:
        score_threshold: a class score must be above it.
        nms_iou: boxes of one class that overlap a better one by more than this are dropped.
        candidates_per_class: how many of a class enter NMS, best first.
        max_detections: how many of all classes are kept, best first.
        clip_before_nms: cut boxes off at the picture's edge before NMS, as torchvision does.
    """

    score_threshold: float = 0.01
    nms_iou: float = 0.45
    candidates_per_class: int = 400
    max_detections: int = 200
    clip_before_nms: bool = False


def postprocess(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    sizes_hw: Sequence[tuple[int, int]],
    label_map: LabelMap,
    config: Postprocess,
    preprocess: Preprocess,
) -> list[Detections]:
    """What the network saw in each picture, in pixels of pictures of those sizes, best first.

    Args:
        raw: the answer for B pictures.
        anchors_cxcywh: (A, 4) fractions of the input.
        sizes_hw: B heights and widths of the pictures before they were brought to the input.
        label_map: names of the C classes.
        config: thresholds and counts.
        preprocess: how they were brought there.

    Equal scores keep the order (class, anchor). A picture in which nothing passes gives empty detections. A NaN in
    an anchor's answer gives no detection for it; an infinite offset counts as a very large one.
    """
    edges = np.ones((len(sizes_hw), 2), np.float32)  # the picture's right and bottom edge, as fractions of the input
    if preprocess.fit == "letterbox":
        wholes = [seen_hw(size_hw, preprocess.size_hw, preprocess.fit) for size_hw in sizes_hw]
        edges = (
            (np.array(sizes_hw) / np.array(wholes).reshape(-1, 2)).reshape(-1, 2)[:, ::-1].astype(np.float32, order="C")
        )
    limits = (config.nms_iou, config.candidates_per_class, config.max_detections, config.clip_before_nms)
    if raw.class_logits.device.type == "cpu":
        found, counts = detect_compiled(raw, anchors_cxcywh, edges, config.score_threshold, *limits)
    else:
        tables = detect_tensors(raw, anchors_cxcywh, torch.from_numpy(edges), config.score_threshold, *limits)
        found, counts = (table.cpu().numpy() for table in tables)
    results = []
    for rows, count, size_hw in zip(found, counts, sizes_hw, strict=True):
        kept = rows[:count]
        class_ids = kept[:, 5].astype(np.int64)
        boxes_xyxy = boxes_to_pixels(kept[:, :4], size_hw, preprocess).astype(np.float32)
        names = label_map.names_of(class_ids)
        results.append(Detections(boxes_xyxy, kept[:, 4].copy(), class_ids, names, (int(size_hw[0]), int(size_hw[1]))))
    return results

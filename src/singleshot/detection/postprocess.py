"""From the network's output to detections: class scores, threshold, decode, suppress, keep the best.

The rules are the Caffe reference's `DetectionOutput`: class scores above 0.01, the 400 best of each class, NMS at
0.45 within a class, the 200 best over all classes; boxes are not cut off at the image's edge before NMS (torchvision
does cut: `clip_before_nms`).

NMS is greedy, per class: boxes are taken in descending score, and one is dropped if it overlaps a box already kept by
more than the threshold (equal is kept, as in Caffe's `ApplyNMSFast`). Class-agnostic NMS (`class_agnostic_nms`) takes
the candidates of all classes together, so that an object has one class.

If the output is on a CPU, compiled loops do it all; on an accelerator, tables of fixed shapes do, and only what is
kept comes to the host. The results are the same, ties included. Class-agnostic NMS always runs in the compiled loops:
the pairs of all classes would not fit into tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot import boxes
from singleshot.compiled import compiled
from singleshot.config import AtLeast, Config, Range
from singleshot.detection.coding import (
    CENTRE_VARIANCE,
    MAX_GROWTH,
    SIZE_VARIANCE,
    RawDetections,
    Scores,
    class_scores,
    decode,
)
from singleshot.detection.few_candidates import detect_few
from singleshot.detection.numerics import LOWEST, exponentiate, ranked
from singleshot.preprocess import Preprocess, boxes_to_pixels, padded_hw
from singleshot.structures import Detections, LabelMap

PAIRS_AT_ONCE = 1 << 25
"""Pairs of boxes whose overlaps an accelerator computes together: 128 MiB for each of a handful of tables."""
SCORES_AT_ONCE = 1 << 25
"""Class scores that an accelerator sorts together: 128 MiB, and 256 MiB for their order."""
MOST_CANDIDATES = 1000
"""Candidates of a class that an accelerator compares. The pairs of one class grow with their square."""
_ABSENT = -1.0
# Survivors that a box is compared with before the loop asks whether it was hit.
_COMPARED = 64
# Anchors whose softmax is computed together, in the first cache.
_BLOCK = 32


@dataclass(frozen=True)
class Postprocess(Config, name="postprocess"):
    """Thresholds and counts; stored with the weights. The defaults are the Caffe reference's."""

    score_threshold: Annotated[float, Range(0, 1)] = 0.01
    """A class score must be above it."""
    nms_iou: Annotated[float, Range(0, 1)] = 0.45
    """Boxes of one class that overlap a better one by more than this are dropped."""
    candidates_per_class: Annotated[int, AtLeast(0)] = 400
    """How many of a class enter NMS, best first."""
    max_detections: Annotated[int, AtLeast(0)] = 200
    """How many of all classes are kept, best first."""
    clip_before_nms: bool = False
    """Cut boxes off at the image's edge before NMS, as torchvision does."""
    class_agnostic_nms: bool = False
    """Boxes of other classes that overlap a better one are dropped too."""


def postprocess(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    sizes_hw: Sequence[tuple[int, int]],
    label_map: LabelMap,
    config: Postprocess,
    preprocess: Preprocess,
    scores: Scores = "softmax",
) -> list[Detections]:
    """Compute the detections of each image, in pixels of images of those sizes, best first.

    Args:
        raw: the network's output for B images.
        anchors_cxcywh: (A, 4) fractions of the input.
        sizes_hw: B heights and widths of the images before they were brought to the input.
        label_map: names of the C classes.
        config: thresholds and counts.
        preprocess: how they were brought to the input.
        scores: how class scores come from logits.

    Equal scores keep the order (class, anchor). An image in which nothing passes gives empty detections. A NaN in
    an anchor's output gives no detection for it; an infinite offset counts as a very large one.
    """
    edges = np.ones((len(sizes_hw), 2), np.float32)  # the image's right and bottom edge, as fractions of the input
    if preprocess.fit == "letterbox":
        wholes = [padded_hw(size_hw, preprocess.size_hw, preprocess.fit) for size_hw in sizes_hw]
        edges = (
            (np.array(sizes_hw) / np.array(wholes).reshape(-1, 2)).reshape(-1, 2)[:, ::-1].astype(np.float32, order="C")
        )
    if raw.class_logits.device.type == "cpu":
        on_cpu = detect_sigmoid if scores == "sigmoid" else detect_compiled
        rows, counts = on_cpu(raw, anchors_cxcywh, edges, config)
    else:
        tables = detect_tensors(raw, anchors_cxcywh, torch.from_numpy(edges), config, scores)
        rows, counts = (table.cpu().numpy() for table in tables)
    results = []
    for image_rows, count, size_hw in zip(rows, counts, sizes_hw, strict=True):
        kept = image_rows[:count]
        class_ids = kept[:, 5].astype(np.int64)
        boxes_xyxy = boxes_to_pixels(kept[:, :4], size_hw, preprocess).astype(np.float32)
        names = label_map.names_of(class_ids)
        results.append(Detections(boxes_xyxy, kept[:, 4].copy(), class_ids, names, (int(size_hw[0]), int(size_hw[1]))))
    return results


def detect_sigmoid(
    raw: RawDetections, anchors_cxcywh: Float[Tensor, "A 4"], edges: Float[ndarray, "B 2"], config: Postprocess
) -> tuple[Float[ndarray, "B K 6"], Int[ndarray, " B"]]:
    """Compute the detections of a batch whose classes have a sigmoid each; arguments and results as `detect_compiled`.

    Images with few candidates need no compiled code, see `few_candidates`.
    """
    logits, offsets = (values.detach().float().numpy() for values in raw)
    anchors = anchors_cxcywh.float().numpy()
    limits = {field.name: getattr(config, field.name) for field in fields(config)}
    rows, counts = np.zeros((len(logits), config.max_detections, 6), np.float32), np.zeros(len(logits), np.int64)
    for index, edge in enumerate(edges):
        found = detect_few(logits[index], offsets[index], anchors, edge, **limits)
        if found is None:
            one = RawDetections(raw.class_logits[index : index + 1], raw.box_offsets[index : index + 1])
            (table,), (count,) = detect_compiled(one, anchors_cxcywh, edges[index : index + 1], config, "sigmoid")
            found = table[:count]
        rows[index, : len(found)], counts[index] = found, len(found)
    return rows, counts


def detect_compiled(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    edges: Float[ndarray, "B 2"],
    config: Postprocess,
    scores: Scores = "softmax",
) -> tuple[Float[ndarray, "B K 6"], Int[ndarray, " B"]]:
    """Compute the detections of a batch by compiled loops.

    Most anchors are dismissed by comparing logits: p_k > t needs l_k > l_background + log t, because the softmax's
    denominator is at least e^l_background. Neither a softmax nor a box is computed for them; a sigmoid is above t
    exactly where its logit is above log(t / (1 − t)). The remaining scores are sorted by class as they are found, and
    of each class only the best are ranked, decoded and suppressed.

    Args:
        raw: the output for B images, on the CPU.
        anchors_cxcywh: (A, 4) fractions of the input.
        edges: (B, 2) float32, the right and the bottom edge of each image as fractions of the input, to clip at.
        config: thresholds and counts; K is its `max_detections`.
        scores: how class scores come from logits.

    Returns:
        rows of x1 y1 x2 y2 (fractions of the input), score, class id, best first and 0 after the last one; and how
        many rows each image has.
    """
    threshold = config.score_threshold
    return _detect(
        np.ascontiguousarray(raw.class_logits.detach().float().numpy()),
        np.ascontiguousarray(raw.box_offsets.detach().float().numpy()),
        np.ascontiguousarray(anchors_cxcywh.float().numpy()),
        np.float32(threshold),
        np.float32(math.log(threshold) if threshold > 0 else -np.inf),
        (
            np.float32(config.nms_iou),
            config.candidates_per_class,
            config.max_detections,
            config.clip_before_nms,
            config.class_agnostic_nms,
        ),
        edges,
        scores == "sigmoid",
    )


@compiled
def _detect(logits, offsets, anchors, threshold, log_threshold, limits, edges, sigmoid):  # noqa: ANN001, ANN202
    nms_iou, per_class, keep, clip, agnostic = limits
    batch, _, width = logits.shape
    classes = width if sigmoid else width - 1
    detections = np.zeros((batch, keep, 6), np.float32)
    counts = np.zeros(batch, np.int64)
    for b in range(batch):
        if sigmoid:
            anchor_of, scores, starts = _sigmoid_candidates(logits[b], threshold)
        else:
            anchor_of, scores, starts = _candidates(logits[b], threshold, log_threshold)
        bound = 0
        for c in range(classes):
            bound += min(per_class, starts[c + 1] - starts[c])
        rows = np.empty((bound, 6), np.float32)
        filled = 0
        for c in range(classes):
            if starts[c] == starts[c + 1]:
                continue
            best = starts[c] + ranked(scores[starts[c] : starts[c + 1]], per_class)
            boxes_xyxy = np.empty((len(best), 4), np.float32)
            for i in range(len(best)):
                a = anchor_of[best[i]]
                _decode(offsets[b, a], anchors[a], clip, edges[b], boxes_xyxy[i])
            kept = np.arange(len(best))
            survivors = len(best) if agnostic else suppress(boxes_xyxy, nms_iou, kept)
            for k in range(survivors):
                box = boxes_xyxy[kept[k]]
                if not np.isfinite(box.sum()):
                    continue
                rows[filled, :4] = box
                rows[filled, 4] = scores[best[kept[k]]]
                rows[filled, 5] = c
                filled += 1
        order = ranked(rows[:filled, 4].copy(), filled if agnostic else keep)
        if agnostic:
            kept = np.empty(filled, np.int64)
            survivors = suppress(rows[order, :4], nms_iou, kept)
            order = order[kept[: min(survivors, keep)]]
        counts[b] = len(order)
        for k in range(len(order)):
            detections[b, k] = rows[order[k]]
    return detections, counts


@compiled
def _candidates(logits, threshold, log_threshold):  # noqa: ANN001, ANN202
    """Return anchors and scores of all that is above the threshold, class by class, and where each class starts."""
    total, width = logits.shape
    passing = np.empty(total, np.int64)
    count, bound = 0, 0
    for a in range(total):
        classes, hits = logits[a, 1:], 0
        floor = logits[a, 0] + log_threshold
        for k in range(len(classes)):
            hits += classes[k] > floor
        passing[count] = a
        count += hits > 0
        bound += hits
    anchor_of, class_of, scores = np.empty(bound, np.int64), np.empty(bound, np.int64), np.empty(bound, np.float32)
    starts = np.zeros(width, np.int64)
    values = np.empty((_BLOCK, width), np.float32)
    whole, power = np.empty(_BLOCK * width, np.float32), np.empty(_BLOCK * width, np.float32)
    found = 0
    for start in range(0, count, _BLOCK):
        block = passing[start : min(start + _BLOCK, count)]
        for i in range(len(block)):
            row, out = logits[block[i]], values[i]
            top = row[0]
            for k in range(width):
                top = row[k] if row[k] > top else top
            for k in range(width):
                below = row[k] - top
                out[k] = LOWEST if below < LOWEST else below
        used = len(block) * width
        exponentiate(values.reshape(-1)[:used], whole[:used], power[:used])
        for i in range(len(block)):
            denominator, row = values[i].sum(), logits[block[i]]
            floor = row[0] + log_threshold
            for k in range(1, width):
                score = values[i, k] / denominator
                # The floor again, for room was made for what is above it: near a tiny threshold rounding decides.
                if score > threshold and row[k] > floor:
                    anchor_of[found], class_of[found], scores[found] = block[i], k - 1, score
                    starts[k] += 1
                    found += 1
    for k in range(1, width):
        starts[k] += starts[k - 1]
    # Sorted by counting: the anchors of a class stay in order.
    order, ends = np.empty(found, np.int64), starts.copy()
    for i in range(found):
        order[ends[class_of[i]]] = i
        ends[class_of[i]] += 1
    return anchor_of[order], scores[order], starts


@compiled
def _sigmoid_candidates(logits, threshold):  # noqa: ANN001, ANN202
    """Return the same as `_candidates` where each class has a sigmoid of its own, for (A, C) logits."""
    total, width = logits.shape
    # Below the least logit that can pass, with room for rounding: the score itself decides.
    floor = np.float32(-np.inf)
    if threshold > 0:
        floor = np.float32(np.log(threshold)) - np.float32(1e-3)
    starts = np.zeros(width + 1, np.int64)
    for a in range(total):
        for k in range(width):
            starts[k + 1] += logits[a, k] > floor
    room = starts.sum()
    anchors, classes, scores = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float32)
    starts[:] = 0
    found = 0
    for a in range(total):
        for k in range(width):
            if logits[a, k] > floor:
                score = np.float32(1.0 / (1.0 + np.exp(-np.float64(logits[a, k]))))
                if score > threshold:
                    anchors[found], classes[found], scores[found] = a, k, score
                    starts[k + 1] += 1
                    found += 1
    for k in range(1, width + 1):
        starts[k] += starts[k - 1]
    order, ends = np.empty(found, np.int64), starts.copy()
    for i in range(found):
        order[ends[classes[i]]] = i
        ends[classes[i]] += 1
    return anchors[order], scores[order], starts


@compiled
def _decode(offset, anchor, clip, edges, box):  # noqa: ANN001, ANN202
    """Write `coding.decode` of one anchor into `box`, as corners."""
    for axis in range(2):
        centre = anchor[axis] + offset[axis] * np.float32(CENTRE_VARIANCE) * anchor[axis + 2]
        growth = min(offset[axis + 2] * np.float32(SIZE_VARIANCE), np.float32(MAX_GROWTH))
        half = anchor[axis + 2] * np.exp(growth) / np.float32(2)
        low, high = centre - half, centre + half
        if clip:
            low, high = min(max(low, np.float32(0)), edges[axis]), min(max(high, np.float32(0)), edges[axis])
        box[axis], box[axis + 2] = low, high


def nms(boxes_xyxy: Float[ndarray, "N 4"], scores: Float[ndarray, " N"], iou_threshold: float) -> Int[ndarray, " K"]:
    """Return the indices of the boxes to keep, best score first; equal scores keep their order. N may be 0.

    >>> same = np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [4.0, 4.0, 5.0, 5.0]], dtype=np.float32)
    >>> nms(same, np.array([0.5, 0.9, 0.1], dtype=np.float32), 0.45)
    array([1, 2])
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(len(order), dtype=np.int64)
    count = suppress(boxes_xyxy[order], np.float32(iou_threshold), kept)
    return order[kept[:count]]


@compiled
def suppress(boxes_xyxy, threshold, kept):  # noqa: ANN001, ANN201
    """Write the rows of (N, 4) boxes, sorted best first, that survive NMS into `kept` (N,); return how many.

    Each box is compared with the kept ones only, which makes a compiled loop faster than any matrix of overlaps.
    """
    # The survivors' x1, y1, x2, y2 and areas, one row each, so that the compiler compares with several at once.
    columns = np.empty((5, len(boxes_xyxy)), boxes_xyxy.dtype)
    count = 0
    for i in range(len(boxes_xyxy)):
        if _overlaps_any(boxes_xyxy[i], columns, count, threshold):
            continue
        columns[:4, count] = boxes_xyxy[i]
        columns[4, count] = (boxes_xyxy[i, 2] - boxes_xyxy[i, 0]) * (boxes_xyxy[i, 3] - boxes_xyxy[i, 1])
        kept[count] = i
        count += 1
    return count


@compiled
def _overlaps_any(box, columns, count, threshold):  # noqa: ANN001, ANN202
    """Tell whether a box overlaps any of the first `count` of `columns` by more than the threshold."""
    x1, y1, x2, y2 = box[0], box[1], box[2], box[3]
    zero = x1 * 0
    area = (x2 - x1) * (y2 - y1)
    for start in range(0, count, _COMPARED):
        # A slice of a row is known to be contiguous, a row of a slice is not.
        stop = min(start + _COMPARED, count)
        left, top, right = columns[0][start:stop], columns[1][start:stop], columns[2][start:stop]
        bottom, others = columns[3][start:stop], columns[4][start:stop]
        hits = np.int32(0)
        for k in range(len(left)):
            # Conditional expressions, not min() and max(), which care about NaN and are not vectorised.
            width = (right[k] if right[k] < x2 else x2) - (left[k] if left[k] > x1 else x1)
            height = (bottom[k] if bottom[k] < y2 else y2) - (top[k] if top[k] > y1 else y1)
            common = (width if width > zero else zero) * (height if height > zero else zero)
            hits |= np.int32(common > threshold * (area + others[k] - common))
        if hits:
            return True
    return False


@torch.no_grad()
def detect_tensors(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    edges: Float[Tensor, "B 2"],
    config: Postprocess,
    scores: Scores = "softmax",
) -> tuple[Float[Tensor, "B K 6"], Int[Tensor, " B"]]:
    """Compute the detections of a batch by tables of fixed shapes; arguments and results as of `detect_compiled`.

    How many candidates there are is only known on the device, and asking would make the host wait. Every class of
    every image therefore has the same number of candidates, and those below the threshold are marked.

    Memory does not grow with batch and classes, which are worked through in parts: at most `SCORES_AT_ONCE` scores are
    sorted and `PAIRS_AT_ONCE` pairs compared together. An output with more than `MOST_CANDIDATES` in a class, and one
    whose classes are suppressed together, goes through the compiled loops on the host, whose memory grows with the
    candidates alone.
    """
    total, width = raw.class_logits.shape[1:]
    if config.class_agnostic_nms or min(config.candidates_per_class, total) > MOST_CANDIDATES:
        on_host = RawDetections(raw.class_logits.cpu(), raw.box_offsets.cpu())
        rows, counts = detect_compiled(on_host, anchors_cxcywh.cpu(), edges.cpu().numpy(), config, scores)
        return torch.from_numpy(rows), torch.from_numpy(counts)
    at_once = max(1, SCORES_AT_ONCE // max(1, total * width))
    limits = edges.to(raw.class_logits.device, non_blocking=True)
    parts = zip(raw.class_logits.split(at_once), raw.box_offsets.split(at_once), limits.split(at_once), strict=True)
    detections = torch.cat(
        [
            _detect_part(RawDetections(logits, offsets), anchors_cxcywh.float(), part_edges, config, scores)
            for logits, offsets, part_edges in parts
        ]
    )
    present = detections[..., 4] > _ABSENT
    return torch.where(present[..., None], detections, 0.0), present.sum(dim=1)


def _detect_part(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    edges: Float[Tensor, "B 2"],
    config: Postprocess,
    kind: Scores,
) -> Float[Tensor, "B K 6"]:
    """Compute the detections of the images whose scores fit into memory together; absent rows score `_ABSENT`."""
    scores = class_scores(raw.class_logits.float(), kind).transpose(1, 2)  # (B, C, A)
    scores = torch.where(scores > config.score_threshold, scores, _ABSENT)
    candidates = min(config.candidates_per_class, scores.shape[2])
    # A stable sort and not topk, which leaves the order of equal scores open.
    sorted_scores, order = scores.sort(dim=2, descending=True, stable=True)
    sorted_scores, order = sorted_scores[..., :candidates], order[..., :candidates]
    boxes_xyxy = boxes.cxcywh_to_xyxy(decode(raw.box_offsets.float(), anchors_cxcywh))
    if config.clip_before_nms:
        boxes_xyxy = boxes_xyxy.clamp(min=0.0).minimum(edges.repeat(1, 2)[:, None])

    images, classes = scores.shape[:2]
    candidate_boxes = boxes_xyxy.gather(1, order.flatten(1)[..., None].expand(-1, -1, 4)).view(
        images, classes, candidates, 4
    )
    alive = suppress_tensors(candidate_boxes.flatten(0, 1), (sorted_scores > _ABSENT).flatten(0, 1), config.nms_iou)
    kept = alive.view_as(sorted_scores) & candidate_boxes.sum(dim=-1).isfinite()
    kept_scores = torch.where(kept, sorted_scores, _ABSENT)

    # The best of all classes; made up with absent rows where there are fewer.
    best_scores, best = kept_scores.flatten(1).sort(dim=1, descending=True, stable=True)
    best_scores, best = best_scores[:, : config.max_detections], best[:, : config.max_detections]
    best_boxes = candidate_boxes.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, 4))
    class_ids = best.div(max(1, candidates), rounding_mode="floor").to(best_scores.dtype)
    rows = torch.cat([best_boxes, best_scores[..., None], class_ids[..., None]], dim=-1)
    missing = rows.new_full((images, config.max_detections - rows.shape[1], 6), _ABSENT)
    return torch.cat([rows, missing], dim=1)


def suppress_tensors(
    boxes_xyxy: Float[Tensor, "R M 4"], candidates: Bool[Tensor, "R M"], iou_threshold: float
) -> Bool[Tensor, "R M"]:
    """Suppress as `suppress` does, for R rows of boxes (classes of any images) at once; return which are kept.

    Args:
        boxes_xyxy: (R, M, 4) sorted best first, row by row.
        candidates: (R, M) False on boxes that take no part.
        iou_threshold: the overlap up to which two boxes are both kept.
    """
    at_once = max(1, PAIRS_AT_ONCE // max(1, boxes_xyxy.shape[1] ** 2))
    parts = zip(boxes_xyxy.split(at_once), candidates.split(at_once), strict=True)
    return torch.cat([_suppress_part(*part, iou_threshold) for part in parts])


def _suppress_part(
    boxes_xyxy: Float[Tensor, "R M 4"], candidates: Bool[Tensor, "R M"], iou_threshold: float
) -> Bool[Tensor, "R M"]:
    """Suppress the rows whose pairs fit into memory together."""
    common = boxes.pairwise_intersection(boxes_xyxy, boxes_xyxy)
    areas = boxes.area(boxes_xyxy)
    hits = common > iou_threshold * (areas[:, :, None] + areas[:, None, :] - common)
    alive = candidates.clone()
    for index in range(boxes_xyxy.shape[1] - 1):
        alive[:, index + 1 :] &= ~(hits[:, index, index + 1 :] & alive[:, index : index + 1])
    return alive

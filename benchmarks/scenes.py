"""Arrays to measure on: answers of a network and detections of a split, drawn at random but shaped like real ones.

Everything comes from a seed and is saved as .npy files where a peer has to read it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.metrics.detections import FlatDetections, GroundTruths

BACKGROUND_LEAD = 12.0
REGIMES = {"sparse": 110, "mid": 1800, "dense": 0}
"""Candidates above 0.01 that an image has in each regime, about: a trained network's, a cautious one's, and what an
untrained one answers, where about 23,000 of 174,640 pass."""


def anchors(count: int, seed: int = 0) -> np.ndarray:
    """(A, 4) cx cy w h in fractions of the input, of sizes spread as SSD's are."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(np.log(0.06), np.log(0.9), (count, 2)))
    return np.concatenate([rng.random((count, 2)), sizes], axis=1).astype(np.float32)


def answer(boxes_cxcywh: np.ndarray, regime: str, classes: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(1, A, C + 1) logits and (1, A, 4) offsets; anchors about ten places agree on a class there."""
    rng, count = np.random.default_rng(seed), len(boxes_cxcywh)
    logits = rng.normal(0, 1, (1, count, classes + 1)).astype(np.float32)
    logits[..., 0] += BACKGROUND_LEAD if REGIMES[regime] else 5.95
    sure = min(REGIMES[regime] * count // 8732, count)
    if sure:
        places, class_ids = rng.random((10, 2)), rng.integers(1, classes + 1, 10)
        distances = ((boxes_cxcywh[:, None, :2] - places) ** 2).sum(axis=2)
        near = np.argsort(distances.min(axis=1))[:sure]
        logits[0, near, class_ids[distances[near].argmin(axis=1)]] += 10 + rng.normal(0, 2, sure)
    return logits, rng.normal(0, 0.5, (1, count, 4)).astype(np.float32)


@dataclass(frozen=True)
class TrainingBatch:
    """What a loss is computed from: see `multibox_loss`."""

    anchors_cxcywh: np.ndarray
    boxes_cxcywh: np.ndarray
    class_ids: np.ndarray
    class_logits: np.ndarray
    box_offsets: np.ndarray


def training_batch(
    mean_boxes: float, *, batch: int = 32, count: int = 8732, classes: int = 20, seed: int = 0
) -> TrainingBatch:
    """A batch with that many boxes an image: about, and at least one, where it is below ten; else exactly."""
    rng = np.random.default_rng(seed)
    numbers = rng.poisson(mean_boxes - 1, batch) + 1 if mean_boxes < 10 else np.full(batch, round(mean_boxes))
    boxes, class_ids = np.zeros((batch, numbers.max(), 4), np.float32), np.full((batch, numbers.max()), -1)
    for b, number in enumerate(numbers):
        sizes = np.exp(rng.uniform(np.log(0.08), np.log(0.6), (number, 2)))
        boxes[b, :number] = np.concatenate([rng.uniform(0.2, 0.8, (number, 2)), sizes], axis=1)
        class_ids[b, :number] = rng.integers(0, classes, number)
    logits = rng.normal(0, 1, (batch, count, classes + 1)).astype(np.float32)
    logits[..., 0] += 3
    offsets = rng.normal(0, 1, (batch, count, 4)).astype(np.float32)
    return TrainingBatch(anchors(count), boxes, class_ids, logits, offsets)


def split(
    images: int = 4952, per_image: int = 200, classes: int = 20, objects: float = 2.43, seed: int = 0
) -> tuple[FlatDetections, GroundTruths]:
    """Objects and detections of a split like VOC2007's test: half of the detections lie about an object."""
    rng = np.random.default_rng(seed)
    numbers = rng.poisson(objects - 1, images) + 1
    places, total = np.repeat(np.arange(images), numbers), int(numbers.sum())
    low, size = rng.uniform(0, 300, (total, 2)), np.exp(rng.uniform(2.5, 5.3, (total, 2)))
    there = GroundTruths(
        np.concatenate([low, low + size], axis=1), rng.integers(0, classes, total), rng.random(total) < 0.1, places
    )
    ends = np.cumsum(numbers)
    where = np.repeat(np.arange(images), per_image)
    about = ends[where] - 1 - rng.integers(0, 1 << 30, len(where)) % numbers[where]
    near = rng.random(len(where)) < 0.5
    boxes = there.boxes_xyxy[about] + rng.normal(0, 0.15, (len(where), 4)) * np.tile(size[about], 2)
    far = rng.uniform(0, 300, (len(where), 2))
    boxes = np.where(near[:, None], boxes, np.concatenate([far, far + rng.uniform(8, 200, (len(where), 2))], axis=1))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    right = near & (rng.random(len(where)) < 0.7)
    class_ids = np.where(right, there.class_ids[about], rng.integers(0, classes, len(where)))
    scores = (rng.random(len(where)) ** 3 + 0.5 * right) / 1.5
    return FlatDetections(boxes.astype(np.float64), scores.astype(np.float32), class_ids, where), there

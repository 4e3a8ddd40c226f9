"""Where detections and annotations disagree, ranked by how surprising that is: a list of annotations to look at.

- missing: a detection on no annotation;
- spurious: an annotation that no detection of its class is on, at no score;
- wrong class: an annotation with a detection of another class on it (IoU of 0.5 or more), which scores more than those
  of its own class;
- poor box: an annotation with no good detection of its class, but one beside it (IoU of 0.1 to 0.5).

One scale ranks all kinds: the surprise −log p, where p is the share of things like it that disagree as much,

- of a detection: the share of the detections of its class, with at least its score, that are on no annotation;
- of an annotation: the share of the annotations of its class, among the `SIMILAR` nearest to its size, that detections
  support as little. The support is the highest score of its class on it, less for a poor overlap.

So the data says what a score is worth: a model that is never sure, or that often misses small objects, does not fill
the list with them. A few things say little, so the model's own probability (1 − score of a detection, the support of an
annotation) counts as `PRIOR` more of them. A wrong class is two surprises, that of the annotation and that of the
detection, which are added. So is a poor box, but a model that draws loose boxes explains both at once, so the sum is
multiplied by `LOOSE`. A detection that scores more, all else equal, never ranks lower.

The idea, that labels are judged by what the model usually gives to their class, is from Northcutt et al., "Confident
Learning" (JAIR 2021); the kinds are those of Tkachenko et al., "ObjectLab" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot import boxes
from singleshot.structures import Detections, Sample

Kind = Literal["missing", "spurious", "wrong class", "poor box"]
KINDS: tuple[Kind, ...] = ("missing", "spurious", "wrong class", "poor box")
ON = 0.5
"""Least IoU at which a detection is on an annotation."""
BESIDE = 0.1
"""Least IoU at which it is beside one."""
LOOSE = 0.6
"""Of 0.5, 0.6 and 0.7, and of eight other ways to count, it finds most in `benchmarks/review.py` by weak weights."""
PRIOR = 2.0
SIMILAR = 60
LEAST_SHARE = 1e-4
"""So that a score of 1 is finite."""


@dataclass(frozen=True)
class Disagreement:
    """One row of the list.

    Args:
        kind: see the module.
        surprise: −log p, 0 or more, in nats.
        index: of the image in the split.
        annotation: the row of the annotation in its sample; None where it is missing.
        detection: the row of the detection in its image's detections; None where the annotation is spurious.
        score: of that detection; None without one.
        iou: of both; 0 where one of them is None.
    """

    kind: Kind
    surprise: float
    index: int
    annotation: int | None
    detection: int | None
    score: float | None
    iou: float


@dataclass
class _Matched:
    """An image's annotations and detections, with what they say about each other.

    Args:
        support: (N,) by annotation, 0…1.
        good: (N,) the score of the best detection of its class on it; 0 without one.
        rivals: (N,) the best detection of another class on it; −1 without one.
        near: (N,) the best detection of its class beside it that belongs to no other annotation; −1 without one.
        free: detections on no annotation, best first, none of which lies on another.
    """

    support: Float[ndarray, " N"]
    good: Float[ndarray, " N"]
    rivals: list[int]
    near: list[int]
    free: list[int]
    ious: Float[ndarray, "N D"]


def disagreements(samples: Sequence[Sample], found: Sequence[Detections]) -> list[Disagreement]:
    """Rank the disagreements of a split, the most surprising first; equal ones keep the order of images and rows.

    Args:
        samples: the images with their annotations. Difficult and crowd boxes are never listed, nor is a detection on
            or in one.
        found: by image, the detections at every score that the model gives.

    Returns [] for no images, or where there is neither an annotation nor a detection.
    """
    matched = [_match(sample, each) for sample, each in zip(samples, found, strict=True)]
    of_detections = _DetectionSurprise(samples, found, matched)
    of_annotations = _annotation_surprises(samples, matched)
    rows: list[Disagreement] = []
    for index, (sample, each, match) in enumerate(zip(samples, found, matched, strict=True)):
        paired: set[int] = set()
        for row in np.flatnonzero(~sample.difficult).tolist():
            own, rival, near = of_annotations[index][row], match.rivals[row], match.near[row]
            if rival >= 0 and each.scores[rival] > match.good[row]:
                kind, other = "wrong class", rival
            elif match.good[row] > 0:
                continue
            elif near >= 0:
                kind, other = "poor box", near
                paired.add(near)
            else:
                rows.append(Disagreement("spurious", own, index, row, None, None, 0.0))
                continue
            score, iou = float(each.scores[other]), float(match.ious[row, other])
            its = of_detections(int(each.class_ids[other]), score)
            surprise = (own + its) * (LOOSE if kind == "poor box" else 1.0)
            rows.append(Disagreement(kind, surprise, index, row, other, score, iou))
        for row in match.free:
            if row not in paired:
                score = float(each.scores[row])
                surprise = of_detections(int(each.class_ids[row]), score)
                rows.append(Disagreement("missing", surprise, index, None, row, score, 0.0))
    return sorted(rows, key=lambda row: -row.surprise)


def _match(sample: Sample, found: Detections) -> _Matched:
    scores, detected = found.scores.astype(np.float64), found.boxes_xyxy.astype(np.float64)
    ious = boxes.pairwise_iou(sample.boxes_xyxy.astype(np.float64), detected)
    same = sample.class_ids[:, None] == found.class_ids[None]
    own = same * scores
    support = (own * ((ious - BESIDE) / (ON - BESIDE)).clip(0, 1)).max(axis=1, initial=0.0)
    good = (own * (ious >= ON)).max(axis=1, initial=0.0)
    rivals = _best(np.where(same | (ious < ON), 0.0, scores[None]))
    taken = ((ious >= ON) & same).any(axis=0)
    # Half of a crowd or of a difficult object is an object of it.
    passed = sample.boxes_xyxy[sample.difficult].astype(np.float64)
    inside = boxes.pairwise_intersection(passed, detected) >= 0.5 * boxes.area(detected)
    free = ~((ious >= ON) | ((ious >= BESIDE) & same)).any(axis=0) & ~inside.any(axis=0)
    near = _best(np.where(same & (ious >= BESIDE) & ~taken[None], scores[None], 0.0))
    return _Matched(support, good, rivals, near, _apart(np.flatnonzero(free), detected, scores), ious)


def _best(scores: Float[ndarray, "N D"]) -> list[int]:
    """Return the column of the highest score of each row; −1 where all are 0."""
    if not scores.shape[1]:
        return [-1] * len(scores)
    return np.where(scores.max(axis=1) > 0, scores.argmax(axis=1), -1).tolist()


def _apart(rows: ndarray, boxes_xyxy: Float[ndarray, "D 4"], scores: Float[ndarray, " D"]) -> list[int]:
    """Return the rows, best score first, without those that lie on a better one, of whatever class."""
    kept: list[int] = []
    for row in rows[np.argsort(-scores[rows], kind="stable")].tolist():
        if not kept or boxes.pairwise_iou(boxes_xyxy[row][None], boxes_xyxy[kept]).max() < ON:
            kept.append(row)
    return kept


class _DetectionSurprise:
    """The surprise of a detection on no annotation, by class and score."""

    def __init__(self, samples: Sequence[Sample], found: Sequence[Detections], matched: Sequence[_Matched]) -> None:
        on: dict[int, list[float]] = {}
        off: dict[int, list[float]] = {}
        for sample, each, match in zip(samples, found, matched, strict=True):
            for class_id, score in zip(sample.class_ids.tolist(), match.good.tolist(), strict=True):
                if score:
                    on.setdefault(class_id, []).append(score)
            for row in match.free:
                off.setdefault(int(each.class_ids[row]), []).append(float(each.scores[row]))
        self._tables = {key: _falling_shares(on.get(key, []), off.get(key, [])) for key in {*on, *off}}

    def __call__(self, class_id: int, score: float) -> float:
        if class_id not in self._tables:
            return _surprise(1 - score)
        scores, shares = self._tables[class_id]
        place = int(np.searchsorted(scores, score, side="right")) - 1
        return _surprise(1 - score if place < 0 else float(shares[place]))


def _falling_shares(on: list[float], off: list[float]) -> tuple[ndarray, ndarray]:
    """Return scores, ascending, and for each the share of detections from it on that are off, made to fall."""
    scores = np.unique(np.array([*on, *off]))
    counts = [len(each) - np.searchsorted(np.sort(each), scores) for each in (on, off)]
    shares = (counts[1] + PRIOR * (1 - scores)) / (counts[0] + counts[1] + PRIOR)
    return scores, np.minimum.accumulate(shares)


def _annotation_surprises(samples: Sequence[Sample], matched: Sequence[_Matched]) -> list[list[float]]:
    """Return by image and annotation the surprise that it is supported so little."""
    class_ids = np.concatenate([np.empty(0, np.int64), *(sample.class_ids for sample in samples)])
    every: Any = np.concatenate([np.empty((0, 4)), *(sample.boxes_xyxy for sample in samples)])
    sizes = np.log(np.maximum(boxes.area(every), 1e-6))
    support = np.concatenate([np.empty(0), *(match.support for match in matched)])
    result = np.zeros(len(support))
    for class_id in np.unique(class_ids).tolist():
        rows = np.flatnonzero(class_ids == class_id)
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        for place, row in enumerate(rows.tolist()):
            first = min(max(0, place - SIMILAR // 2), max(0, len(rows) - SIMILAR))
            similar = rows[first : first + SIMILAR]
            less = int((support[similar] <= support[row]).sum()) - 1  # without itself
            # The half keeps the least supported of all from being infinitely surprising.
            share = (less + 0.5 + PRIOR * support[row]) / (len(similar) - 0.5 + PRIOR)
            result[row] = _surprise(float(share))
    ends = np.cumsum([len(sample.class_ids) for sample in samples])[:-1] if len(samples) else []
    return [each.tolist() for each in np.split(result, ends)]


def _surprise(share: float) -> float:
    return float(-np.log(min(1.0, max(share, LEAST_SHARE))))

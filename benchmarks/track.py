"""The tracker on drawn street videos whose tracks are known: identity switches and IDF1.

    python -m benchmarks.track                                          # true boxes, jittered and with gaps
    python -m benchmarks.track --weights runs/demo/train/best.safetensors      # a detector's own boxes

Without a detector, what the tracker is shown is the truth as a detector might have seen it: boxes jittered by a few
per cent of their size, the more hidden ones with a low score, and one in ten gone. IDF1 is that of Ristani et al.
(2016): the best one-to-one assignment of tracks to true tracks over the whole video, by frames in which they overlap by
IoU 0.5. A switch is counted whenever a true object's track has another number than the last time it was found. Objects
that the truth marks to be ignored are no one's fault, found or missed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.boxes import pairwise_iou, xyxy_to_cxcywh
from singleshot.prediction.choosing import choice
from singleshot.prediction.track import Tracker
from singleshot.streets import video
from singleshot.streets.objects import CLASS_NAMES
from singleshot.structures import Detections, LabelMap

LABELS = LabelMap(CLASS_NAMES)


@dataclass
class Judge:
    """What is counted over one video.

    Args:
        together: in how many frames a true track and a found one were the same thing.
        true, found: how many boxes each has, without those to be ignored.
        switches: how often a true object got another number.
    """

    together: dict[tuple[int, int], int]
    last: dict[int, int]
    true: int = 0
    found: int = 0
    switches: int = 0

    def add(self, frame: video.Frame, tracked: Detections) -> None:
        """Compare one frame."""
        from scipy.optimize import linear_sum_assignment

        overlap = pairwise_iou(frame.boxes_xyxy.astype(np.float64), tracked.boxes_xyxy.astype(np.float64))
        overlap = np.where((frame.class_ids[:, None] == tracked.class_ids[None]) & (overlap >= 0.5), overlap, 0.0)
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        fits = overlap[rows, columns] > 0
        rows, columns = rows[fits], columns[fits]
        ignored = frame.ignore[rows]
        self.true += int((~frame.ignore).sum())
        self.found += len(tracked) - int(ignored.sum())
        numbers = tracked.track_ids[columns].tolist() if tracked.track_ids is not None else []
        for true, number, skip in zip(frame.track_ids[rows].tolist(), numbers, ignored.tolist(), strict=True):
            self.switches += self.last.get(true, number) != number
            self.last[true] = number
            if not skip:
                self.together[true, number] = self.together.get((true, number), 0) + 1

    def idf1(self) -> float:
        """2 × the frames that agree under the best assignment / (true boxes + found boxes); 1 where there are none."""
        from scipy.optimize import linear_sum_assignment

        trues, numbers = (sorted({pair[side] for pair in self.together}) for side in (0, 1))
        table = np.zeros((len(trues), len(numbers)))
        for (true, number), count in self.together.items():
            table[trues.index(true), numbers.index(number)] = count
        agree = table[linear_sum_assignment(table, maximize=True)].sum()
        return float(2 * agree / (self.true + self.found)) if self.true + self.found else 1.0


def as_seen(frame: video.Frame, rng: np.random.Generator, size_hw: tuple[int, int]) -> Detections:
    """The truth as a fair detector might have seen it."""
    centred = xyxy_to_cxcywh(frame.boxes_xyxy.astype(np.float64))
    centred = centred + rng.normal(0, 0.04, centred.shape) * np.tile(centred[:, 2:], 2)
    low, high = centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2
    scores = np.clip(0.95 - frame.occlusion + rng.normal(0, 0.1, len(centred)), 0.02, 0.99)
    kept = np.flatnonzero(rng.random(len(centred)) > 0.1)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    boxes = np.hstack([low, high])[order].astype(np.float32)
    class_ids = frame.class_ids[order].astype(np.int64)
    return Detections(boxes, scores[order].astype(np.float32), class_ids, LABELS.names_of(class_ids), size_hw)


def follow(number: int, *, count: int, fps: float, size_hw: tuple[int, int], model: Any = None) -> Judge:
    """Track one drawn video and count."""
    judge, tracker, rng = Judge({}, {}), Tracker(), np.random.default_rng(number)
    chosen = choice(LABELS, 0.5 if model is None else 0.35)
    for frame in video.frames(0, number, count=count, fps=fps, size_hw=size_hw):
        found = as_seen(frame, rng, size_hw) if model is None else model.predict(frame.image, threshold=0.1)
        judge.add(frame, tracker.update(found, chosen.thresholds[found.class_ids]))
    return judge


def main() -> None:
    """Print a line for each video and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a detector of the drawn streets")
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--frames", type=int, default=125)
    given = parser.parse_args()
    model: Any = None
    if given.weights is not None:
        import singleshot

        model = singleshot.load(given.weights)
    figures = []
    print(f"{'video':>5} {'true tracks':>12} {'boxes':>7} {'found':>7} {'switches':>9} {'IDF1':>6}")
    for number in range(given.videos):
        judge = follow(number, count=given.frames, fps=12.5, size_hw=(300, 400), model=model)
        figures.append(judge.idf1())
        tracks = len(judge.last)
        print(f"{number:5} {tracks:12} {judge.true:7} {judge.found:7} {judge.switches:9} {figures[-1]:6.3f}")
    print(f"mean IDF1 {np.mean(figures):.3f}")


if __name__ == "__main__":
    main()

"""Multi-object tracking: give each object of a video a number that it keeps from frame to frame.

An implementation of ByteTrack (Zhang et al., ECCV 2022). Detections with high scores are matched with the tracks first,
by IoU with each track's predicted box; the remaining tracks may take a detection with a low score, which is most often
the same object partly occluded. A lost track is kept for some frames. An object that is detected in one frame only is
not a track. A track keeps its class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot.boxes import cxcywh_to_xyxy, pairwise_iou, xyxy_to_cxcywh
from singleshot.prediction import kalman
from singleshot.prediction.extras import needs_extra
from singleshot.prediction.kalman import Motion
from singleshot.structures import Detections

LOW_SCORE = 0.1
"""Detections below this score are ignored."""
NEW_MARGIN = 0.1
"""A detection starts a track if its score exceeds the threshold by this (ByteTrack); above a threshold of 0.8 by half
of the distance to 1, because hardly any score reaches 1."""
SURE_OVERLAP, UNSURE_OVERLAP, NEW_OVERLAP = 0.2, 0.5, 0.3
"""Minimum IoU of a match: with high scores (IoU times score), with low scores, and of a track seen once."""


@dataclass(frozen=True)
class _Tracks:
    """The state of all tracks, one row each.

    `numbers` are 0 until a track is matched for the first time; `missed` counts frames since its last match.
    """

    motion: Motion
    class_ids: Int[ndarray, " T"]
    numbers: Int[ndarray, " T"]
    missed: Int[ndarray, " T"]

    def __getitem__(self, keep: ndarray) -> _Tracks:
        return _Tracks(self.motion[keep], self.class_ids[keep], self.numbers[keep], self.missed[keep])

    @property
    def boxes_xyxy(self) -> Float[ndarray, "T 4"]:
        return cxcywh_to_xyxy(self.motion.means[:, :4])


class Tracker:
    """Tracks the objects of one video. Call `update` for every frame in order, also for frames without detections.

    Args:
        patience: frames after which a track without a match ends.

    Raises:
        ConfigError: SciPy, which solves the assignment, is not installed.
    """

    def __init__(self, patience: int = 30) -> None:
        with needs_extra("video"):
            from scipy.optimize import linear_sum_assignment
        self._assign: Any = linear_sum_assignment
        self._patience = patience
        self._count, self._frames = 0, 0
        nobody = np.zeros(0, np.int64)
        self._tracks = _Tracks(kalman.begin(np.zeros((0, 4))), nobody, nobody, nobody)

    def update(self, found: Detections, thresholds: Float[ndarray, " N"] | float = 0.5) -> Detections:
        """Return the detections of the next frame that belong to a track, with `track_ids` from 1, best score first.

        Args:
            found: the frame's detections with scores down to `LOW_SCORE`. Those below the threshold are returned if
                they continue a track.
            thresholds: the score from which each detection counts as high.
        """
        self._frames += 1
        limits = np.broadcast_to(np.asarray(thresholds, np.float32), found.scores.shape)
        sure, unsure = found.scores >= limits, (found.scores >= LOW_SCORE) & (found.scores < limits)
        tracks = replace(self._tracks, motion=kalman.ahead(self._tracks.motion, self._tracks.missed == 0))
        owner = np.full(len(found), -1)  # the track of each detection
        free = np.ones(len(tracks.numbers), np.bool_)
        known, recent = tracks.numbers > 0, tracks.missed == 0
        for who, which, least, weighted in (
            (known, sure, SURE_OVERLAP, True),
            (known & recent, unsure, UNSURE_OVERLAP, False),
            (~known, sure, NEW_OVERLAP, True),
        ):
            self._match(
                tracks, found, owner, np.flatnonzero(who & free), np.flatnonzero(which & (owner < 0)), least, weighted
            )
            free[owner[owner >= 0]] = False
        margin = np.minimum(NEW_MARGIN, (1 - np.minimum(limits, 1)) / 2)
        begins = sure & (owner < 0) & (found.scores >= limits + margin)
        self._tracks, numbers = self._stepped(tracks, found, owner, begins)
        return replace(found[numbers > 0], track_ids=numbers[numbers > 0])

    def _match(
        self,
        tracks: _Tracks,
        found: Detections,
        owner: Int[ndarray, " N"],
        rows: Int[ndarray, " R"],
        columns: Int[ndarray, " K"],
        least: float,
        weighted: bool,
    ) -> None:
        """Assign the detections `columns` to the tracks `rows`, and write the result into `owner`."""
        if not len(rows) or not len(columns):
            return
        overlap = pairwise_iou(tracks.boxes_xyxy[rows], found.boxes_xyxy[columns].astype(np.float64))
        if weighted:
            overlap = overlap * found.scores[columns][None, :]
        overlap = np.where(tracks.class_ids[rows][:, None] == found.class_ids[columns][None, :], overlap, 0.0)
        # Pairs below the minimum count 0, so that they never replace a valid pair.
        overlap = np.where(overlap >= least, overlap, 0.0)
        chosen = self._assign(overlap, maximize=True)
        fits = overlap[chosen] > 0
        owner[columns[chosen[1][fits]]] = rows[chosen[0][fits]]

    def _stepped(
        self, tracks: _Tracks, found: Detections, owner: Int[ndarray, " N"], begins: Bool[ndarray, " N"]
    ) -> tuple[_Tracks, Int[ndarray, " N"]]:
        """Return the tracks after this frame, and the number of each detection's track; 0 for none."""
        seen = np.flatnonzero(owner >= 0)
        mine = owner[seen]
        boxes = xyxy_to_cxcywh(found.boxes_xyxy.astype(np.float64))
        motion = Motion(tracks.motion.means.copy(), tracks.motion.covariances.copy())
        moved = kalman.corrected(tracks.motion[mine], boxes[seen])
        motion.means[mine], motion.covariances[mine] = moved.means, moved.covariances
        missed = tracks.missed + 1
        missed[mine] = 0
        numbers = tracks.numbers.copy()
        fresh = mine[numbers[mine] == 0]
        numbers[fresh] = self._numbered(len(fresh))
        answer = np.zeros(len(found), np.int64)
        answer[seen] = numbers[mine]
        kept = (missed <= self._patience) & ((numbers > 0) | (missed == 0))
        old = _Tracks(motion, tracks.class_ids, numbers, missed)[kept]
        # Tracks of the first frame get their numbers at once.
        given = self._numbered(int(begins.sum())) if self._frames == 1 else np.zeros(int(begins.sum()), np.int64)
        answer[begins] = given
        joined = _Tracks(
            kalman.joined(old.motion, kalman.begin(boxes[begins])),
            np.concatenate([old.class_ids, found.class_ids[begins]]),
            np.concatenate([old.numbers, given]),
            np.concatenate([old.missed, np.zeros(len(given), np.int64)]),
        )
        return joined, answer

    def _numbered(self, count: int) -> Int[ndarray, " K"]:
        numbers = np.arange(self._count + 1, self._count + 1 + count)
        self._count += count
        return numbers

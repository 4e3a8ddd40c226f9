"""Which boxes of one frame are the same things as in the frame before: a number for each thing, kept while it is seen.

ByteTrack (Zhang et al., ECCV 2022), written anew: sure detections are matched with the tracks first, by overlap with
where each track is expected; the tracks that are left over may take an unsure one, which is most often the same thing
half hidden. A thing out of sight is waited for. What is seen once only is no track. Things change their place and not
their class.
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
"""Below it a detection is not even taken for a hidden thing."""
NEW_MARGIN = 0.1
"""By how much a detection must be surer than the threshold to begin a track (ByteTrack); from 0.8 on by half of what is
left up to 1, which hardly any score reaches."""
SURE_OVERLAP, UNSURE_OVERLAP, NEW_OVERLAP = 0.2, 0.5, 0.3
"""The least IoU of a match (times the score, for the first): with sure ones, with unsure ones, of a track seen once."""


@dataclass(frozen=True)
class _Tracks:
    """What is followed, one row each.

    `numbers` are 0 until a track is seen a second time; `missed` counts frames since it was last seen.
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
    """Follows things through one video. Show it every frame, in order, also those in which nothing was found.

    Args:
        patience: for how many frames a thing out of sight is waited for.

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
        """The detections of the next frame that belong to a track, with `track_ids` from 1 on, best score first.

        Args:
            found: what was seen, down to scores of `LOW_SCORE`. Unsure detections are part of the answer where they
                continue a track.
            thresholds: from which score on each detection is sure.
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
        """Give each of the detections `columns` the one of the tracks `rows` that it fits, in `owner`."""
        if not len(rows) or not len(columns):
            return
        overlap = pairwise_iou(tracks.boxes_xyxy[rows], found.boxes_xyxy[columns].astype(np.float64))
        if weighted:
            overlap = overlap * found.scores[columns][None, :]
        overlap = np.where(tracks.class_ids[rows][:, None] == found.class_ids[columns][None, :], overlap, 0.0)
        # Pairs that may not be made count nothing, so that none is made at the cost of one that may.
        overlap = np.where(overlap >= least, overlap, 0.0)
        chosen = self._assign(overlap, maximize=True)
        fits = overlap[chosen] > 0
        owner[columns[chosen[1][fits]]] = rows[chosen[0][fits]]

    def _stepped(
        self, tracks: _Tracks, found: Detections, owner: Int[ndarray, " N"], begins: Bool[ndarray, " N"]
    ) -> tuple[_Tracks, Int[ndarray, " N"]]:
        """The tracks after this frame, and the number of each detection's track; 0 for none."""
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
        # In the first frame there is no second look to wait for.
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

"""A Kalman filter with constant velocity that predicts tracked boxes in the next frame, for all tracks at once.

The state is (cx, cy, w, h) and their velocities per frame. Noise is proportional to the height of the box, because an
object at half the distance moves twice as many pixels and is localised half as precisely (Wojke, Bewley, Paulus: Simple
Online and Realtime Tracking with a Deep Association Metric, 2017; its constants, with width instead of aspect ratio).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

POSITION_NOISE, SPEED_NOISE = 1 / 20, 1 / 160
_STEP = np.eye(8) + np.eye(8, k=4)


@dataclass(frozen=True)
class Motion:
    """The state estimates of T boxes.

    Args:
        means: (T, 8) cx, cy, w, h in pixels and their change per frame.
        covariances: (T, 8, 8) of the means.
    """

    means: Float[ndarray, "T 8"]
    covariances: Float[ndarray, "T 8 8"]

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, keep: ndarray) -> Motion:
        """Return the rows that a mask or an index array selects."""
        return Motion(self.means[keep], self.covariances[keep])


def begin(boxes_cxcywh: Float[ndarray, "N 4"]) -> Motion:
    """Return the state of boxes after one measurement: velocity 0 with a large variance."""
    count, height = len(boxes_cxcywh), boxes_cxcywh[:, 3:]
    deviations = np.hstack([np.repeat(2 * POSITION_NOISE * height, 4, 1), np.repeat(10 * SPEED_NOISE * height, 4, 1)])
    means = np.hstack([boxes_cxcywh, np.zeros((count, 4))]).astype(np.float64)
    return Motion(means, _diagonal(deviations.astype(np.float64)))


def ahead(motion: Motion, seen: Bool[ndarray, " T"]) -> Motion:
    """Predict the boxes of the next frame. Boxes that were not `seen` in the last frame keep their size."""
    means = motion.means.copy()
    means[~seen, 6:] = 0
    height = np.abs(means[:, 3:4])
    deviations = np.hstack([np.repeat(POSITION_NOISE * height, 4, 1), np.repeat(SPEED_NOISE * height, 4, 1)])
    return Motion(means @ _STEP.T, _STEP @ motion.covariances @ _STEP.T + _diagonal(deviations))


def corrected(motion: Motion, boxes_cxcywh: Float[ndarray, "T 4"]) -> Motion:
    """Update the boxes with one measurement each."""
    noise = _diagonal(np.repeat(POSITION_NOISE * np.abs(motion.means[:, 3:4]), 4, 1))
    innovation = motion.covariances[:, :4, :4] + noise
    # The gain is P Hᵀ S⁻¹, and S is symmetric.
    gain = np.linalg.solve(innovation, motion.covariances[:, :4, :]).transpose(0, 2, 1)
    surprise = boxes_cxcywh.astype(np.float64) - motion.means[:, :4]
    means = motion.means + (gain @ surprise[:, :, None])[:, :, 0]
    covariances = motion.covariances - gain @ innovation @ gain.transpose(0, 2, 1)
    return Motion(means, (covariances + covariances.transpose(0, 2, 1)) / 2)


def joined(first: Motion, second: Motion) -> Motion:
    """Return the rows of both, in order."""
    means = np.concatenate([first.means, second.means])
    return Motion(means, np.concatenate([first.covariances, second.covariances]))


def _diagonal(deviations: Float[ndarray, "T K"]) -> Float[ndarray, "T K K"]:
    return np.eye(deviations.shape[1]) * (deviations**2)[:, None, :]

"""Average precision: one figure for a whole precision-recall curve, in the two ways that Pascal VOC defines.

The input is the least that any protocol must agree on: for every detection of one class, best score first, whether
it is matched to an object or not; `voc_ap` matches them. The two definitions differ by up to several
points on the same detections, so an AP without its definition means nothing.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

# 0:0.1:1 in double precision, as published results have it: 3 · 0.1, 6 · 0.1 and 7 · 0.1 come out one digit above 0.3,
# 0.6 and 0.7.
RECALL_STEPS = np.arange(11) * 0.1


def precision_recall(
    hits: Bool[ndarray, " N"], num_ground_truths: int
) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
    """Compute precision and recall after each detection, as two (N,) arrays of fractions in 0…1.

    Args:
        hits: (N,) True for a detection that is matched to an object, best score first. N may be 0.
        num_ground_truths: how many objects there are to find, at least 1.

    Raises ValueError if there is nothing to find: recall has no meaning then.

    >>> precision, recall = precision_recall(np.array([True, False, True, True]), 4)
    >>> precision
    array([1.        , 0.5       , 0.66666667, 0.75      ])
    >>> recall
    array([0.25, 0.25, 0.5 , 0.75])
    """
    if num_ground_truths < 1:
        raise ValueError("recall needs at least one ground truth")
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / num_ground_truths


def eleven_point_ap(precision: Float[ndarray, " N"], recall: Float[ndarray, " N"]) -> float:
    """Compute the AP of VOC2007: the mean over recall 0, 0.1 … 1 of the best precision there or beyond (0 if none).

    Args:
        precision: (N,) fractions, best score first.
        recall: (N,) fractions, not falling.

    Returns a fraction in 0…1; 0 for no detections. Source: VOC2007 devkit, `VOCevaldet.m`. The steps are k · 0.1 in
    double precision, so a recall of exactly 3/10, 6/10 or 7/10 just misses its step (0.30000000000000004). That is an
    accident on which published results depend: without it a recall of 9/15 moves one by 0.036.

    >>> eleven_point_ap(*precision_recall(np.array([True, False, True, True]), 3))
    0.8409090909090909
    """
    # A trailing 0 stands for the recall that no detection reaches.
    best_from = np.append(_envelope(precision), 0.0)
    return float(best_from[np.searchsorted(recall, RECALL_STEPS, side="left")].mean())


def all_point_ap(precision: Float[ndarray, " N"], recall: Float[ndarray, " N"]) -> float:
    """Compute the AP of VOC2010 and later: the area under the precision that never rises with recall.

    Args:
        precision: (N,) fractions, best score first.
        recall: (N,) fractions, not falling.

    Returns a fraction in 0…1; 0 for no detections. Source: VOC2012 devkit, `VOCap.m`.

    >>> all_point_ap(*precision_recall(np.array([True, False, True, True]), 3))
    0.8333333333333333
    """
    return float((np.diff(recall, prepend=0.0) * _envelope(precision)).sum())


def _envelope(precision: ndarray) -> ndarray:
    """Return, for every detection, the best precision from it on."""
    return np.maximum.accumulate(precision[::-1])[::-1]

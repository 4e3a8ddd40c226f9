"""Average precision: one figure for a whole precision-recall curve, in the two ways that Pascal VOC defines.

The input is the least that any protocol must agree on: for every detection of one class, best score first, whether
it found an object or not. Who found what is the business of `voc_ap`. The two definitions differ by up to several
points on the same detections, so a figure without its definition means nothing.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

RECALL_STEPS = 10


def precision_recall(
    hits: Bool[ndarray, " N"], num_ground_truths: int
) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
    """Precision and recall after each detection, as two (N,) arrays of fractions in 0…1.

    Args:
        hits: (N,) True where a detection found an object, best score first. None in, none out.
        num_ground_truths: how many objects there are to find, at least 1.

    Raises ValueError where there is nothing to find: recall has no meaning then.

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
    """AP of VOC2007: the mean, over recall 0, 0.1 … 1, of the best precision at that recall or beyond (0 if none).

    Args:
        precision: (N,) fractions, best score first.
        recall: (N,) fractions, not falling.

    Returns a fraction in 0…1; 0 for no detections. Source: VOC2007 devkit, `VOCevaldet.m`. The steps are the
    decimals themselves, so a recall of 3 / 10 reaches 0.3; programs that count 0.1 + 0.1 + … or 3 · 0.1 arrive at
    0.30000000000000004 and miss it.

    >>> eleven_point_ap(*precision_recall(np.array([True, False, True, True]), 3))
    0.8409090909090909
    """
    steps = np.arange(RECALL_STEPS + 1) / RECALL_STEPS
    # A trailing 0 stands for the recall that no detection reaches.
    best_from = np.append(_envelope(precision), 0.0)
    return float(best_from[np.searchsorted(recall, steps, side="left")].sum() / len(steps))


def all_point_ap(precision: Float[ndarray, " N"], recall: Float[ndarray, " N"]) -> float:
    """AP of VOC2010 and later: the area under the precision that never rises with recall.

    Args:
        precision: (N,) fractions, best score first.
        recall: (N,) fractions, not falling.

    Returns a fraction in 0…1; 0 for no detections. Source: VOC2012 devkit, `VOCap.m`.

    >>> all_point_ap(*precision_recall(np.array([True, False, True, True]), 3))
    0.8333333333333333
    """
    return float((np.diff(recall, prepend=0.0) * _envelope(precision)).sum())


def _envelope(precision: ndarray) -> ndarray:
    """At every place the best precision from there on."""
    return np.maximum.accumulate(precision[::-1])[::-1]

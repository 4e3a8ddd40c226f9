"""The few greatest of many numbers, without sorting the many.

The hardest negatives, the candidates of a class and the best anchors of an object are all "the k greatest of n", with
k far below n. A partition finds the k-th in time proportional to n; one more pass collects what is not below it.
"""

from __future__ import annotations

import numpy as np

from singleshot.compiled import compiled


@compiled
def greatest(values, count):  # noqa: ANN001, ANN201
    """The places, rising, of the `count` greatest of (N,) `values`; all of them where N is not above `count`.

    Of equal values the earlier ones are taken. There must be no NaN among them.
    """
    if count >= len(values):
        return np.arange(len(values))
    if count <= 0:
        return np.empty(0, np.int64)
    least = np.partition(values, len(values) - count)[len(values) - count]
    equals = count
    for value in values:
        equals -= value > least
    places = np.empty(count, np.int64)
    filled = 0
    for i in range(len(values)):
        if values[i] > least or (values[i] == least and equals > 0):
            equals -= values[i] == least
            places[filled] = i
            filled += 1
    return places


@compiled
def ranked(values, count):  # noqa: ANN001, ANN201
    """The places of the `count` greatest of (N,) `values`, greatest first; equal values keep their order."""
    places = greatest(values, count)
    return places[np.argsort(-values[places], kind="mergesort")]

"""Numeric loops that loss, matching and postprocessing share: e to the power of x, and the k greatest of n numbers.

A softmax over thousands of anchors is all exponentials, and numba calls the C library for one at a time. Here it is
arithmetic alone, so the compiler does eight or sixteen at once: e^x = 2^n · e^r with n whole and |r| ≤ ln 2 / 2, where
a polynomial of degree 7 is enough for float32. The result is within 2 units in the last place of the true value.

The hardest negatives, the candidates of a class and the best anchors of an object are all "the k greatest of n", with
k far below n. A partition finds the k-th in time proportional to n; one more pass collects what is not below it.
"""

from __future__ import annotations

import numpy as np

from singleshot.compiled import compiled

# Where e^x is neither so large that a sum of a thousand overflows nor too small for float32's full precision.
HIGHEST = np.float32(80.0)
LOWEST = np.float32(-87.0)
_LOG2_E = np.float32(1.44269504)
# ln 2 in two parts: n times the first is exact.
_LN2_HIGH = np.float32(0.693145751953125)
_LN2_LOW = np.float32(1.42860677e-6)
# Adding 1.5 · 2^23 to a float32 leaves it no digits after the point: it is rounded, and its lowest bits are n.
_ROUND = np.float32(12582912.0)
_C2, _C3, _C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
_C5, _C6, _C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)


@compiled
def exponentiate(values, whole, power):  # noqa: ANN001, ANN201
    """Replace (N,) float32 `values`, each within `LOWEST`…`HIGHEST`, by e to their power.

    `whole` and `power` are (N,) float32 work space, given so that it is not allocated anew for every block.
    """
    whole_bits, power_bits = whole.view(np.int32), power.view(np.int32)
    for i in range(len(values)):
        whole[i] = values[i] * _LOG2_E + _ROUND
    for i in range(len(values)):
        # 127 is float32's bias: these are the bits of 2^n. What the rounding constant left above them is shifted out.
        power_bits[i] = (whole_bits[i] + np.int32(127)) << np.int32(23)
    for i in range(len(values)):
        n = whole[i] - _ROUND
        r = (values[i] - n * _LN2_HIGH) - n * _LN2_LOW
        rest = _C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))
        values[i] = (np.float32(1) + (r + r * r * rest)) * power[i]


@compiled
def greatest(values, count):  # noqa: ANN001, ANN201
    """Return the indices, rising, of the `count` greatest of (N,) `values`; all if N is not above `count`.

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
    indices = np.empty(count, np.int64)
    filled = 0
    for i in range(len(values)):
        if values[i] > least or (values[i] == least and equals > 0):
            equals -= values[i] == least
            indices[filled] = i
            filled += 1
    return indices


@compiled
def ranked(values, count):  # noqa: ANN001, ANN201
    """Return the indices of the `count` greatest of (N,) `values`, greatest first; equal values keep their order."""
    indices = greatest(values, count)
    return indices[np.argsort(-values[indices], kind="mergesort")]

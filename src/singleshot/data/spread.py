"""Some places out of many, evenly spread: which pictures of a list stand for all of them.

The first so many would not do: neighbours in a list are often neighbours in a film, or of one class.
"""

from __future__ import annotations

import numpy as np


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` places out of 0 … count−1, rising, with the first and the last; all where there are no more.

    >>> spread(10, 4), spread(3, 4), spread(0, 4)
    ([0, 3, 6, 9], [0, 1, 2], [])
    """
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()

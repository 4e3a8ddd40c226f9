from __future__ import annotations

import numpy as np
import pytest

from singleshot.data.load.picture_cache import PictureCache
from singleshot.errors import ConfigError


def test_what_fits_is_read_once_and_what_does_not_each_time() -> None:
    read: list[int] = []

    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        read.append(index)
        return np.full((4, 5, 3), index, np.uint8), np.zeros((4, 5), np.uint8)

    cache = PictureCache[tuple[np.ndarray, np.ndarray]](170)  # two pairs of 80 bytes
    for _ in range(2):
        assert [int(cache.get(index, pair)[0][0, 0, 0]) for index in (1, 2, 3)] == [1, 2, 3]
    assert read == [1, 2, 3, 3]


def test_no_room_keeps_nothing_and_less_is_refused() -> None:
    read: list[int] = []
    cache = PictureCache[tuple[np.ndarray]](0)
    for _ in range(2):
        cache.get(7, lambda index: (read.append(index) or np.zeros(1, np.uint8),))
    assert read == [7, 7]
    with pytest.raises(ConfigError, match="-1 bytes"):
        PictureCache(-1)

from __future__ import annotations

import numpy as np
import pytest

from singleshot.detection.greatest import greatest, ranked


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("count", [0, 1, 7, 99, 100, 1000])
def test_they_are_the_first_of_a_stable_sort(count: int, dtype: type) -> None:
    values = np.random.default_rng(count).integers(0, 20, 100).astype(dtype)
    by_sorting = np.argsort(-values, kind="stable")[:count]
    assert greatest(values, count).tolist() == sorted(by_sorting.tolist())
    assert ranked(values, count).tolist() == by_sorting.tolist()


def test_of_equals_the_earlier_are_taken() -> None:
    values = np.array([1, 3, 2, 3, 2, 2], np.float32)
    assert greatest(values, 3).tolist() == [1, 2, 3]
    assert ranked(values, 3).tolist() == [1, 3, 2]


def test_of_nothing_nothing() -> None:
    assert greatest(np.empty(0, np.float32), 3).shape == (0,)
    assert ranked(np.empty(0, np.float32), 3).shape == (0,)

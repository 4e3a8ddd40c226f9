from __future__ import annotations

import numpy as np
import pytest

from singleshot.detection.numerics import HIGHEST, LOWEST, exponentiate, greatest, ranked


def exponentials(values: np.ndarray) -> np.ndarray:
    result = values.copy()
    exponentiate(result, np.empty_like(result), np.empty_like(result))
    return result


def test_exponentials_are_within_two_units_in_the_last_place_over_its_whole_range() -> None:
    values = np.linspace(LOWEST, HIGHEST, 1_000_003).astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    assert (abs(exponentials(values) - exact) <= 2 * np.spacing(exact.astype(np.float32))).all()


def test_e_to_the_0_is_1_and_a_nan_stays_one() -> None:
    found = exponentials(np.array([0.0, np.nan, 1.0], np.float32))
    assert found[0] == 1.0 and np.isnan(found[1]) and found[2] == np.float32(np.e)


def test_no_values_have_no_exponentials() -> None:
    assert exponentials(np.empty(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("count", [0, 1, 7, 99, 100, 1000])
def test_the_greatest_are_the_first_of_a_stable_sort(count: int, dtype: type) -> None:
    values = np.random.default_rng(count).integers(0, 20, 100).astype(dtype)
    by_sorting = np.argsort(-values, kind="stable")[:count]
    assert greatest(values, count).tolist() == sorted(by_sorting.tolist())
    assert ranked(values, count).tolist() == by_sorting.tolist()


def test_of_equal_values_the_earlier_are_taken() -> None:
    values = np.array([1, 3, 2, 3, 2, 2], np.float32)
    assert greatest(values, 3).tolist() == [1, 2, 3]
    assert ranked(values, 3).tolist() == [1, 3, 2]


def test_no_values_have_no_greatest() -> None:
    assert greatest(np.empty(0, np.float32), 3).shape == (0,)
    assert ranked(np.empty(0, np.float32), 3).shape == (0,)

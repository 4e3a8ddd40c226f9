from __future__ import annotations

import numpy as np

from singleshot.detection.exponential import HIGHEST, LOWEST, exponentiate


def exponentials(values: np.ndarray) -> np.ndarray:
    result = values.copy()
    exponentiate(result, np.empty_like(result), np.empty_like(result))
    return result


def test_it_is_within_two_units_in_the_last_place_over_its_whole_range() -> None:
    values = np.linspace(LOWEST, HIGHEST, 1_000_003).astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    assert (abs(exponentials(values) - exact) <= 2 * np.spacing(exact.astype(np.float32))).all()


def test_e_to_the_0_is_1_and_a_nan_stays_one() -> None:
    found = exponentials(np.array([0.0, np.nan, 1.0], np.float32))
    assert found[0] == 1.0 and np.isnan(found[1]) and found[2] == np.float32(np.e)


def test_nothing_stays_nothing() -> None:
    assert exponentials(np.empty(0, np.float32)).shape == (0,)

from __future__ import annotations

import itertools

import pytest

from singleshot.data.spread import spread


def test_places_are_as_many_as_wanted_rising_and_from_end_to_end() -> None:
    for count in range(1, 60):
        for wanted in range(2, 70):
            places = spread(count, wanted)
            assert (len(places) == min(count, wanted) and places[0] == 0 and places[-1] == count - 1) or count == 1
            assert places == sorted(set(places))


@pytest.mark.parametrize(("count", "wanted"), [(0, 4), (7, 0)])
def test_nothing_of_nothing(count: int, wanted: int) -> None:
    assert spread(count, wanted) == []


def test_gaps_differ_by_one_at_most() -> None:
    places = spread(10_000, 300)
    gaps = {later - earlier for earlier, later in itertools.pairwise(places)}
    assert gaps == {33, 34}, "9999 / 299 is 33.44"

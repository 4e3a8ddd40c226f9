from __future__ import annotations

import time
from collections.abc import Iterator

from singleshot.benchmark.measure import Rates, measure
from singleshot.benchmark.verdict import verdict

FAST_S, SLOW_S = 0.001, 0.02


def rates(loader_s: float, network_s: float) -> Rates:
    """Measured with a loader and a network that do nothing but take their time."""

    def batches() -> Iterator[list[int]]:
        while True:
            time.sleep(loader_s)
            yield [0] * 8

    return measure(batches(), lambda _batch: time.sleep(network_s), seconds=0.3, warm_up=1, ahead=0)


def said(found: Rates) -> str:
    share = found.together.waiting_share
    return verdict(share, found.loader.images_per_second, found.network.images_per_second)


def test_a_deliberately_slow_loader_is_called_the_limit_with_the_share_of_waiting() -> None:
    found = rates(SLOW_S, FAST_S)
    assert said(found) == "loader-bound"
    assert found.together.waiting_share > 0.7


def test_a_deliberately_slow_network_is_called_the_limit_and_hardly_waits() -> None:
    found = rates(FAST_S, SLOW_S)
    assert said(found) == "network-bound"
    assert found.together.waiting_share < 0.2


def test_two_that_take_turns_evenly_are_told_from_a_loader_that_has_room() -> None:
    # Serial and equally fast: half of the time is waiting. Serial and four times as fast: a fifth.
    assert verdict(0.5, 100.0, 100.0) == "loader-bound"
    assert verdict(0.2, 400.0, 100.0) == "balanced"
    assert verdict(0.0, 100.0, 100.0) == "balanced"

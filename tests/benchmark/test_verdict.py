from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from singleshot.benchmark.measure import Rates, measure
from singleshot.benchmark.verdict import verdict

FAST_S, SLOW_S, SLOW_START_S = 0.001, 0.02, 0.4
AHEAD = 6


def rates(loader_s: float, network_s: float, ahead: int) -> Rates:
    """Measured with a loader and a network that do nothing but take their time, the network's first step much more.

    With `ahead` above 0 a thread reads on while the network learns, until so many batches are ready.
    """

    def in_turn() -> Iterator[list[int]]:
        while True:
            time.sleep(loader_s)
            yield [0] * 8

    def read_ahead() -> Iterator[list[int]]:
        ready: queue.Queue[list[int]] = queue.Queue(ahead)

        def read() -> None:
            for batch in in_turn():
                ready.put(batch)

        threading.Thread(target=read, daemon=True).start()
        while True:
            yield ready.get()

    steps: list[int] = []

    def step(batch: list[int]) -> None:
        time.sleep(network_s if steps else SLOW_START_S)
        steps.append(len(batch))

    def batches(_count: int | None) -> Iterator[list[int]]:
        return read_ahead() if ahead else in_turn()

    return measure(batches, step, seconds=0.2, warm_up=1, ahead=ahead, epoch_steps=1000)


def said(found: Rates) -> str:
    share = found.together.waiting_share
    return verdict(share, found.loader.images_per_second, found.network.images_per_second)


@pytest.mark.parametrize("ahead", [0, AHEAD])
def test_a_deliberately_slow_loader_is_called_the_limit_with_the_share_of_waiting(ahead: int) -> None:
    found = rates(SLOW_S, FAST_S, ahead)
    assert said(found) == "loader-bound"
    assert found.together.waiting_share > 0.7
    # What was ready when the window began would make it twice as fast as the loader.
    assert found.together.images_per_second < 1.3 * 8 / SLOW_S


@pytest.mark.parametrize("ahead", [0, AHEAD])
def test_a_deliberately_slow_network_is_called_the_limit_and_hardly_waits(ahead: int) -> None:
    found = rates(FAST_S, SLOW_S, ahead)
    assert said(found) == "network-bound"
    assert found.together.waiting_share < 0.2


def test_two_that_take_turns_evenly_are_told_from_a_loader_that_has_room() -> None:
    # Serial and equally fast: half of the time is waiting. Serial and four times as fast: a fifth.
    assert verdict(0.5, 100.0, 100.0) == "loader-bound"
    assert verdict(0.2, 400.0, 100.0) == "balanced"
    assert verdict(0.0, 100.0, 100.0) == "balanced"

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Iterator

import pytest

from singleshot.benchmark.measure import Rates, Stream, Window, measure, noise, timed, verdict


def test_a_step_longer_than_the_window_is_finished_and_counted() -> None:
    window = timed(itertools.repeat([1, 2, 3]), lambda _batch: time.sleep(0.05), seconds=0.0)
    assert (window.steps, window.images) == (1, 3) and window.seconds >= 0.05
    assert window.noise is None


def epochs(length: int, load_s: float = 0.0) -> tuple[list[tuple[int, int]], Stream]:
    """Epochs of so many batches, each a pair of epoch and index, and those loaded so far."""
    loaded: list[tuple[int, int]] = []
    begun = itertools.count()

    def batches(count: int | None) -> Iterator[tuple[int, int]]:
        left = math.inf if count is None else count
        while left > 0:
            epoch = next(begun)
            start = max(0, length - int(min(left, length)))
            left -= length - start
            for index in range(start, length):
                time.sleep(load_s)
                loaded.append((epoch, index))
                yield epoch, index

    return loaded, batches


def test_batches_read_ahead_during_the_warm_up_are_discarded() -> None:
    loaded, batches = epochs(100)
    stepped: list[tuple[int, int]] = []
    rates = measure(batches, stepped.append, seconds=0.0, warm_up=3, ahead=2, epoch_steps=100)
    # Three slow steps, two batches for nothing, three steps, and then the window with a batch of its own.
    assert [index for _, index in stepped[:7]] == [0, 1, 2, 5, 6, 7, 8]
    assert stepped[7:] == [(0, 0)]  # the network alone has a batch that is in memory
    assert rates.together.steps == rates.network.steps == 1
    assert rates.loader.steps == 2 and len(loaded) == 9 + 2 + 2


def test_every_step_of_a_window_waits_for_a_batch_of_its_own() -> None:
    """One step is the whole window, and half of it is reading: a loader in the main thread cannot hide."""
    _, batches = epochs(100, load_s=0.02)
    rates = measure(batches, lambda _b: time.sleep(0.02), seconds=0.0, warm_up=1, ahead=0, epoch_steps=100)
    assert rates.together.steps == 1 and rates.together.waiting_share == pytest.approx(0.5, abs=0.2)


def test_a_whole_epoch_starts_in_the_window_and_the_loader_gets_more() -> None:
    loaded, batches = epochs(3, load_s=0.002)
    stepped: list[tuple[int, int]] = []

    def step(batch: tuple[int, int]) -> None:
        time.sleep(0.001)
        stepped.append(batch)

    rates = measure(batches, step, seconds=None, warm_up=1, ahead=4, epoch_steps=3)
    assert stepped[:4] == [(0, 2), (1, 0), (1, 1), (1, 2)]  # the end of one to warm up, then a whole one
    assert (rates.together.steps, rates.together.images) == (3, 6)
    assert rates.together.waiting_share > 0.3
    # Three batches an epoch are fewer than what is read ahead.
    assert rates.loader.steps >= 4 and rates.loader.images_per_second > 0 and len(loaded) >= 1 + 3 + 4 + 4


def test_no_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        measure(lambda _count: iter([]), lambda _b: None, seconds=1.0, warm_up=1, ahead=0, epoch_steps=0)


def test_rates_of_a_window_by_hand_and_of_an_empty_one_are_right() -> None:
    window = Window(images=30, steps=3, seconds=6.0, waiting_s=1.5, noise=None)
    assert window.images_per_second == 5.0 and window.waiting_share == 0.25
    empty = timed(iter([]), lambda _batch: None, seconds=1.0)
    assert (empty.images, empty.steps, empty.noise) == (0, 0, None)
    assert Window(0, 0, 0.0, 0.0, None).images_per_second == 0.0


def test_noise_falls_with_the_square_root_of_the_number_of_steps() -> None:
    one, more = noise([1.0, 1.2, 0.8] * 2), noise([1.0, 1.2, 0.8] * 50)
    assert one is not None and more is not None and more < one / 4
    # By hand: standard deviation 0.2 of three, 1.96 · 0.2 / √3
    assert noise([1.0, 1.2, 0.8]) == pytest.approx(0.2263, abs=1e-4)


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


@pytest.mark.parametrize("ahead", [0, AHEAD])
def test_a_slow_loader_is_the_limit_and_the_network_waits(ahead: int) -> None:
    found = rates(SLOW_S, FAST_S, ahead)
    assert found.verdict == "loader-bound"
    assert found.together.waiting_share > 0.7
    # What was ready when the window began would make it twice as fast as the loader.
    assert found.together.images_per_second < 1.3 * 8 / SLOW_S


@pytest.mark.parametrize("ahead", [0, AHEAD])
def test_a_slow_network_is_the_limit_and_hardly_waits(ahead: int) -> None:
    found = rates(FAST_S, SLOW_S, ahead)
    assert found.verdict == "network-bound"
    assert found.together.waiting_share < 0.2


def test_two_that_take_turns_differ_from_a_loader_with_capacity() -> None:
    # Serial and equally fast: half of the time is waiting. Serial and four times as fast: a fifth.
    assert verdict(0.5, 100.0, 100.0) == "loader-bound"
    assert verdict(0.2, 400.0, 100.0) == "balanced"
    assert verdict(0.0, 100.0, 100.0) == "balanced"

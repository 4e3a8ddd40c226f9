from __future__ import annotations

import itertools
import math
import time

import pytest

from singleshot.benchmark.measure import Window, measure, noise, timed


def test_a_step_that_does_not_fit_the_time_is_finished_and_counted() -> None:
    seen = timed(itertools.repeat([1, 2, 3]), lambda _batch: time.sleep(0.05), seconds=0.0)
    assert (seen.steps, seen.images) == (1, 3) and seen.seconds >= 0.05
    assert seen.noise is None


def test_warm_up_steps_do_not_count_and_use_the_first_batch() -> None:
    seen: list[int] = []
    rates = measure(iter([[i] for i in range(100)]), lambda b: seen.append(b[0]), seconds=0.0, warm_up=3, ahead=2)
    assert seen[:4] == [0, 0, 0, 0]  # three to warm up, then the window begins with the same batch
    assert rates.together.steps == rates.network.steps == rates.loader.steps == 1


def test_a_whole_epoch_is_every_batch_once() -> None:
    class Epoch:
        def __iter__(self) -> itertools.chain[list[int]]:
            return itertools.chain([[1, 1], [2, 2], [3]])

    rates = measure(Epoch(), lambda _batch: time.sleep(0.001), seconds=math.inf, warm_up=1, ahead=0)
    assert (rates.together.steps, rates.together.images) == (3, 5)


def test_nothing_to_measure_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        measure([], lambda _batch: None, seconds=1.0, warm_up=1, ahead=0)


def test_rates_of_a_window_by_hand_and_of_an_empty_one() -> None:
    seen = Window(images=30, steps=3, seconds=6.0, waiting_s=1.5, noise=None)
    assert seen.images_per_second == 5.0 and seen.waiting_share == 0.25
    empty = timed(iter([]), lambda _batch: None, seconds=1.0)
    assert (empty.images, empty.steps, empty.noise) == (0, 0, None)
    assert Window(0, 0, 0.0, 0.0, None).images_per_second == 0.0


def test_noise_falls_with_the_number_of_steps() -> None:
    one, more = noise([1.0, 1.2, 0.8] * 2), noise([1.0, 1.2, 0.8] * 50)
    assert one is not None and more is not None and more < one / 4
    # By hand: standard deviation 0.2 of three, 1.96 · 0.2 / √3
    assert noise([1.0, 1.2, 0.8]) == pytest.approx(0.2263, abs=1e-4)

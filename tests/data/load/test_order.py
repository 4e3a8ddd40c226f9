from __future__ import annotations

import time

import numpy as np
import pytest

from singleshot.data.load.order import batch_count, epoch_order, rank_batches, repeat_factors, rng_for


def test_random_numbers_depend_on_seed_epoch_and_place() -> None:
    addresses = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (2**40, 0, 0)]
    drawn = [rng_for(*address).random() for address in addresses]
    assert len(set(drawn)) == len(drawn)
    assert drawn == [rng_for(*address).random() for address in addresses]


def test_an_address_costs_little() -> None:
    best = min(_duration() for _ in range(5))
    assert best < 100e-6  # about 10 µs on a quiet machine


def _duration() -> float:
    start = time.perf_counter()
    for index in range(200):
        rng_for(3, 4, index)
    return (time.perf_counter() - start) / 200


def test_an_epoch_visits_every_place_once_in_its_own_order() -> None:
    first, second = epoch_order(100, seed=0, epoch=0), epoch_order(100, seed=0, epoch=1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    np.testing.assert_array_equal(first, epoch_order(100, seed=0, epoch=0))
    assert (first != epoch_order(100, seed=1, epoch=0)).any()


def test_no_images_make_no_batches() -> None:
    assert len(epoch_order(0, seed=0, epoch=0)) == 0
    assert rank_batches(np.arange(0), batch_size=4) == []


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 5, 12, 13, 17])
def test_ranks_share_an_epoch_without_overlap(length: int, world: int, drop_last: bool) -> None:
    options = {"batch_size": 2, "drop_last": drop_last, "world": world}
    ranks = [rank_batches(np.arange(length), rank=rank, **options) for rank in range(world)]
    seen = [place for batches in ranks for batch in batches for place in batch.tolist()]
    kept = length // (2 * world) * 2 * world if drop_last else length
    assert sorted(seen) == list(range(kept))
    assert [len(batches) for batches in ranks] == [batch_count(length, rank=rank, **options) for rank in range(world)]
    assert all(1 <= len(batch) <= 2 for batches in ranks for batch in batches)


def test_two_ranks_of_four_see_what_one_of_eight_sees() -> None:
    order = epoch_order(40, seed=5, epoch=2)
    alone = rank_batches(order, batch_size=8)
    halves = [rank_batches(order, batch_size=4, rank=rank, world=2) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        np.testing.assert_array_equal(np.concatenate([half[step] for half in halves]), batch)


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 9])
def test_a_start_in_the_middle_gives_the_rest_of_the_epoch(start: int) -> None:
    order = epoch_order(13, seed=0, epoch=0)
    whole = rank_batches(order, batch_size=2)
    rest = rank_batches(order, batch_size=2, start=start)
    assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[start:]]


def test_images_come_in_proportion_to_their_factors_and_an_epoch_stays_as_long() -> None:
    factors = np.array([1.0, 1.0, 2.5, 1.0])
    orders = [epoch_order(4, seed=0, epoch=epoch, factors=factors) for epoch in range(4000)]
    assert {len(order) for order in orders} == {4}
    counts = np.bincount(np.concatenate(orders), minlength=4)
    assert np.allclose(counts[[0, 1, 3]], counts[0], rtol=0.05)
    assert 2.2 < counts[2] / counts[0] < 2.8


def test_equal_factors_visit_each_image_once() -> None:
    assert sorted(epoch_order(50, seed=1, epoch=2, factors=np.ones(50)).tolist()) == list(range(50))


def test_copies_of_an_image_in_one_epoch_have_numbers_of_their_own() -> None:
    first, second = rng_for(0, 1, 2), rng_for(0, 1, 2, 1)
    assert first.random() != second.random()
    assert rng_for(0, 1, 2, 0).random() == rng_for(0, 1, 2).random()


def test_factors_follow_the_papers_formula_by_the_rarest_class_of_an_image() -> None:
    classes_of = [np.array([0])] * 8 + [np.array([0, 1]), np.array([], np.int64)]
    factors = repeat_factors(classes_of, 0.4)
    assert factors[:8] == pytest.approx(1.0)  # nine of ten images have class 0
    assert factors[8] == pytest.approx(2.0) and factors[9] == 1.0  # √(0.4 / 0.1); background
    assert repeat_factors([], 0.4).shape == (0,)

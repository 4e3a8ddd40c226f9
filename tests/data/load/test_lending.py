from __future__ import annotations

import pickle

import numpy as np
import torch

from singleshot.data.load.lending import MOST_IDLE, Lender


def place(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_comes_back_when_its_holder_lets_go() -> None:
    lender = Lender()
    first = lender.lend((4, 5, 3))
    assert (first.shape, first.dtype) == ((4, 5, 3), np.uint8)
    where = place(first)
    second = lender.lend((4, 5, 3))
    assert place(second) != where
    del first
    assert place(lender.lend((2, 3))) == where  # a smaller one may have it too


def test_a_tensor_a_view_or_a_slice_of_it_is_a_holder() -> None:
    for hold in (torch.from_numpy, lambda array: torch.from_numpy(array)[1:].view(-1), lambda array: array[1:].T):
        lender = Lender()
        lent = lender.lend((4, 6))
        lent[:] = 7
        held = hold(lent)
        del lent
        other = lender.lend((4, 6))
        other[:] = 9
        assert (held == 7).all()


def test_a_larger_wish_gets_fresh_memory() -> None:
    lender = Lender()
    del_me = lender.lend((2, 2))
    del del_me
    large = lender.lend((100, 100))
    large[:] = 1
    assert large.shape == (100, 100)


def test_no_more_is_kept_than_the_next_may_want() -> None:
    lender = Lender()
    many = [lender.lend((8,)) for _ in range(10)]
    places = {place(each) for each in many}
    many.clear()
    again = [lender.lend((8,)) for _ in range(MOST_IDLE)]
    assert {place(each) for each in again} <= places
    assert len(lender._idle) == 0


def test_nothing_may_be_lent_too() -> None:
    assert Lender().lend((0, 300, 300, 3)).shape == (0, 300, 300, 3)


def test_a_lender_travels_without_its_memory() -> None:
    lender = Lender()
    lender.lend((1000, 1000))
    data = pickle.dumps(lender)
    assert len(data) < 200
    assert pickle.loads(data).lend((3,)).shape == (3,)

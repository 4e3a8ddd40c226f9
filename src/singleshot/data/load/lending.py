"""Memory that is lent out and comes back by itself, for batches that look like new and cost less.

Fresh memory is not free: the system hands it over page by page at the first touch, which for a batch of pictures
takes longer than copying them into it. Here an array goes out, and when the last one who holds it, or a tensor or a
view made from it, lets go, its memory is ready for the next. Whoever keeps his array keeps it: nothing is ever
overwritten under a holder.
"""

from __future__ import annotations

import ctypes
import math
import weakref

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

MOST_IDLE = 2
"""Blocks that wait for the next borrower; one that comes back to so many is given up."""


class Lender:
    """Lends arrays of bytes. Each process and each loader has its own; one that travels to a worker arrives empty."""

    def __init__(self) -> None:
        self._idle: list[UInt8[ndarray, " N"]] = []

    def lend(self, shape: tuple[int, ...]) -> UInt8[ndarray, "*shape"]:
        """An array of that shape with anything in it."""
        size = math.prod(shape)
        idle = self._idle
        while idle and idle[-1].size < size:
            idle.pop()
        block = idle.pop() if idle else np.empty(size, dtype=np.uint8)
        # All arrays and tensors made from this one hold the handle: it is the memory, as far as NumPy can see.
        handle = (ctypes.c_uint8 * size).from_buffer(block.data)
        weakref.finalize(handle, _take_back, idle, block).atexit = False
        return np.frombuffer(memoryview(handle), dtype=np.uint8).reshape(shape)

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, _state: dict[str, object]) -> None:
        self._idle = []


def _take_back(idle: list[ndarray], block: ndarray) -> None:
    if len(idle) < MOST_IDLE:
        idle.append(block)

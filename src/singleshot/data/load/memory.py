"""Memory of loading: blocks that batches reuse, a cache of decoded images, and the system's shared memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import shutil
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import ConfigError

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux lists it as files; other systems have no such folder."""
MAX_FREE_BLOCKS = 2
"""Blocks that a pool keeps for the next batches; a block that comes back to a full pool is freed."""

Arrays = TypeVar("Arrays", bound=tuple[ndarray, ...])


class BlockPool:
    """Gives out uint8 arrays and reuses their memory once nothing refers to them any more.

    Fresh memory is not free: the system maps it page by page at the first access, which for a batch of images takes
    longer than copying them into it. Here, when the last array, tensor or view of a block is gone, the block is ready
    for the next batch. An array that is still referred to is never overwritten. Each process and each loader has a
    pool of its own; one that is sent to a worker arrives empty.
    """

    def __init__(self) -> None:
        self._free: list[UInt8[ndarray, " N"]] = []

    def array(self, shape: tuple[int, ...]) -> UInt8[ndarray, "*shape"]:
        """Returns an array of that shape, with arbitrary content."""
        size = math.prod(shape)
        free = self._free
        while free and free[-1].size < size:
            free.pop()
        block = free.pop() if free else np.empty(size, dtype=np.uint8)
        # All arrays and tensors made from this one refer to the handle: for NumPy it is the memory.
        handle = (ctypes.c_uint8 * size).from_buffer(block.data)
        weakref.finalize(handle, _put_back, free, block).atexit = False
        return np.frombuffer(memoryview(handle), dtype=np.uint8).reshape(shape)

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, _state: dict[str, object]) -> None:
        self._free = []


def _put_back(free: list[ndarray], block: ndarray) -> None:
    if len(free) < MAX_FREE_BLOCKS:
        free.append(block)


class ImageCache(Generic[Arrays]):
    """Keeps what was read for an image (its pixels, or its pixels and its mask) until the memory is used up.

    Nothing is evicted: an epoch visits each image once, so the evicted one would be needed as soon as the new one.

    Args:
        max_bytes: 0 keeps nothing.

    Raises ConfigError for less than 0.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ConfigError(f"a cache of {max_bytes} bytes", remedy="Give 0 or more")
        self._free_bytes = max_bytes
        self._arrays: dict[int, Arrays] = {}

    def get(self, index: int, read: Callable[[int], Arrays]) -> Arrays:
        """Returns the cached arrays of an image, or those that `read` returns, which are then cached if they fit."""
        if index in self._arrays:
            return self._arrays[index]
        arrays = read(index)
        size = sum(array.nbytes for array in arrays)
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._arrays[index] = arrays
        return arrays


def check_shared_memory(needed: int) -> None:
    """Raises ConfigError where results of that many bytes do not fit into shared memory, before work begins.

    Containers often have 64 MB of it, and a worker that finds it full dies without a message (SIGBUS).
    """
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        message = f"the data workers need {needed / 1e6:.0f} MB of shared memory, and {SHARED_MEMORY} has "
        message += f"{free / 1e6:.0f} MB"
        raise ConfigError(message, remedy="Give the container more (--shm-size), or use --workers 0")


def remove_leftovers(processes: Iterable[int | None]) -> None:
    """Removes files of torch's that these processes, which are ending or dead, may have left in shared memory.

    Torch removes a name as soon as it has opened the memory, so only a kill between the two leaves a file behind, and
    then it stays until the machine restarts. Memory in use has no name any more and is not affected.
    """
    if not SHARED_MEMORY.is_dir():
        return
    for process in processes:
        for leftover in SHARED_MEMORY.glob(f"torch_{process}_*"):
            with contextlib.suppress(OSError):  # already gone, or another user's
                leftover.unlink()

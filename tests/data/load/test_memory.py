from __future__ import annotations

import os
import pickle
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.data.load import memory
from singleshot.data.load.memory import (
    MAX_FREE_BLOCKS,
    BlockPool,
    ImageCache,
    check_shared_memory,
    remove_leftovers,
)
from singleshot.errors import ConfigError


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_is_reused_once_nothing_refers_to_it() -> None:
    pool = BlockPool()
    first = pool.array((4, 5, 3))
    assert (first.shape, first.dtype) == ((4, 5, 3), np.uint8)
    old = address(first)
    second = pool.array((4, 5, 3))
    assert address(second) != old
    del first
    assert address(pool.array((2, 3))) == old  # a smaller one may have it too


def test_a_tensor_a_view_or_a_slice_protects_the_memory() -> None:
    for refer in (torch.from_numpy, lambda array: torch.from_numpy(array)[1:].view(-1), lambda array: array[1:].T):
        pool = BlockPool()
        array = pool.array((4, 6))
        array[:] = 7
        view = refer(array)
        del array
        other = pool.array((4, 6))
        other[:] = 9
        assert (view == 7).all()


def test_a_larger_array_gets_fresh_memory() -> None:
    pool = BlockPool()
    small = pool.array((2, 2))
    del small
    large = pool.array((100, 100))
    large[:] = 1
    assert large.shape == (100, 100)


def test_only_a_few_free_blocks_are_kept() -> None:
    pool = BlockPool()
    many = [pool.array((8,)) for _ in range(10)]
    addresses = {address(each) for each in many}
    many.clear()
    again = [pool.array((8,)) for _ in range(MAX_FREE_BLOCKS)]
    assert {address(each) for each in again} <= addresses
    assert len(pool._free) == 0


def test_an_array_may_be_empty() -> None:
    assert BlockPool().array((0, 300, 300, 3)).shape == (0, 300, 300, 3)


def test_a_pool_is_sent_without_its_memory() -> None:
    pool = BlockPool()
    pool.array((1000, 1000))
    data = pickle.dumps(pool)
    assert len(data) < 200
    assert pickle.loads(data).array((3,)).shape == (3,)


def test_what_fits_into_the_cache_is_read_once_and_the_rest_each_time() -> None:
    read: list[int] = []

    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        read.append(index)
        return np.full((4, 5, 3), index, np.uint8), np.zeros((4, 5), np.uint8)

    cache = ImageCache[tuple[np.ndarray, np.ndarray]](170)  # two pairs of 80 bytes
    for _ in range(2):
        assert [int(cache.get(index, pair)[0][0, 0, 0]) for index in (1, 2, 3)] == [1, 2, 3]
    assert read == [1, 2, 3, 3]


def test_a_cache_of_no_bytes_keeps_nothing_and_less_is_refused() -> None:
    read: list[int] = []
    cache = ImageCache[tuple[np.ndarray]](0)
    for _ in range(2):
        cache.get(7, lambda index: (read.append(index) or np.zeros(1, np.uint8),))
    assert read == [7, 7]
    with pytest.raises(ConfigError, match="-1 bytes"):
        ImageCache(-1)


def test_f14_too_little_shared_memory_is_reported_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(64_000_000, 0, 64_000_000))
    check_shared_memory(60_000_000)
    with pytest.raises(ConfigError, match="--shm-size"):
        check_shared_memory(70_000_000)


def test_without_a_shared_memory_folder_nothing_is_checked_or_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "SHARED_MEMORY", tmp_path / "none")
    check_shared_memory(10**18)
    remove_leftovers([os.getpid()])


def test_only_torchs_files_of_these_processes_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "SHARED_MEMORY", tmp_path)
    names = {"torch_12_345_0", "torch_123_4_0", "torch_99_1_1", "sem.mp-12", "torch_12"}
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers([12, 99, None])
    assert {path.name for path in tmp_path.iterdir()} == {"torch_123_4_0", "sem.mp-12", "torch_12"}

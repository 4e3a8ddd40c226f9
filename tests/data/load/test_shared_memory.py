from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from singleshot.data.load import shared_memory
from singleshot.data.load.shared_memory import check_shared_memory, sweep
from singleshot.errors import ConfigError


def test_f14_too_little_shared_memory_is_said_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(64_000_000, 0, 64_000_000))
    check_shared_memory(60_000_000)
    with pytest.raises(ConfigError, match="--shm-size"):
        check_shared_memory(70_000_000)


def test_where_there_is_no_such_folder_there_is_nothing_to_check_or_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "none")
    check_shared_memory(10**18)
    sweep([os.getpid()])


def test_only_torchs_names_of_these_processes_are_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    names = {"torch_12_345_0", "torch_123_4_0", "torch_99_1_1", "sem.mp-12", "torch_12"}
    for name in names:
        (tmp_path / name).touch()
    sweep([12, 99, None])
    assert {path.name for path in tmp_path.iterdir()} == {"torch_123_4_0", "sem.mp-12", "torch_12"}

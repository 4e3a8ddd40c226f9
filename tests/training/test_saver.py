from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot.errors import StorageError
from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.saver import Saver

EVERY_TEN = CheckpointConfig(minutes=None, steps=10)


def test_what_is_saved_is_what_stood_there_at_the_call_not_what_came_after(tmp_path: Path) -> None:
    weight = torch.ones(3)
    with Saver(tmp_path, EVERY_TEN) as saver:
        saver.save(1, {"weight": weight}, {})
        weight.zero_()
    assert torch.equal(checkpoint.read(tmp_path / "step-000000001").tensors["weight"], torch.ones(3))


def test_tensors_that_share_memory_are_saved_each_for_itself(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    with Saver(tmp_path, EVERY_TEN) as saver:
        saver.save(1, {"a": weight, "b": weight[:2]}, {})
    assert checkpoint.read(tmp_path / "step-000000001").tensors["b"].tolist() == [0.0, 1.0]


def test_the_training_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    honest = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *args: (slow.wait(10), honest(*args))[1])
    with Saver(tmp_path, EVERY_TEN) as saver:
        saver.save(10, {"a": torch.ones(1)}, {})  # returns while the disk is stuck
        assert not saver.due(20) and not saver.idle  # and the next save waits, not the training
        slow.set()
        saver.wait()
        assert saver.due(20) and saver.idle


def test_who_waits_for_the_disk_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = threading.Semaphore(0)
    monkeypatch.setattr("singleshot.training.saver.PULSE_S", 0.01)
    monkeypatch.setattr(checkpoint, "write", lambda *_args: [beats.acquire(timeout=10) for _ in range(3)])
    with Saver(tmp_path, EVERY_TEN, report_alive=beats.release) as saver:
        saver.save(10, {"a": torch.ones(1)}, {})
        saver.wait()  # ends after three alive_reports


def test_a_checkpoint_is_due_after_so_many_steps_counted_from_where_the_run_went_on(tmp_path: Path) -> None:
    with Saver(tmp_path, EVERY_TEN, step=7) as saver:
        assert not saver.due(16) and saver.due(17)


def test_a_checkpoint_is_due_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("singleshot.training.saver.time.monotonic", lambda: now)
    with Saver(tmp_path, CheckpointConfig(minutes=2.0)) as saver:
        now = 219.0
        assert not saver.due(10**6)
        now = 221.0
        assert saver.due(1)


def test_f7_a_failed_save_reaches_the_loop_at_its_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise StorageError("a checkpoint needs 9 bytes and 1 are free")

    monkeypatch.setattr(checkpoint, "write", full)
    saver = Saver(tmp_path, EVERY_TEN)
    saver.save(10, {"a": torch.ones(1)}, {})
    with pytest.raises(StorageError, match="1 are free"):
        saver.wait()
    saver.wait()  # once

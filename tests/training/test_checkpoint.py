from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from singleshot.errors import ConfigError, DataError, NotPermittedError, SingleshotError, StorageError
from singleshot.storage import atomic
from singleshot.storage.sealed import seal_json
from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig, Saver


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "network/a": torch.randn(7, 5, generator=generator),
        "network/empty": torch.zeros(0, 3),
        "rng/cpu": torch.arange(9, dtype=torch.uint8),
    }


def heard(root: Path) -> tuple[checkpoint.Checkpoint | None, list[SingleshotError]]:
    passed_over: list[SingleshotError] = []
    return checkpoint.newest(root, passed_over.append), passed_over


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    facts = {"progress": {"step": 12}, "log": [{"epoch": 1, "val_map": None}], "name": "Straße"}
    path = checkpoint.write(tmp_path, 12, tensors(), facts)
    assert path.name == "step-000000012" and sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "state.safetensors",
    ]
    read = checkpoint.read(path)
    assert read.step == 12 and read.facts == facts and read.tensors.keys() == tensors().keys()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in tensors().items())


def test_e12_the_newest_is_the_one_with_the_most_steps_whatever_the_clock_says(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        checkpoint.write(tmp_path, step, tensors(step), {})
    os.utime(tmp_path / "step-000000005", (2**31, 2**31))
    found, _ = heard(tmp_path)
    assert found is not None and found.step == 100


def test_e11_the_newest_is_found_by_looking_and_links_that_lead_nowhere_do_no_harm(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 5, tensors(), {})
    (tmp_path / "last").symlink_to(tmp_path / "gone")
    (tmp_path / "step-000000009").symlink_to(tmp_path / "gone")
    found, passed_over = heard(tmp_path)
    assert found is not None and found.step == 5 and "missing" in str(passed_over[0])


def test_no_checkpoints_are_none_and_not_an_error(tmp_path: Path) -> None:
    assert heard(tmp_path) == (None, []) and heard(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("file", ["state.safetensors", "manifest.json"])
def test_e1_a_cut_at_any_place_is_noticed_and_the_previous_one_is_taken(tmp_path: Path, file: str) -> None:
    checkpoint.write(tmp_path, 1, tensors(1), {})
    victim = checkpoint.write(tmp_path, 2, tensors(2), {"log": [1, 2, 3]}) / file
    whole = victim.read_bytes()
    for percent in range(100):
        victim.write_bytes(whole[: len(whole) * percent // 100])
        found, passed_over = heard(tmp_path)
        assert found is not None and found.step == 1 and len(passed_over) == 1 and str(victim) in str(passed_over[0])
    victim.write_bytes(whole)
    found, passed_over = heard(tmp_path)
    assert found is not None and found.step == 2 and not passed_over


def test_e2_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 3, tensors(), {"log": [{"loss": 0.25}]})
    rng = np.random.default_rng(0)
    for file in path.iterdir():
        whole = file.read_bytes()
        for bit in rng.choice(len(whole) * 8, 300, replace=False).tolist():
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            with pytest.raises(DataError):
                checkpoint.read(path)
        file.write_bytes(whole)
    checkpoint.read(path)


def test_where_every_checkpoint_is_damaged_the_run_does_not_begin_again_in_silence(tmp_path: Path) -> None:
    (checkpoint.write(tmp_path, 1, tensors(), {}) / "manifest.json").unlink()
    with pytest.raises(DataError, match="none of the 1 checkpoints is intact"):
        heard(tmp_path)


def test_e7_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 1, tensors(), {})
    content = json.loads((path / "manifest.json").read_text())
    del content["sha256"]
    content["schema"] = 9
    (path / "manifest.json").write_text(seal_json(content))
    with pytest.raises(DataError, match="written in schema 9; this version reads up to 1") as raised:
        checkpoint.read(path)
    assert raised.value.exit_code == 65
    checkpoint.write(tmp_path, 0, tensors(), {})
    with pytest.raises(DataError, match="Update singleshot"):  # whole, and so not passed over for an older one
        heard(tmp_path)


def test_a_renamed_checkpoint_is_not_believed(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {}).rename(tmp_path / "step-000000900")
    with pytest.raises(DataError, match="it is of step 1"):
        checkpoint.read(tmp_path / "step-000000900")


def test_a_second_save_of_a_step_replaces_the_first(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 4, tensors(1), {"from": "before"})
    path = checkpoint.write(tmp_path, 4, tensors(2), {"from": "after"})
    assert checkpoint.read(path).facts == {"from": "after"} and [p.name for p in tmp_path.iterdir()] == [path.name]
    found, _ = heard(tmp_path)
    assert found is not None and found.facts == {"from": "after"}


def test_between_two_saves_of_a_step_there_is_always_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 4, tensors(1), {"from": "before"})
    rename, seen = Path.rename, []

    def watched(path: Path, to: Path) -> Path:
        made = rename(path, to)
        found, passed_over = heard(tmp_path)  # what a kill right after this rename would leave
        assert found is not None and not passed_over
        seen.append(found.facts["from"])
        return made

    monkeypatch.setattr(Path, "rename", watched)
    checkpoint.write(tmp_path, 4, tensors(2), {"from": "after"})
    assert seen == ["after", "after"]


def test_what_a_resumed_run_passed_over_does_not_push_out_what_it_saves(tmp_path: Path) -> None:
    for step in (600, 800, 900):
        checkpoint.write(tmp_path, step, tensors(), {})
    for step in (800, 900):
        (tmp_path / f"step-{step:09d}" / "manifest.json").unlink()
    checkpoint.write(tmp_path, 610, tensors(), {})
    checkpoint.prune(tmp_path, CheckpointConfig(keep=2), last=610)
    assert sorted(int(path.name[5:]) for path in tmp_path.iterdir()) == [600, 610]


def test_e10_what_killed_saves_left_is_ignored_and_cleaned(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 4, tensors(), {})
    left = tmp_path / ".step-000000005.123.abcd.tmp"
    left.mkdir()
    (left / "state.safetensors").write_bytes(b"half")
    found, passed_over = heard(tmp_path)
    assert found is not None and found.step == 4 and not passed_over
    checkpoint.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000004"]


def test_what_is_kept_for_good_need_not_be_saved_at_a_multiple(tmp_path: Path) -> None:
    for step in range(7, 60, 7):  # as they come, each pruned at once
        checkpoint.write(tmp_path, step, tensors(), {})
        checkpoint.prune(tmp_path, CheckpointConfig(keep=2, keep_every=20), last=step)
    assert sorted(int(path.name[5:]) for path in tmp_path.iterdir()) == [21, 42, 49, 56]


def test_to_begin_again_removes_checkpoints_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 5, tensors(), {})
    (tmp_path / ".step-000000006.12.ab.tmp").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "step-by-step.txt").write_text("mine")
    checkpoint.remove_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "step-by-step.txt"]
    checkpoint.write(tmp_path, 7, tensors(), {})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_args: (_ for _ in ()).throw(PermissionError(errno.EACCES, "denied")))
        with pytest.raises(NotPermittedError, match="step-000000007: no permission to write"):
            checkpoint.remove_all(tmp_path)


def test_the_newest_stay_and_those_kept_for_good(tmp_path: Path) -> None:
    for step in range(10, 70, 10):
        checkpoint.write(tmp_path, step, tensors(), {})
    checkpoint.prune(tmp_path, CheckpointConfig(keep=2, keep_every=30))
    assert sorted(int(path.name[5:]) for path in tmp_path.iterdir()) == [30, 50, 60]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"minutes": 0.0}, "minutes is 0"), ({"steps": -1}, "steps is -1"), ({"keep": 1}, "keep is 1")],
)
def test_j2_numbers_that_make_no_sense_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CheckpointConfig(**changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_f7_f8_a_failing_disk_leaves_the_previous_checkpoint_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    checkpoint.write(tmp_path, 1, tensors(1), {})

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, call, fail)
    with pytest.raises(NotPermittedError if code == errno.EACCES else StorageError) as raised:
        checkpoint.write(tmp_path, 2, tensors(2), {})
    if code == errno.ENOSPC:
        assert "bytes and" in str(raised.value) and "are free" in str(raised.value)
    monkeypatch.undo()
    found, passed_over = heard(tmp_path)
    assert found is not None and found.step == 1 and not passed_over


def test_f7_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _root: type("Usage", (), {"free": 10}))
    with pytest.raises(StorageError, match=r"a checkpoint needs .* bytes and 10 are free") as raised:
        checkpoint.write(tmp_path, 2, tensors(2), {})
    assert raised.value.exit_code == 74 and not list(tmp_path.iterdir())


def test_f9_a_folder_removed_under_the_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="removed meanwhile"):
        checkpoint.write(tmp_path / "gone", 2, tensors(2), {})


def test_f3_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, sync, rename = os.fsync, atomic.sync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("file"), fsync(descriptor))[1])
    monkeypatch.setattr(atomic, "sync", lambda path: (order.append("folder"), sync(path))[1])
    monkeypatch.setattr(Path, "rename", lambda path, to: (order.append("rename"), rename(path, to))[1])
    checkpoint.write(tmp_path, 2, tensors(2), {})
    assert order == ["file", "file", "folder", "file", "rename", "folder", "file"]  # a folder's sync is an fsync too


KILLED = """
import sys, torch
from pathlib import Path
from singleshot.training import checkpoint
root = Path(sys.argv[1])
for step in range(1, 100000):
    checkpoint.write(root, step, {"a": torch.full((300_000,), float(step))}, {"step": step})
    print(step, flush=True)
    checkpoint.prune(root, checkpoint.CheckpointConfig())
"""


@pytest.mark.slow
def test_f1_a_kill_at_any_moment_leaves_the_last_acknowledged_checkpoint_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(float(rng.uniform(0.0, 0.3)))
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in process.communicate()[0].split()]
        found, passed_over = heard(tmp_path)
        assert found is not None and not passed_over
        assert found.step >= max(acknowledged, default=1)
        assert torch.equal(found.tensors["a"], torch.full((300_000,), float(found.step)))
        for left in tmp_path.glob("step-*"):
            checkpoint.read(left)


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
    monkeypatch.setattr("singleshot.training.checkpoint.REPORT_ALIVE_EVERY_S", 0.01)
    monkeypatch.setattr(checkpoint, "write", lambda *_args: [beats.acquire(timeout=10) for _ in range(3)])
    with Saver(tmp_path, EVERY_TEN, report_alive=beats.release) as saver:
        saver.save(10, {"a": torch.ones(1)}, {})
        saver.wait()  # ends after three alive_reports


def test_a_checkpoint_is_due_after_so_many_steps_counted_from_where_the_run_went_on(tmp_path: Path) -> None:
    with Saver(tmp_path, EVERY_TEN, step=7) as saver:
        assert not saver.due(16) and saver.due(17)


def test_a_checkpoint_is_due_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("singleshot.training.checkpoint.time.monotonic", lambda: now)
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


def test_a_read_error_that_passes_is_raised_and_marks_no_checkpoint_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        checkpoint.write(tmp_path, step, {"a": torch.zeros(2)}, {"step": step})
    honest, skipped = Path.read_bytes, []

    def failing(path: Path) -> bytes:
        if "step-000000002" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(StorageError, match="the disk failed while reading"):
        checkpoint.newest(tmp_path, skipped.append)
    with pytest.raises(StorageError):
        checkpoint.newest_facts(tmp_path)
    monkeypatch.undo()
    found = checkpoint.newest(tmp_path, skipped.append)
    assert found is not None and found.step == 2 and not skipped

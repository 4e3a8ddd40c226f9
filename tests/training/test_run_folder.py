from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError, Fault, StorageError
from singleshot.training.run_folder import RunFolder


def test_i14_a_folder_that_holds_anything_is_refused_unless_asked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_recipe("{}")
    folder.close()
    with pytest.raises(CannotCreateError, match="already exists"):
        RunFolder(tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("mine")
    RunFolder(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_a_file_in_the_folders_place_is_refused_even_then(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CannotCreateError):
        RunFolder(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run").read_text() == "a file"


def test_the_log_gains_columns_without_losing_rows(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.log({"epoch": 1, "loss": 2.5})
    folder.log({"epoch": 2, "loss": 1.5, "val_map": 0.5})
    assert (tmp_path / "run" / "log.csv").read_text() == "epoch,loss,val_map\n1,2.5,\n2,1.5,0.5\n"


def test_bad_steps_are_lines_of_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.log_bad_step({"step": 3, "pictures": ["a"]})
    folder.log_bad_step({"step": 4, "pictures": ["b"]})
    lines = (tmp_path / "run" / "bad_steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 4]


def test_a_file_as_folder_is_refused_without_advice_that_would_not_help(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(CannotCreateError, match="is a file") as raised:
            RunFolder(tmp_path / "file", **options)
        assert "--overwrite" not in str(raised.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_e10_a_new_training_cleans_what_killed_saves_left(tmp_path: Path) -> None:
    left = tmp_path / "run/checkpoints/.step-000000001.1.aa.tmp"
    left.mkdir(parents=True)
    for name in ("best.safetensors", "last.safetensors", "log.csv", "recipe.json"):
        (tmp_path / "run" / f".{name}.77.0a1b2c3d.tmp").write_bytes(b"half")
        (tmp_path / "run" / name).write_bytes(b"whole")
    (tmp_path / "run/.mine.tmp").write_text("mine")
    RunFolder(tmp_path / "run", resume=True)
    assert not left.exists()
    kept = {".mine.tmp", ".lock", "checkpoints", "best.safetensors", "last.safetensors", "log.csv", "recipe.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == kept


def test_f25_a_lock_left_by_a_killed_training_does_not_hide_the_way_on(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/.lock").write_text('{"pid": 1, "host": "gone"}')
    with pytest.raises(CannotCreateError, match=r"already exists.*--resume"):
        RunFolder(tmp_path / "run")
    folder = RunFolder(tmp_path / "run", resume=True)
    with pytest.raises(CannotCreateError, match=f"in use by another training .pid {os.getpid()} on host"):
        RunFolder(tmp_path / "run")
    folder.close()


def test_overwrite_takes_away_checkpoints_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "run/checkpoints/step-000000009"
    old.mkdir(parents=True)
    (tmp_path / "run/checkpoints/mine.txt").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_args: (_ for _ in ()).throw(OSError(errno.EIO, "failing")))
        with pytest.raises(StorageError, match="step-000000009: the disk failed while writing"):
            RunFolder(tmp_path / "run", overwrite=True)
    RunFolder(tmp_path / "run", overwrite=True).close()
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["mine.txt"]


def test_f7_f9_a_folder_that_cannot_be_written_to_ends_as_storage_and_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "run").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", full)
        with pytest.raises(StorageError, match="the disk is full"):
            RunFolder(tmp_path / "run")
        patch.setattr(Path, "open", full)
    folder = RunFolder(tmp_path / "run", overwrite=True)  # the lock was given back
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(StorageError, match=r"bad_steps\.jsonl: the disk is full"):
            folder.log_bad_step({"step": 1})
    folder.close()


def test_a_run_that_goes_on_forgets_no_fault_and_one_that_replaces_it_all(tmp_path: Path) -> None:
    one, two = (Fault(tmp_path / name, None, "corrupt-picture", "fatal", "cut off.") for name in ("a.jpg", "b.jpg"))
    folder = RunFolder(tmp_path / "run")
    folder.add_faults([one])
    folder.close()
    folder = RunFolder(tmp_path / "run", resume=True)
    folder.add_faults([one, two])
    folder.close()
    lines = [json.loads(line) for line in (tmp_path / "run" / "bad.jsonl").read_text().splitlines()]
    assert lines == [one.as_json(), two.as_json()]
    RunFolder(tmp_path / "run", overwrite=True).close()
    assert not (tmp_path / "run" / "bad.jsonl").exists()

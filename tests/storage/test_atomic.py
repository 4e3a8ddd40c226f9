from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest
import torch

from singleshot.errors import CannotCreateError, DataError, NotPermittedError, SingleshotError, StorageError
from singleshot.storage import atomic
from singleshot.training import checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_utf8_and_parents_are_made(tmp_path: Path):
    path = tmp_path / "new" / "deep" / "a.txt"
    atomic.write_text(path, "Größe\n")
    assert path.read_bytes() == "Größe\n".encode()
    assert names(path.parent) == ["a.txt"]


def test_an_empty_text_makes_an_empty_file(tmp_path: Path):
    atomic.write_text(tmp_path / "a", "")
    assert (tmp_path / "a").read_bytes() == b""


def test_a_second_write_replaces_the_first(tmp_path: Path):
    atomic.write_text(tmp_path / "a", "a long first text")
    atomic.write_text(tmp_path / "a", "short")
    assert (tmp_path / "a").read_text() == "short"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (OSError(errno.EIO, "Input/output error"), StorageError),
        (PermissionError(errno.EACCES, "Permission denied"), NotPermittedError),
        (ValueError("a bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_the_old_content_survives_a_write_that_fails_half_way(
    tmp_path: Path, raised: BaseException, expected: type[BaseException]
):
    path = tmp_path / "a"
    path.write_text("old")

    def fill(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise raised

    with pytest.raises(expected) as caught:
        atomic.write(path, fill)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]
    if isinstance(caught.value, SingleshotError):
        assert caught.value.file == path


def test_bytes_reach_the_disk_before_the_name_and_the_folder_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps: list[str] = []
    sync, rename = atomic.sync, Path.replace

    def synced(path: Path) -> None:
        steps.append("sync folder" if path.is_dir() else "sync file")
        sync(path)

    def renamed(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(atomic, "sync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    atomic.write_text(tmp_path / "a", "x")
    assert steps == ["sync file", "rename", "sync folder"]


def test_only_files_open_for_writing_are_flushed_as_windows_demands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flushed: list[str] = []
    fsync = os.fsync

    def windows(descriptor: int) -> None:
        """`FlushFileBuffers` refuses a handle without the right to write; a folder cannot be opened there at all."""
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "Bad file descriptor")
            flushed.append("file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", windows)
    atomic.write_text(tmp_path / "a", "x")
    atomic.write_bytes(tmp_path / "b", b"x", forced=False)
    atomic.sync(tmp_path / "b")
    with atomic.new_folder(tmp_path / "c") as folder:
        atomic.write_text(folder / "d", "x")
    checkpoint.write(tmp_path, 1, {"a": torch.zeros(2)}, {})  # its tensors and its manifest
    assert flushed == ["file"] * 5


def test_the_temporary_file_lies_in_the_same_folder_so_that_the_last_step_is_a_rename(tmp_path: Path):
    seen: list[Path] = []

    def fill(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_text("x")

    atomic.write(tmp_path / "a", fill)
    atomic.write(tmp_path / "a", fill)
    assert {path.parent for path in seen} == {tmp_path}
    assert len(set(seen)) == 2


@pytest.mark.parametrize("failing", ["fsync", "open"])
def test_a_failing_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(StorageError, match="Input/output error"):
            atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_of_the_same_name_is_not_replaced(tmp_path: Path):
    with pytest.raises(CannotCreateError) as caught:
        atomic.write_text(tmp_path, "x")
    assert caught.value.exit_code == 73
    assert names(tmp_path) == []


def test_a_file_in_the_path_is_named(tmp_path: Path):
    (tmp_path / "a").write_text("old")
    for path in (tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"):
        with pytest.raises(CannotCreateError, match=str(path)):
            atomic.write_text(path, "x")
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(NotPermittedError, match="locked") as caught:
        atomic.write_text(locked / "a", "x")
    assert caught.value.exit_code == 77


def test_a_name_that_is_too_long_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(StorageError):
        atomic.write_text(tmp_path / ("a" * 300), "x")


def test_e10_only_files_left_by_killed_writes_are_removed(tmp_path: Path) -> None:
    for name in (".a.csv.12.0a1b.tmp", ".b.csv.12.0a1b.tmp", "a.csv", ".a.csv"):
        (tmp_path / name).write_text("")
    atomic.clean(tmp_path / "a.csv")
    assert names(tmp_path) == [".a.csv", ".b.csv.12.0a1b.tmp", "a.csv"]


def test_freeing_space_is_not_advised_for_a_read_only_mount(tmp_path: Path) -> None:
    def fail(_temporary: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(StorageError, match=r"mounted read-only\. Choose another --out"):
        atomic.write(tmp_path / "a", fail)


def test_a_name_with_a_nul_character_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="NUL character"):
        atomic.write_text(tmp_path / "a\0b", "x")


def test_a_folder_appears_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic.new_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_may_be_filled_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic.new_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("1")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "a", tmp_path / "empty" / "a" / "b"):
        with pytest.raises(CannotCreateError), atomic.new_folder(taken):
            pass
    assert (tmp_path / "empty" / "a").read_text() == "1"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "empty"]


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    wanted = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted), atomic.new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_growing_file_has_its_name_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    file = atomic.GrowingFile(path)
    file.write("one\n")
    assert not path.exists()
    assert file.close() == path and path.read_text() == "one\n" and len(list(path.parent.iterdir())) == 1


def test_an_interrupted_growing_file_keeps_another_name_and_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    file = atomic.GrowingFile(tmp_path / "a.csv")
    file.write("new")
    assert file.close(whole=False) == tmp_path / "a.partial.csv"
    assert (tmp_path / "a.csv").read_text() == "old" and (tmp_path / "a.partial.csv").read_text() == "new"


def test_a_growing_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError):
        atomic.GrowingFile(tmp_path / "file" / "a.csv")

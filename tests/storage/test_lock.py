from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError, NotPermittedError, SingleshotError, StorageError
from singleshot.storage import lock as locking
from singleshot.storage.lock import FolderLock, locked, locked_by, owner

HOLD = """
import sys, time
from pathlib import Path
from singleshot.storage.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_f25_the_second_training_is_refused_with_the_first_ones_process_and_host(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        with pytest.raises(CannotCreateError) as raised:
            FolderLock(tmp_path)
        assert f"(pid {process.pid} on host {socket.gethostname()})" in str(raised.value)
        assert raised.value.exit_code == 73
    finally:
        process.kill()
        process.communicate()


def test_f25_a_killed_training_leaves_no_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock = FolderLock(tmp_path)
    assert owner(tmp_path) == f" (pid {os.getpid()} on host {socket.gethostname()})"
    lock.release()


def test_a_folder_is_locked_once_and_again_after_release(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(CannotCreateError):
        FolderLock(tmp_path)
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_without_an_owner_is_no_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    assert owner(tmp_path) == ""


def test_a_folder_is_locked_by_its_owner_while_that_lives(tmp_path: Path) -> None:
    assert locked_by(tmp_path) is None
    lock = FolderLock(tmp_path)
    assert locked_by(tmp_path) == f" (pid {os.getpid()} on host {socket.gethostname()})"
    lock.release()
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "gone"}')
    assert locked_by(tmp_path) is None, "a file that a killed process left behind"


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_not_a_second_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    fcntl = pytest.importorskip("fcntl")
    number = getattr(errno, name)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING):
        lock = FolderLock(tmp_path)
    assert "has no locks" in caplog.text and "in use" not in caplog.text
    lock.release()
    with locked(tmp_path / "a"):
        pass
    (tmp_path / ".lock").touch()
    assert locked_by(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "kind"), [("EACCES", NotPermittedError), ("EROFS", StorageError), ("ENOSPC", StorageError)]
)
def test_a_lock_file_that_cannot_be_made_is_named_for_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[SingleshotError]
) -> None:
    number = getattr(errno, name)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.FileLock, "acquire", refuse)
    with pytest.raises(kind) as caught:
        FolderLock(tmp_path)
    assert caught.value.file == tmp_path


def test_a_waiting_process_follows_and_the_file_is_gone_in_the_end(tmp_path: Path) -> None:
    order: list[str] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        with locked(tmp_path / "a"):
            order.append("second")

    with locked(tmp_path / "a"):
        thread = threading.Thread(target=wait)
        thread.start()
        started.wait(10)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"] and not list(tmp_path.iterdir())

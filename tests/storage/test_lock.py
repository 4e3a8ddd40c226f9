from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError
from singleshot.storage.lock import FolderLock, holder

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


def test_f25_a_killed_training_holds_nothing(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock = FolderLock(tmp_path)
    assert holder(tmp_path) == f" (pid {os.getpid()} on host {socket.gethostname()})"
    lock.release()


def test_one_process_cannot_hold_a_folder_twice_and_can_after_release(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(CannotCreateError):
        FolderLock(tmp_path)
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_that_says_nothing_is_no_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    assert holder(tmp_path) == ""

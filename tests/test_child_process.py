from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from singleshot.child_process import end_with_parent

FAMILY = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from singleshot.child_process import end_with_parent, leave_signals_to_parent

def child(folder):
    leave_signals_to_parent()
    end_with_parent(lambda: (folder / "last").write_text("words"))
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child, args=(Path(sys.argv[1]),)).start()
    time.sleep(120)
"""


def _appears(file: Path) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if file.is_file() and file.read_text():
            return True
        time.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks at processes in /proc")
def test_a_child_hears_no_signal_and_ends_with_its_parent_after_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)]) as parent:
        assert _appears(tmp_path / "pid")
        child = int((tmp_path / "pid").read_text())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)
        time.sleep(0.3)
        assert _alive(child) and not (tmp_path / "last").exists()
        parent.kill()
    assert _appears(tmp_path / "last")
    deadline = time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def test_a_process_without_such_a_parent_lives_on() -> None:
    end_with_parent(lambda: os._exit(3))
    time.sleep(0.2)

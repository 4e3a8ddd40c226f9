"""The processes that `--devices N` starts beside this one: none outlives it, and none ends in secret.

Lightning's own watcher answers a child's failure with SIGKILL to all, this process too, so that nobody could say what
had happened. In its place: who fails says why itself, the others name the lost rank by their heartbeats, and only
what is still there after that is ended here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from singleshot.errors import StoppedError

POLL_S = 0.5
GRACE_S = 20.0
"""For the others to end by themselves once one has. Longer than a heartbeat needs to name a rank that is gone."""

Processes = Sequence["subprocess.Popen[Any]"]
"""Rank 1 and its followers, in order."""


def watch(processes: Processes, grace_s: float = GRACE_S) -> None:
    """End this process some time after one of those failed, and those with this one."""
    ending = threading.Event()
    threading.Thread(target=_watch, args=(processes, ending, grace_s), name="children", daemon=True).start()
    atexit.register(_end, processes, ending, grace_s)


def kill(processes: Processes) -> None:
    """End all of them now, stopped ones too."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def _watch(processes: Processes, ending: threading.Event, grace_s: float) -> None:
    failed = None
    while failed is None:
        if ending.wait(POLL_S):
            return
        codes = [process.poll() for process in processes]
        failed = next((rank for rank, code in enumerate(codes, start=1) if code), None)
        if not any(code is None for code in codes) and failed is None:
            return
    if not ending.wait(grace_s):
        code = processes[failed - 1].returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        sys.stderr.write(f"singleshot: error: rank {failed} {how}. Start again with --resume.\n")
        sys.stderr.flush()
        kill(processes)
        os._exit(StoppedError.exit_code)


def _end(processes: Processes, ending: threading.Event, grace_s: float) -> None:
    ending.set()
    deadline = time.monotonic() + grace_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.0))
    kill(processes)

"""What this process and its data workers have used: processor time and memory, as the system counts them.

Linux tells by `/proc`. Elsewhere workers that still run are not to be seen, and the answer is None rather than half.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

PROC = Path("/proc")


def family() -> list[int]:
    """This process and its workers."""
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid is not None)]


def cpu_seconds() -> float | None:
    """Processor time of the family so far, in all threads, user and system together."""
    if not PROC.is_dir():
        return None
    tick = os.sysconf("SC_CLK_TCK")
    ticks = 0
    for pid in family():
        try:
            # The name, in brackets, may hold anything; fields 14 and 15 are counted behind it.
            fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / tick


def peak_bytes() -> int | None:
    """The sum of the most memory that each of the family ever held; what they share is counted for each."""
    if not PROC.is_dir():
        return None
    total = 0
    for pid in family():
        try:
            lines = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total


def volunteer() -> None:
    """Ask the system to end this process first where memory runs out, and not the one that will report it."""
    try:
        (PROC / "self" / "oom_score_adj").write_text("1000", encoding="utf-8")
    except OSError:
        return

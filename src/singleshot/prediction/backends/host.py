"""How many cores this process may use, and how many threads a runtime gets: one a physical core.

A convolution keeps its core's arithmetic busy by itself, so the second hardware thread of a core only gets in its way,
and threads beyond what a container was given wait for one another. Runtimes guess from the whole machine; we ask.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """OMP_NUM_THREADS if it is set, else this process's physical cores within its container's share; at least 1."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return max(1, min(physical_cores(_mine()), _share()))


def cores() -> int:
    """The processors that this process may use, two of them to a core where it has two hardware threads; at least 1."""
    return max(1, min(len(_mine()), _share()))


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical_cores(logical: set[int], cpus: Path = CPUS) -> int:
    """How many cores these logical processors are, as Linux lists them; each is one where it does not say."""
    cores = set()
    for number in logical:
        try:
            siblings = (cpus / f"cpu{number}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
        except (OSError, ValueError):
            siblings = str(number)
        cores.add(siblings.strip())
    return max(1, len(cores))


def _share(quota: Path = QUOTA) -> int:
    """Whole processors of a container's share; without a limit more than any machine has."""
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, int(allowed) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 16


PROCESSOR = Path("/proc/cpuinfo")


def processor() -> str | None:
    """The processor's name, or else its kind, such as `arm64`."""
    if PROCESSOR.is_file():
        for line in PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or None


def memory_bytes() -> int | None:
    """The machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None

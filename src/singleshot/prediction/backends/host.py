"""The cores that this process may use, and the number of threads of a runtime: one per physical core.

A convolution saturates its core's arithmetic units, so the second hardware thread of a core only disturbs it, and
threads beyond a container's quota wait for one another. Runtimes count the cores of the whole machine; this module
respects affinity and cgroup quotas.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else the physical cores within affinity and quota; at least 1."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return max(1, min(physical_cores(_mine()), _share()))


def cores() -> int:
    """Return the number of logical processors that this process may use; at least 1."""
    return max(1, min(len(_mine()), _share()))


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical_cores(logical: set[int], cpus: Path = CPUS) -> int:
    """Return the number of physical cores of some logical processors, by Linux's list; each counts without one."""
    cores = set()
    for number in logical:
        try:
            siblings = (cpus / f"cpu{number}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
        except (OSError, ValueError):
            siblings = str(number)
        cores.add(siblings.strip())
    return max(1, len(cores))


def _share(quota: Path = QUOTA) -> int:
    """Return the container's quota in whole processors; a number above that of any machine without a limit."""
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, int(allowed) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 16


PROCESSOR = Path("/proc/cpuinfo")


def processor() -> str | None:
    """Return the processor's name, or its architecture, such as `arm64`."""
    if PROCESSOR.is_file():
        for line in PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or None


def memory_bytes() -> int | None:
    """Return the machine's memory in bytes, or None where it is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None

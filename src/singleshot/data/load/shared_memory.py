"""The system's shared memory, through which workers hand over pictures: is there enough, and is it left clean.

Nobody else looks after it. Containers often have 64 MB, and a process that finds it full dies without a word. And
what a killed process held under a name stays there until the machine restarts.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from singleshot.errors import ConfigError

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux shows it as files; other systems do not."""


def check_shared_memory(needed: int) -> None:
    """Raises ConfigError where results of that many bytes would not fit into shared memory, before work begins.

    Containers often have 64 MB of it, and a worker that finds it full dies without a word (SIGBUS).
    """
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        what = f"the data workers need {needed / 1e6:.0f} MB of shared memory, and {SHARED_MEMORY} has {free / 1e6:.0f}"
        raise ConfigError(what, remedy="Give the container more (--shm-size), or use --workers 0")


def sweep(processes: Iterable[int | None]) -> None:
    """Remove what these processes, which are ending or dead, may have left in shared memory under a name of torch's.

    torch takes a name away as soon as it has opened the memory, so only a kill between the two leaves one behind.
    Memory that is in use has no name any more and is not touched.
    """
    if not SHARED_MEMORY.is_dir():
        return
    for process in processes:
        for left in SHARED_MEMORY.glob(f"torch_{process}_*"):
            with contextlib.suppress(OSError):  # gone already, or another user's
                left.unlink()

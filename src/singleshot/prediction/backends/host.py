"""The machine as its system describes it. Each fact is None where the system does not say."""

from __future__ import annotations

import os
import platform
from pathlib import Path

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

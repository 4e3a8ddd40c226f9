"""The machine and the versions that figures come from: without them a speed is a rumour."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import cv2
import numpy as np
import torch

import singleshot
from singleshot.prediction.backends.threads import cores


def machine() -> list[tuple[str, str]]:
    """Names and values, for a table: processor, memory, GPU, system, versions. What is not to be known is left out."""
    known = [
        ("processor", processor()),
        ("cores for this process", str(cores())),
        ("threads of torch", str(torch.get_num_threads())),
        ("memory", memory()),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("singleshot", singleshot.__version__),
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("NumPy", np.__version__),
        ("OpenCV", cv2.__version__),
    ]
    return [(name, value) for name, value in known if value]


def processor() -> str:
    """The processor's name as the system gives it; empty where it does not."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def memory() -> str:
    """Memory of the machine, in GiB; empty where it is not to be known."""
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return ""

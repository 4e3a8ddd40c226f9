"""The machine: the facts without which its figures mean nothing, and what this process and its workers have used.

Each fact comes from the system itself and is None where the system does not report it. The names of the host and its
user are not stored: people publish these files. Processor time and memory come from Linux's `/proc`; elsewhere running
workers cannot be measured, and the result is None rather than a part.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from singleshot import __version__
from singleshot.prediction.backends.arithmetic import arithmetic
from singleshot.prediction.backends.host import cores, memory_bytes, processor

PROC = Path("/proc")
MOUNTS = PROC / "self" / "mountinfo"


def facts(*, device: str, precision: str, data: Path) -> dict[str, Any]:
    """Return the machine as a JSON object.

    Args:
        device: `cpu` or `cuda`, as resolved.
        precision: as resolved.
        data: a folder on the disk that the images are read from.
    """
    on_cuda = device == "cuda"
    return {
        "device": device,
        "cpu": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "gpu": torch.cuda.get_device_name() if on_cuda else None,
        "gpu_memory_bytes": torch.cuda.get_device_properties(0).total_memory if on_cuda else None,
        "driver": driver() if on_cuda else None,
        "cuda": torch.version.cuda if on_cuda else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": precision,
        **{name: value if on_cuda else None for name, value in arithmetic().items()},
        "data_disk": disk(data),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "singleshot": __version__,
    }


def driver() -> str | None:
    """Return the version of the graphics driver from `nvidia-smi`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(answer.stdout.split()), None) if answer.returncode == 0 else None


def disk(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Return file system and device of a folder, such as `ext4 on /dev/sda1`; `tmpfs on …` is a RAM disk."""
    if not mounts.is_file():
        return None
    resolved = folder.resolve()
    best: tuple[int, str] | None = None
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        # 36 35 98:0 / /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw
        left, _, right = line.partition(" - ")
        point, kind, source = Path(left.split()[4].replace("\\040", " ")), *right.split()[:2]
        length = len(point.parts)
        if resolved.is_relative_to(point) and (best is None or length >= best[0]):
            best = (length, f"{kind} on {source}")
    return None if best is None else best[1]


def family() -> list[int]:
    """Return the process ids of this process and its workers."""
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid is not None)]


def cpu_seconds() -> float | None:
    """Return the processor time of the family so far, in all threads, user and system together."""
    if not PROC.is_dir():
        return None
    ticks = 0
    for pid in family():
        with suppress(OSError):  # it has just ended
            # The name, in brackets, may contain spaces; fields 14 and 15 are counted after it.
            text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            fields = text.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes(pids: list[int] | None = None) -> int | None:
    """Return the sum of the peak memory of each of these processes; shared memory counts for each.

    Args:
        pids: None for the family.
    """
    if not PROC.is_dir():
        return None
    total = 0
    for pid in family() if pids is None else pids:
        with suppress(OSError):
            lines = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total


def reset_peak() -> None:
    """Start the measurement of this process's peak memory anew, where the system is Linux."""
    with suppress(OSError):
        (PROC / "self" / "clear_refs").write_text("5", encoding="utf-8")


def end_first_when_memory_is_out() -> None:
    """Ask the system to end this process first where memory runs out, and not its parent, which reports it."""
    with suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000", encoding="utf-8")

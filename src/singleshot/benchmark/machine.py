"""What ran: the facts about a machine without which its figures say nothing.

Each is asked of the system itself and is None where the system does not say. No name of the host or its user is kept:
people publish these files.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from singleshot import __version__
from singleshot.prediction.backends.host import memory_bytes, processor
from singleshot.prediction.backends.threads import cores

MOUNTS = Path("/proc/self/mountinfo")


def facts(*, device: str, precision: str, data: Path) -> dict[str, Any]:
    """The machine as JSON holds it.

    Args:
        device: `cpu` or `cuda`, as it was resolved.
        precision: as it was resolved.
        data: a folder on the disk that the pictures are read from.
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
        "data_disk": disk(data),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "singleshot": __version__,
    }


def driver() -> str | None:
    """The version of the graphics driver, as `nvidia-smi` says it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(said.stdout.split()), None) if said.returncode == 0 else None


def disk(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """File system and device under a folder, such as `ext4 on /dev/sda1`; `tmpfs on …` is a RAM disk."""
    if not mounts.is_file():
        return None
    place = folder.resolve()
    best: tuple[int, str] | None = None
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        # 36 35 98:0 / /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw
        left, _, right = line.partition(" - ")
        point, kind, source = Path(left.split()[4].replace("\\040", " ")), *right.split()[:2]
        length = len(point.parts)
        if place.is_relative_to(point) and (best is None or length >= best[0]):
            best = (length, f"{kind} on {source}")
    return None if best is None else best[1]

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.benchmark import machine

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw
31 22 0:26 / /mnt/my\\040disk rw - xfs /dev/nvme0n1 rw
"""


def test_facts_describe_the_machine_and_not_its_user() -> None:
    facts = machine.facts(device="cpu", precision="fp32", data=Path.cwd())
    assert facts["torch"] == torch.__version__ and facts["precision"] == "fp32"
    assert facts["cores"] >= 1 and facts["gpu"] is None and facts["driver"] is None
    assert os.uname().nodename not in str(facts)


@pytest.mark.parametrize(
    ("folder", "found"),
    [("/home/x", "ext4 on /dev/vda"), ("/dev/shm/data", "tmpfs on tmpfs"), ("/mnt/my disk/a", "xfs on /dev/nvme0n1")],
)
def test_the_disk_is_that_of_the_nearest_mount_point(tmp_path: Path, folder: str, found: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert machine.disk(Path(folder), mounts) == found


def test_a_fact_that_the_system_does_not_report_is_none(tmp_path: Path) -> None:
    assert machine.disk(tmp_path, tmp_path / "absent") is None


def test_cpu_time_and_peak_memory_include_this_process() -> None:
    before = machine.cpu_seconds()
    block = np.ones(32 << 20, dtype=np.uint8)
    while (after := machine.cpu_seconds()) is not None and before is not None and after <= before:
        block += 1
    peak = machine.peak_bytes()
    assert peak is None or peak > block.nbytes


def test_cpu_time_and_peak_memory_are_none_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path / "absent")
    assert machine.cpu_seconds() is None and machine.peak_bytes() is None
    machine.end_first_when_memory_is_out()

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from singleshot.benchmark import machine

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw
31 22 0:26 / /mnt/my\\040disk rw - xfs /dev/nvme0n1 rw
"""


def test_facts_name_what_ran_and_nobody() -> None:
    facts = machine.facts(device="cpu", precision="fp32", data=Path.cwd())
    assert facts["torch"] == torch.__version__ and facts["precision"] == "fp32"
    assert facts["cores"] >= 1 and facts["gpu"] is None and facts["driver"] is None
    assert os.uname().nodename not in str(facts)


@pytest.mark.parametrize(
    ("folder", "found"),
    [("/home/x", "ext4 on /dev/vda"), ("/dev/shm/data", "tmpfs on tmpfs"), ("/mnt/my disk/a", "xfs on /dev/nvme0n1")],
)
def test_the_disk_is_that_of_the_nearest_mount(tmp_path: Path, folder: str, found: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert machine.disk(Path(folder), mounts) == found


def test_what_the_system_does_not_say_is_none(tmp_path: Path) -> None:
    assert machine.disk(tmp_path, tmp_path / "absent") is None

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.benchmark import processes


def test_time_and_memory_are_those_of_this_process() -> None:
    before = processes.cpu_seconds()
    block = np.ones(32 << 20, dtype=np.uint8)
    while (after := processes.cpu_seconds()) is not None and before is not None and after <= before:
        block += 1
    peak = processes.peak_bytes()
    assert peak is None or peak > block.nbytes


def test_where_the_system_does_not_tell_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path / "absent")
    assert processes.cpu_seconds() is None and processes.peak_bytes() is None
    processes.volunteer()

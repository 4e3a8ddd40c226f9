from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.backends import host
from singleshot.prediction.predictor import Detector


def test_the_user_is_obeyed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert host.default_threads() == 3


def test_without_a_wish_it_is_at_least_one_and_at_most_what_this_process_has(monkeypatch: pytest.MonkeyPatch):
    for wish in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
        assert 1 <= host.default_threads() <= (os.cpu_count() or 1)


def test_two_hardware_threads_of_a_core_are_one(tmp_path: Path):
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(f"{siblings}\n")
    assert host.physical_cores({0, 1, 2, 3}, tmp_path) == 2
    assert host.physical_cores({0, 2}, tmp_path) == 1
    assert host.physical_cores({0, 1, 7}, tmp_path) == 3
    assert host.physical_cores(set(), tmp_path) == 1


def test_cores_and_the_workers_of_a_network_stay_within_the_containers_share(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(host, "_share", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(host, "physical_cores", len)
    assert host.cores() == 3 and host.default_threads() == 3
    detector = Detector(SSD(config_for("lite320-fine", ("car",), (32, 32))).eval())
    assert detector.worker_counts() == (3, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert detector.worker_counts() == (1, 1)


def test_a_containers_share_counts_whole_processors(tmp_path: Path):
    quota = tmp_path / "cpu.max"
    for text, expected in (("250000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 1 << 16), ("", 1 << 16)):
        quota.write_text(text)
        assert host._share(quota) == expected


def test_the_processor_is_called_as_linux_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2: fast\nprocessor\t: 1\nmodel name\t: another\n")
    monkeypatch.setattr(host, "PROCESSOR", listed)
    assert host.processor() == "Some CPU @ 2: fast"


@pytest.mark.parametrize(("kind", "said"), [("arm64", "arm64"), ("", None)])
def test_elsewhere_its_kind_stands_for_its_name_and_nothing_is_none(
    kind: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "PROCESSOR", tmp_path / "absent")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: kind)
    assert host.processor() == said


def test_memory_is_counted_in_bytes_or_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = host.memory_bytes()
    assert known is not None and known > 2**28

    def unknown(_name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert host.memory_bytes() is None

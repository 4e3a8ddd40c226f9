from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from singleshot.benchmark.child import Job
from singleshot.benchmark.results import Report
from singleshot.benchmark.running import CHILD, run, run_one
from singleshot.benchmark.workloads import Workload
from singleshot.errors import StorageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_a_workload_is_measured_in_a_process_of_its_own(tiny: Workload) -> None:
    told: list[str] = []
    found = run([Job(tiny, seconds=0.1, loader="serial")], on_result=lambda name, _so_far: told.append(name))
    result = found.workloads["tiny"]
    assert result.error is None, result.error
    assert told == ["tiny"] and found.machine["cores"] >= 1
    assert result.images_per_second and result.epoch_seconds and result.training_seconds
    assert result.training_seconds == pytest.approx(40 / result.images_per_second)
    assert result.epoch_seconds > result.training_seconds and result.steps >= 1


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by the system (likely out of memory)"),
        ("import os; os.kill(os.getpid(), 11)", "crashed (SIGSEGV)"),
        ("raise SystemExit('no such thing')", "ended with code 1: no such thing"),
    ],
)
def test_a_workload_that_takes_its_process_along_has_its_reason_and_the_rest_go_on(
    tiny: Workload, program: str, reason: str
) -> None:
    second = Job(Workload("second", *(getattr(tiny, name) for name in list(tiny.__dataclass_fields__)[1:])))
    told: dict[str, Report] = {}
    found = run([Job(tiny), second], on_result=told.__setitem__, child=[sys.executable, "-c", program])
    assert list(found.workloads) == ["tiny", "second"] == list(told)
    assert [list(so_far.workloads) for so_far in told.values()] == [["tiny"], ["tiny", "second"]]
    assert {result.error for result in found.workloads.values()} == {reason}
    assert found.machine["device"] == "cpu" and found.workloads["tiny"].batch_size == 2


def test_pictures_that_cannot_be_drawn_are_their_workloads_failure_and_the_rest_go_on(
    tiny: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(workload: Workload, _tell: object) -> None:
        if workload.name == "tiny":
            raise StorageError("writing failed (No space left on device)", remedy="Free space")

    monkeypatch.setattr("singleshot.benchmark.data.drawn", fail)
    jobs = [Job(tiny), Job(replace(tiny, name="second"))]
    found = run(jobs, child=[sys.executable, "-c", "raise SystemExit('tried')"]).workloads
    assert "No space left" in (found["tiny"].error or "") and "tried" in (found["second"].error or "")


@pytest.mark.slow
def test_a_failure_within_the_process_is_a_result(tiny: Workload, tmp_path: Path) -> None:
    _, result = run_one(Job(tiny, data=str(tmp_path / "absent")), CHILD)
    assert result.error is not None and "no such folder" in result.error

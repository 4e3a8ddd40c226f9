from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singleshot.benchmark.run import CHILD, Epochs, Job, reason, run, run_here, run_one
from singleshot.benchmark.workloads import Workload
from singleshot.config import from_json_dict, to_json_dict
from singleshot.errors import ConfigError, StorageError
from singleshot.streets.write import make


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.mark.slow
def test_a_workload_is_measured_in_its_own_process(tiny: Workload) -> None:
    ((name, found),) = run([Job(tiny, seconds=0.1, loader="serial")])
    result = found.workloads["tiny"]
    assert result.error is None, result.error
    assert name == "tiny" and found.machine["cores"] >= 1
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
def test_a_workload_that_ends_its_process_fails_and_the_others_run(tiny: Workload, program: str, reason: str) -> None:
    second = Job(Workload("second", *(getattr(tiny, name) for name in list(tiny.__dataclass_fields__)[1:])))
    reports = dict(run([Job(tiny), second], child=[sys.executable, "-c", program]))
    found = reports["second"]
    assert list(found.workloads) == ["tiny", "second"] == list(reports)
    assert [list(report.workloads) for report in reports.values()] == [["tiny"], ["tiny", "second"]]
    assert {result.error for result in found.workloads.values()} == {reason}
    assert found.machine["device"] == "cpu" and found.workloads["tiny"].batch_size == 2


def test_images_that_cannot_be_written_fail_their_workload_alone(
    tiny: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(workload: Workload) -> None:
        if workload.name == "tiny":
            raise StorageError("writing failed (No space left on device)", remedy="Free space")

    monkeypatch.setattr("singleshot.benchmark.workloads.sample_data", fail)
    jobs = [Job(tiny), Job(replace(tiny, name="second"))]
    *_, (_, report) = run(jobs, child=[sys.executable, "-c", "raise SystemExit('tried')"])
    found = report.workloads
    assert "No space left" in (found["tiny"].error or "") and "tried" in (found["second"].error or "")


@pytest.mark.slow
def test_an_exception_within_the_process_is_a_result(tiny: Workload, tmp_path: Path) -> None:
    _, result = run_one(Job(tiny, data=str(tmp_path / "absent")), CHILD)
    assert result.error is not None and "no such folder" in result.error


def test_a_job_is_restored_from_json(tiny: Workload) -> None:
    job = Job(tiny, precision="fp32", seconds=None)
    assert from_json_dict(Job, json.loads(json.dumps(to_json_dict(job))), "job") == job


@pytest.mark.parametrize("kind", ["boxes", "pixels"])
def test_both_tasks_are_measured_with_the_training_step(kind: str, tiny: Workload, tiny_pixels: Workload) -> None:
    workload = tiny if kind == "boxes" else tiny_pixels
    machine, result = run_here(Job(workload, precision="fp32", loader="serial", seconds=0.0))
    assert machine["precision"] == result.precision == "fp32" and machine["device"] == "cpu"
    assert (result.steps, result.batch_size, result.loader) == (1, 2, "serial")
    assert any("does not fit 0 s" in note for note in result.notes)
    assert result.loader_images_per_second and result.network_images_per_second and result.verdict
    assert result.epoch_seconds is not None and result.training_seconds is not None
    assert result.epoch_seconds > result.training_seconds > 0
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 50e6


def test_a_whole_epoch_is_measured_and_not_extrapolated(tiny_pixels: Workload) -> None:
    _, result = run_here(Job(tiny_pixels, precision="fp32", loader="serial", seconds=None))
    assert result.steps == 6 and result.training_seconds == result.measured_seconds


def test_fewer_images_than_a_batch_are_refused(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=1, val=1, test=0, size_hw=(64, 96), workers=1)
    with pytest.raises(ConfigError, match="1 images to train on are less than one batch of 2"):
        run_here(Job(tiny, precision="fp32", loader="serial", seconds=0.0, data=str(root)))


def test_a_partial_epoch_is_its_end_so_that_workers_keep_running() -> None:
    batches = Epochs(lambda epoch, start: [(epoch, index) for index in range(start, 3)], 3)
    assert list(batches(2)) == [(0, 1), (0, 2)]
    assert list(batches(3)) == [(1, 0), (1, 1), (1, 2)]
    assert list(batches(4)) == [(2, 0), (2, 1), (2, 2), (3, 2)]
    assert list(itertools.islice(batches(None), 4)) == [(4, 0), (4, 1), (4, 2), (5, 0)]


def test_a_child_whose_parent_keeps_running_ends_without_an_abort() -> None:
    """A thread that waits in sys.stdin holds its lock when the interpreter ends, and that is fatal."""
    program = (
        "import threading, time; from singleshot.benchmark.run import _end_with_parent as wait;"
        "threading.Thread(target=wait, daemon=True).start(); time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.wait(timeout=240) == 0  # not communicate(), which would end its input


def test_user_data_without_a_validation_split_is_noted(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=2, val=1, test=0, size_hw=(64, 96), workers=1)
    (root / "ImageSets/Main/val.txt").unlink()
    _, result = run_here(Job(tiny, precision="fp32", loader="serial", seconds=0.0, data=str(root)))
    assert result.data == "streets: 2 images of train" and result.epoch_seconds == result.training_seconds
    assert any("without a validation pass" in note for note in result.notes)


def test_reasons_are_one_line_and_name_memory() -> None:
    assert reason(MemoryError()).startswith("out of memory")
    assert reason(torch.OutOfMemoryError("CUDA out of memory. Tried …\nto allocate")).count("\n") == 0
    assert reason(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")).startswith("out of memory")
    assert reason(ConfigError("precision fp16 is for CUDA devices", remedy="Use bf16")).endswith("Use bf16.")

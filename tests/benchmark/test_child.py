from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from singleshot.benchmark.child import Epochs, Job, reason, run
from singleshot.benchmark.workloads import Workload
from singleshot.config import from_json_dict, to_json_dict
from singleshot.errors import ConfigError
from singleshot.streets.write import make


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def test_a_job_travels_as_json(tiny: Workload) -> None:
    job = Job(tiny, precision="fp32", seconds=None)
    assert from_json_dict(Job, json.loads(json.dumps(to_json_dict(job))), "job") == job


@pytest.mark.parametrize("kind", ["boxes", "pixels"])
def test_both_tasks_are_measured_with_the_step_that_training_takes(
    kind: str, tiny: Workload, tiny_pixels: Workload
) -> None:
    workload = tiny if kind == "boxes" else tiny_pixels
    machine, result = run(Job(workload, precision="fp32", loader="serial", seconds=0.0))
    assert machine["precision"] == result.precision == "fp32" and machine["device"] == "cpu"
    assert (result.steps, result.batch_size, result.loader) == (1, 2, "serial")
    assert any("does not fit 0 s" in note for note in result.notes)
    assert result.loader_images_per_second and result.network_images_per_second and result.verdict
    assert result.epoch_seconds is not None and result.training_seconds is not None
    assert result.epoch_seconds > result.training_seconds > 0
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 50e6


def test_a_whole_epoch_is_measured_and_not_reckoned(tiny_pixels: Workload) -> None:
    _, result = run(Job(tiny_pixels, precision="fp32", loader="serial", seconds=None))
    assert result.steps == 6 and result.training_seconds == result.measured_seconds


def test_fewer_pictures_than_a_batch_are_refused_and_not_a_smaller_batch_measured(
    tiny: Workload, tmp_path: Path
) -> None:
    root = make(tmp_path / "streets", train=1, val=1, test=0, size_hw=(64, 96), workers=1)
    with pytest.raises(ConfigError, match="1 pictures to train on do not make one batch of 2"):
        run(Job(tiny, precision="fp32", loader="serial", seconds=0.0, data=str(root)))


def test_a_part_of_an_epoch_is_its_end_so_that_the_workers_live_on() -> None:
    batches = Epochs(lambda epoch, start: [(epoch, place) for place in range(start, 3)], 3)
    assert list(batches(2)) == [(0, 1), (0, 2)]
    assert list(batches(3)) == [(1, 0), (1, 1), (1, 2)]
    assert list(batches(4)) == [(2, 0), (2, 1), (2, 2), (3, 2)]
    assert list(itertools.islice(batches(None), 4)) == [(4, 0), (4, 1), (4, 2), (5, 0)]


def test_a_child_whose_parent_goes_on_ends_without_an_abort() -> None:
    """A thread that waits in sys.stdin holds its lock when the interpreter ends, and that is fatal."""
    program = (
        "import threading, time; from singleshot.benchmark.child import _end_with_parent as wait;"
        "threading.Thread(target=wait, daemon=True).start(); time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.wait(timeout=240) == 0  # not communicate(), which would end its input


def test_the_users_pictures_without_a_validation_split_say_so(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=2, val=1, test=0, size_hw=(64, 96), workers=1)
    (root / "ImageSets/Main/val.txt").unlink()
    _, result = run(Job(tiny, precision="fp32", loader="serial", seconds=0.0, data=str(root)))
    assert result.data == "streets: 2 pictures of train" and result.epoch_seconds == result.training_seconds
    assert any("without a validation pass" in note for note in result.notes)


def test_reasons_are_one_line_and_memory_is_called_memory() -> None:
    assert reason(MemoryError()).startswith("out of memory")
    assert reason(torch.OutOfMemoryError("CUDA out of memory. Tried …\nto allocate")).count("\n") == 0
    assert reason(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")).startswith("out of memory")
    assert reason(ConfigError("precision fp16 is for CUDA devices", remedy="Use bf16")).endswith("Use bf16.")

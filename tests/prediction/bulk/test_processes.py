from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot.errors import ConfigError, StoppedError
from singleshot.prediction.bulk import processes
from singleshot.prediction.bulk.shards import finish, open_job
from singleshot.prediction.load import load
from tests.prediction.bulk.bulk_data import draw_pictures, poison, small_job
from tests.prediction.poisoned import NarrowWorker, PoisonedWorker, dies_at_once


@pytest.mark.slow
def test_a_worker_is_given_its_shards_and_never_the_whole_job(tmp_path: Path) -> None:
    files = draw_pictures(tmp_path, 5)
    job = small_job(tmp_path, files)
    out = tmp_path / "out"
    assert sorted(processes.run(out, open_job(out, job), NarrowWorker, workers=2)) == [0, 1, 2]
    finish(out, job, {})
    rows = json.loads((out / "detections.json").read_text())["pictures"]
    assert [row["file"] for row in rows] == list(map(str, files))


@pytest.mark.slow
def test_i11_i13_a_killed_run_goes_on_and_an_image_that_kills_is_skipped(tmp_path: Path) -> None:
    files = draw_pictures(tmp_path, 6)
    poison(files[3])
    job = small_job(tmp_path, files)
    out = tmp_path / "out"
    running = processes.run(out, open_job(out, job), PoisonedWorker, workers=1)
    assert next(running) == 0
    assert next(running) == 1  # after two deaths
    running.close()  # which kills the third worker, wherever it is
    todo = open_job(out, job)
    assert todo in ([], [2])
    assert list(processes.run(out, todo, PoisonedWorker)) == todo
    failed = finish(out, job, {})
    assert [row["file"] for row in failed] == [
        str(files[1]),
        str(files[3]),
    ]
    assert "crashed the worker twice and was skipped" in failed[1]["error"]
    assert len(json.loads((out / "detections.json").read_text())["pictures"]) == 6
    assert sorted(path.name for path in (out / "shards").iterdir()) == [f"0000{n}.jsonl" for n in range(3)]


@pytest.mark.slow
def test_what_a_worker_cannot_do_reaches_the_caller_as_it_was_said(tmp_path: Path) -> None:
    job = small_job(tmp_path, draw_pictures(tmp_path, 2))
    open_job(tmp_path / "out", job)
    Path(job.weights).write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="not the weights of this work"):
        list(processes.run(tmp_path / "out", [0]))


@pytest.mark.slow
def test_two_processes_give_what_predict_gives_bit_for_bit(tmp_path: Path) -> None:
    files = draw_pictures(tmp_path, 6)
    poison(files[3])
    job = small_job(tmp_path, files)
    out = tmp_path / "out"
    assert sorted(processes.run(out, open_job(out, job), PoisonedWorker, workers=2)) == [0, 1, 2]
    failed = finish(out, job, {})
    assert [row["file"] for row in failed] == [str(files[1]), str(files[3])]
    rows = json.loads((out / "detections.json").read_text())["pictures"]
    torch.set_num_threads(1)
    model: Any = load(job.weights, fold=True)
    for place in (0, 2, 4, 5):
        assert rows[place]["detections"] == model.predict(rows[place]["file"], threshold=0.05).as_json()


def test_a_worker_that_dies_at_its_start_is_given_up_soon(tmp_path: Path) -> None:
    job = small_job(tmp_path, draw_pictures(tmp_path, 2))
    open_job(tmp_path / "out", job)
    with pytest.raises(StoppedError, match=r"3 workers died one after the other, the last with code -9"):
        list(processes.run(tmp_path / "out", [0], dies_at_once, workers=1))


def test_there_are_as_many_processes_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "default_threads", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processes.worker_count(Path("w.safetensors")) == 3
    assert processes.worker_count(Path("w.onnx")) == 1, "it has threads of its own"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processes.worker_count(Path("w.safetensors")) == 1


def test_no_shards_start_no_process(tmp_path: Path) -> None:
    open_job(tmp_path / "out", small_job(tmp_path, []))
    assert list(processes.run(tmp_path / "out", [])) == []

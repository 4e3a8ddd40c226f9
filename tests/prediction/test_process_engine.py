from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.errors import ConfigError
from singleshot.prediction import process_engine
from singleshot.prediction.bulk import finish, open_job
from tests.prediction.bulk_data import draw_pictures, poison, small_job
from tests.prediction.poisoned import PoisonedWorker


@pytest.mark.slow
def test_i11_i13_a_killed_run_goes_on_and_a_picture_that_kills_is_put_aside(tmp_path: Path) -> None:
    files = draw_pictures(tmp_path, 6)
    poison(files[3])
    job = small_job(tmp_path, files)
    out = tmp_path / "out"
    running = process_engine.run(out, open_job(out, job), PoisonedWorker)
    assert next(running) == 0
    assert next(running) == 1  # after two deaths
    running.close()  # which kills the third worker, wherever it is
    todo = open_job(out, job)
    assert todo in ([], [2])
    assert list(process_engine.run(out, todo, PoisonedWorker)) == todo
    failed = finish(out, job, {})
    assert [row["file"] for row in failed] == [str(files[1]), str(files[3])] and "put aside" in failed[1]["error"]
    assert len(json.loads((out / "detections.json").read_text())["pictures"]) == 6
    assert sorted(path.name for path in (out / "shards").iterdir()) == [f"0000{n}.jsonl" for n in range(3)]


@pytest.mark.slow
def test_what_a_worker_cannot_do_reaches_the_caller_as_it_was_said(tmp_path: Path) -> None:
    job = small_job(tmp_path, draw_pictures(tmp_path, 2))
    open_job(tmp_path / "out", job)
    Path(job.weights).write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="not the weights of this work"):
        list(process_engine.run(tmp_path / "out", [0]))


def test_no_shards_start_no_process(tmp_path: Path) -> None:
    open_job(tmp_path / "out", small_job(tmp_path, []))
    assert list(process_engine.run(tmp_path / "out", [])) == []

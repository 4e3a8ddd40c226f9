from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from singleshot.errors import CannotCreateError, DataError, InputMissingError, StorageError
from singleshot.prediction.bulk import shards
from singleshot.prediction.bulk.in_progress import InProgressMarker, held
from singleshot.prediction.bulk.shards import Job, Worker, finish, open_job, read_job
from singleshot.prediction.load import load
from tests.prediction.bulk.bulk_data import THRESHOLDS, detector_file, draw_pictures, small_job


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bulk")


@pytest.fixture(scope="module")
def job(place: Path) -> Job:
    return small_job(place, draw_pictures(place, 5))


@pytest.fixture(scope="module")
def worker(place: Path, job: Job) -> Iterator[Worker]:
    open_job(place / "of the worker", job)
    worker = Worker(place / "of the worker")
    yield worker
    worker.close()


def work_in(worker: Worker, folder: Path, shards: list[int]) -> None:
    worker._folder, worker._job = folder, read_job(folder)
    for number in shards:
        assert worker.do(number) == number


def test_the_result_is_what_predict_gives_image_by_image(tmp_path: Path, job: Job, worker: Worker) -> None:
    todo = open_job(tmp_path / "out", job)
    assert todo == [0, 1, 2] and job.shards == 3 and len(job.shard(2)) == 1
    work_in(worker, tmp_path / "out", todo)
    failed = finish(tmp_path / "out", job, {"threshold": 0.05})
    said = json.loads((tmp_path / "out/detections.json").read_text())
    assert said["threshold"] == 0.05 and said["videos"] == []
    rows = said["pictures"]
    assert [row["file"] for row in rows] == [row[1] for row in job.pictures]
    assert [row["file"] for row in failed] == [rows[1]["file"]] and failed[0]["exit_code"] == 65
    assert "truncated" in rows[1]["error"] and "exit_code" not in rows[1]
    model: Any = load(job.weights, fold=True)
    for row in (rows[0], rows[2]):
        expected = model.predict(row["file"], threshold=0.05)
        assert row["detections"] == expected.as_json() and row["detections"] and row["size_hw"] == [48, 64]


def test_i12_images_of_one_name_in_two_folders_are_two(job: Job) -> None:
    names = [row[1] for row in job.pictures]
    assert Path(names[0]).name == Path(names[1]).name and len(set(names)) == len(names)


def test_weights_that_cannot_be_read_are_said_to_be_so(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, failing = tmp_path / "weights", tmp_path / "failing"
    folder.mkdir()
    failing.touch()
    open_job(tmp_path / "out", replace(job, weights=str(folder)))
    with pytest.raises(DataError, match="not a plain file"):
        Worker(tmp_path / "out")
    honest = Path.open

    def fail(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == failing:
            raise OSError(5, "Input/output error")
        return honest(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        shards.make_job(failing, [], thresholds={})


def test_i11_what_is_done_is_not_done_again_and_the_end_is_the_same(tmp_path: Path, job: Job, worker: Worker) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    work_in(worker, whole, open_job(whole, job))
    finish(whole, job, {})
    work_in(worker, broken, open_job(broken, job)[:1])
    before = (broken / "shards/00000.jsonl").stat().st_mtime_ns
    assert open_job(broken, job) == [1, 2]  # a second start
    work_in(worker, broken, [0, 1, 2])
    finish(broken, job, {})
    assert (broken / "shards/00000.jsonl").stat().st_mtime_ns == before
    assert (broken / "detections.json").read_bytes() == (whole / "detections.json").read_bytes()


def test_i14_finished_or_other_work_and_other_files_are_not_covered_up(tmp_path: Path, job: Job) -> None:
    out = tmp_path / "out"
    open_job(out, job)
    with pytest.raises(CannotCreateError, match="other weights, pictures or thresholds"):
        open_job(out, replace(job, thresholds={"": 0.9}))
    (out / "detections.json").write_text("{}")
    with pytest.raises(CannotCreateError, match="finished"):
        open_job(out, job)
    (out / "mine.txt").write_text("mine")
    assert open_job(out, replace(job, per_shard=1), overwrite=True) == [0, 1, 2, 3, 4]
    assert (out / "mine.txt").read_text() == "mine" and not (out / "detections.json").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").touch()
    with pytest.raises(CannotCreateError, match="already exists"):
        open_job(tmp_path / "mine", job)


def test_i13_an_image_that_ended_two_workers_is_skipped(tmp_path: Path, job: Job, worker: Worker) -> None:
    out = tmp_path / "out"
    open_job(out, job)
    hand = out / "shards/00001.hand"
    hand.parent.mkdir()
    with held(out):
        run = (out / "run").read_text()
        # It had ended one, and was in hand when the second died.
        hand.write_text(json.dumps({"run": run, "hand": 0, "deaths": {"0": 1}}))
        work_in(worker, out, [0, 1, 2])
    failed = finish(out, job, {})
    assert [row["file"] for row in failed] == [job.pictures[1][1], job.pictures[2][1]]
    assert "twice and was skipped" in failed[1]["error"] and not hand.exists()


def test_i11_a_run_that_was_stopped_however_often_blames_no_image(tmp_path: Path, job: Job, worker: Worker) -> None:
    out = tmp_path / "out"
    open_job(out, job)
    for _ in range(3):  # Ctrl-C, with the same picture in hand each time
        with held(out):
            InProgressMarker(out, 1).take(0)
    with held(out):
        work_in(worker, out, [0, 1, 2])
    failed = finish(out, job, {})
    assert [row["file"] for row in failed] == [job.pictures[1][1]], "the one that cannot be read"


def test_two_runs_in_one_folder_are_refused_and_leave_each_other_alone(tmp_path: Path, job: Job) -> None:
    out = tmp_path / "out"
    open_job(out, job)
    with held(out):
        said = (out / "run").read_text()
        with pytest.raises(CannotCreateError, match=r"in use by another run \(pid"), held(out):
            pass
        for overwrite in (False, True):
            with pytest.raises(CannotCreateError, match="in use by another run"):
                open_job(out, job, overwrite=overwrite)
        assert (out / "run").read_text() == said and (out / "job.json").is_file()
    assert sorted(each.name for each in out.iterdir()) == ["job.json"]


def test_the_next_image_is_read_while_one_is_processed(
    tmp_path: Path, job: Job, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    frames = worker._reading.frames
    monkeypatch.setattr(worker._reading, "frames", lambda files: (asked.append(len(files)), frames(files))[1])
    work_in(worker, tmp_path / "out", open_job(tmp_path / "out", job))
    assert asked == [len(job.shard(number)) for number in range(job.shards)]


def test_a12_an_image_that_changes_meanwhile_is_named(tmp_path: Path, worker: Worker) -> None:
    files = draw_pictures(tmp_path, 3)
    job = small_job(tmp_path, files)
    open_job(tmp_path / "out", job)
    files[2].write_bytes(files[0].read_bytes() + b"more")
    work_in(worker, tmp_path / "out", [0, 1])
    failed = finish(tmp_path / "out", job, {})
    assert "changed since the work began" in failed[-1]["error"] and failed[-1]["file"] == str(files[2])


def test_no_images_are_no_shards_and_an_empty_result(tmp_path: Path, place: Path) -> None:
    job = shards.make_job(detector_file(tmp_path), [], thresholds=THRESHOLDS)
    assert open_job(tmp_path / "out", job) == [] and finish(tmp_path / "out", job, {}) == []
    assert json.loads((tmp_path / "out/detections.json").read_text()) == {"pictures": [], "videos": []}


def test_a_changed_job_a_missing_shard_and_missing_weights_are_named(tmp_path: Path, job: Job) -> None:
    open_job(tmp_path / "out", job)
    with pytest.raises(StorageError, match="a shard is missing"):
        finish(tmp_path / "out", job, {})
    with pytest.raises(InputMissingError):
        shards.make_job(tmp_path / "none.safetensors", [], thresholds=THRESHOLDS)
    file = tmp_path / "out/job.json"
    file.write_text(file.read_text().replace("0.05", "0.06"))
    with pytest.raises(DataError, match="it was changed"):
        read_job(tmp_path / "out")
    file.write_text("{}")
    with pytest.raises(DataError, match="changed or cut off"):
        read_job(tmp_path / "out")

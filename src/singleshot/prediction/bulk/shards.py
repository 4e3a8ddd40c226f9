"""Bulk prediction: very many images, divided into shards that any number of processes work on, and resumable.

    OUT/job.json              the job: weights, thresholds, all images, images per shard
    OUT/shards/00017.jsonl    a finished shard: a line for each of its images
    OUT/shards/00017.hand     the marker of a shard at work: the current image, and the crashes of each image
    OUT/run                   the token of the current start of the program, by which markers are valid
    OUT/detections.json       the complete result, as `singleshot predict --json` writes it

A shard's file is written atomically, so an existing one is finished, and a second start processes the others only. An
image that crashed its worker twice is skipped and reported. The result does not depend on who calls `Worker.do`: one
process or a cluster (`processes`, `ray`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from singleshot.errors import (
    CannotCreateError,
    ConfigError,
    DataError,
    InputMissingError,
    SingleshotError,
    StorageError,
    UsageError,
    os_errors,
)
from singleshot.prediction.annotations import result_row
from singleshot.prediction.bulk.in_progress import InProgressMarker
from singleshot.prediction.choosing import Choice, stored_table
from singleshot.prediction.frames import ImageError
from singleshot.prediction.image_reader import ImageReader
from singleshot.prediction.load import find_weights, load
from singleshot.prediction.predict_files import predict_in_turn
from singleshot.storage import atomic
from singleshot.storage.download import Observer
from singleshot.storage.files import opened
from singleshot.storage.lock import locked_by
from singleshot.storage.sealed import seal_json, unseal_json

PER_SHARD = 64
SEAL = "sealed"
ELSEWHERE = "Choose another --out or pass --overwrite"


@dataclass(frozen=True)
class Job:
    """A job. Two jobs are the same if all of their fields are equal.

    Args:
        weights: the absolute path of the weights file.
        sha256: of its bytes.
        thresholds: lowest score by class name; the empty name stands for all others.
        classes: the classes to show, or None for all.
        pictures: absolute path, name in the result, size in bytes and modification time (ns) of each image, in order.
        per_shard: images per shard.
    """

    weights: str
    sha256: str
    thresholds: Mapping[str, float]
    classes: tuple[str, ...] | None
    pictures: tuple[tuple[str, str, int, int], ...]
    per_shard: int = PER_SHARD

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-len(self.pictures) // self.per_shard)

    def without_pictures(self) -> Job:
        """Return the job without its images: a worker gets those of each shard, and all of them would fill memory."""
        return replace(self, pictures=())

    def shard(self, number: int) -> tuple[tuple[str, str, int, int], ...]:
        """Return the images of a shard."""
        return self.pictures[number * self.per_shard : (number + 1) * self.per_shard]


Pictures = tuple[tuple[str, str, int, int], ...]
"""Rows of `Job.pictures`."""
Engine = Callable[[Path, Sequence[int]], Generator[int, None, None]]
"""Processes shards of the job in a folder by `Worker.do` in other processes; yields the number of each when done."""


def make_job(
    weights: str | Path,
    pictures: Sequence[Path],
    *,
    thresholds: Mapping[str, float] | None,
    classes: Sequence[str] | None = None,
    per_shard: int = PER_SHARD,
    observer: Observer | None = None,
) -> Job:
    """Return a job for these images. Raises what `find_weights` and `files.opened` raise for unreadable weights.

    Without thresholds, those stored with the model apply; it is opened to read them. The observer receives the
    progress of a download of the weights.
    """
    file = find_weights(weights, observer=observer)
    rows = tuple(_row(path) for path in pictures)
    names = None if classes is None else tuple(classes)
    digest = _digest(file)
    if thresholds is None:
        model = load(file)
        if model.task == "segmentation":
            raise UsageError("--engine is for detectors", remedy="Leave it out")
        thresholds = stored_table(model.label_map, model.display_thresholds)
    return Job(str(file.absolute()), digest, dict(thresholds), names, rows, per_shard)


def open_job(folder: Path, job: Job, *, overwrite: bool = False) -> list[int]:
    """Create the job's folder, or resume the same job in it. Returns the shards that are not done yet.

    Raises:
        CannotCreateError: the folder has another job or a finished one, without `overwrite`; or another run uses it.
    """
    by_whom = locked_by(folder)
    if by_whom is not None:
        raise CannotCreateError(f"in use by another run{by_whom}", remedy="Wait for it", file=folder)
    stated = seal_json(asdict(job), SEAL)
    file = folder / "job.json"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        same = file.is_file() and file.read_text(encoding="utf-8") == stated
        if not (same or overwrite):
            what = "holds the work on other weights, pictures or thresholds" if file.is_file() else "already exists"
            raise CannotCreateError(what, remedy=ELSEWHERE, file=folder)
        if same and not overwrite and (folder / "detections.json").is_file():
            raise CannotCreateError("this work is finished", remedy=ELSEWHERE, file=folder)
        if overwrite and folder.is_dir():
            for left in (folder / "detections.json", file, *(folder / "shards").glob("[0-9]*")):
                left.unlink(missing_ok=True)
    if not file.is_file():
        atomic.write_text(file, stated)
    return [number for number in range(job.shards) if not _done(folder, number).is_file()]


def read_job(folder: Path) -> Job:
    """Read the job of a folder. Raises DataError if its file was changed."""
    file = folder / "job.json"
    try:
        with os_errors(file, "read"):
            fields = unseal_json(file.read_bytes(), SEAL)
    except ValueError as error:
        raise DataError("it was changed or cut off", remedy=ELSEWHERE, file=file) from error
    try:
        classes = None if fields["classes"] is None else tuple(fields["classes"])
        return Job(**fields | {"classes": classes, "pictures": tuple(tuple(row) for row in fields["pictures"])})
    except (KeyError, TypeError) as error:
        raise DataError("not a job of this version", remedy=ELSEWHERE, file=file) from error


class Worker:
    """Processes shards of a folder's job one after the other, in a process of its own; engines call `do`.

    Args:
        folder: of the job, with the same path on every machine.
        job: of the folder, without its images, if the caller has read it; None reads it.

    Raises:
        UsageError: the weights are of a segmenter.
        ConfigError: the weights are not those of the job.
    """

    def __init__(self, folder: Path, job: Job | None = None) -> None:
        self._folder, self._job = folder, job or read_job(folder)
        if _digest(Path(self._job.weights)) != self._job.sha256:
            what = "not the weights of this work any more"
            raise ConfigError(what, remedy="Put them back, or begin with another --out", file=self._job.weights)
        self._reading = ImageReader()  # starts while the weights are loaded
        model = load(self._job.weights, fold=True)  # as `predict` does
        if model.task == "segmentation":
            raise UsageError("--engine is for detectors", remedy="Leave it out")
        self._model: Any = model
        threads = model.worker_counts()[1]
        if threads is not None:
            torch.set_num_threads(threads)  # like an ordinary `predict`, for equal bits
        self._choice: Choice = model.choice(self._job.thresholds, self._job.classes)

    def do(self, number: int, pictures: Pictures | None = None) -> int:
        """Process a shard, unless it is done, and return its number; `pictures` are its images, None for the job's."""
        final = _done(self._folder, number)
        if not final.is_file():
            with InProgressMarker(self._folder, number) as marker:
                rows = self._predict(self._job.shard(number) if pictures is None else pictures, marker)
                atomic.write_text(final, "".join(json.dumps(row) + "\n" for row in rows))
        return number

    def close(self) -> None:
        """End the process that reads images."""
        self._reading.close()

    def _predict(self, images: Sequence[tuple[str, str, int, int]], marker: InProgressMarker) -> list[dict[str, Any]]:
        """Return a row of the result for each image, in order."""
        errors: dict[int, SingleshotError] = {}
        for index, (path, name, *state) in enumerate(images):
            if marker.crashed_too_often(index):
                message = "it crashed the worker twice and was skipped"
                errors[index] = DataError(message, kind="poison", remedy="Replace it", file=name)
            elif list(_row(Path(path))[2:]) != state:
                message = "it changed since the work began"
                errors[index] = DataError(message, kind="changed", remedy="Start anew", file=name)
        left = [index for index in range(len(images)) if index not in errors]
        files = [Path(images[index][0]) for index in left]
        results = predict_in_turn(self._model, files, self._choice, self._reading, lambda row: marker.take(left[row]))
        rows: dict[int, dict[str, Any]] = {}
        for index, item in zip(left, results, strict=True):
            if isinstance(item, ImageError):
                errors[index] = item.error
            else:
                rows[index] = result_row(item) | {"file": images[index][1]}
        for index, error in errors.items():
            error.file = Path(images[index][1])
            rows[index] = {"file": images[index][1], "error": str(error), "exit_code": error.exit_code}
        return [rows[index] for index in range(len(images))]


def finish(folder: Path, job: Job, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Merge the shards into `detections.json`, after these facts, and return the rows of images that failed.

    Raises StorageError if a shard is missing.
    """
    rows: list[dict[str, Any]] = []
    for number in range(job.shards):
        try:
            rows += [json.loads(line) for line in _done(folder, number).read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            raise StorageError("a shard is missing", remedy="Start again", file=_done(folder, number)) from error
    failed = [row for row in rows if "error" in row]
    shown = [{key: value for key, value in row.items() if key != "exit_code"} for row in rows]
    text = json.dumps({**facts, "pictures": shown, "videos": []}, indent=2) + "\n"
    atomic.write_text(folder / "detections.json", text)
    return failed


def _row(path: Path) -> tuple[str, str, int, int]:
    try:
        facts = path.stat()
        return str(path.absolute()), str(path), facts.st_size, facts.st_mtime_ns
    except OSError:
        return str(path.absolute()), str(path), -1, -1  # the error is reported when it is read


def _digest(weights: Path) -> str:
    """Return the SHA-256 of a file. Raises what `files.opened` raises, and StorageError if the disk fails."""
    try:
        with os_errors(weights, "read"), opened(weights) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except InputMissingError as error:
        remedy = "Check the path; all machines must see it"
        raise InputMissingError("no such weights", remedy=remedy, file=weights) from error


def _done(folder: Path, number: int) -> Path:
    return folder / "shards" / f"{number:05d}.jsonl"

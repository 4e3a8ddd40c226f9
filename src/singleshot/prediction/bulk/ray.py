"""Bulk prediction on a Ray cluster: ray.data distributes the shards to actors on all machines.

Ray restarts an actor that crashed and gives it the same shard again, which is all that `bulk` needs of an engine.
Without a running cluster (`RAY_ADDRESS`) one is started on this machine. The job's folder, the weights and the images
must have the same paths on all machines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from singleshot import errors
from singleshot.errors import SingleshotError, StoppedError
from singleshot.prediction.bulk.processes import MAX_FUTILE_CRASHES
from singleshot.prediction.bulk.shards import Job, Worker, read_job
from singleshot.prediction.extras import needs_extra, quiet


def import_ray() -> Any:
    """Import Ray with its data library. Raises ConfigError if it is not installed."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    with needs_extra("ray"):
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    return ray


def run(
    folder: Path, shards: Sequence[int], worker: Callable[[Path, Job], Worker] = Worker
) -> Generator[int, None, None]:
    """Process shards of the job in a folder, see `bulk.Engine`; `worker` creates the worker in each actor.

    Raises ConfigError if ray is not installed.
    """
    ray = import_ray()
    began = not ray.is_initialized()
    if began:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, logging_level="ERROR")
    try:
        with quiet("ray", "ray.data"):
            ray.data.DataContext.get_current().enable_progress_bars = False
            actors = max(1, min(len(shards), int(ray.cluster_resources().get("CPU", 1))))
            # One shard at a time for each actor: with two, a crash could be attributed to the wrong one.
            pool = ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1)
            job = read_job(folder)
            items = [{"shard": number, "pictures": json.dumps(job.shard(number))} for number in shards]
            rows = ray.data.from_items(items, override_num_blocks=len(shards))
            given = (worker, str(folder.absolute()), job.without_pictures())
            for row in rows.map(_Actor, fn_constructor_args=given, compute=pool, num_cpus=1).iter_rows():
                if row["error"]:
                    remedy, file = (row[name] or None for name in ("remedy", "file"))
                    raise getattr(errors, row["error"])(row["what"], remedy=remedy, file=file)
                yield int(row["shard"])
    finally:
        if began:
            ray.shutdown()


class Starts:
    """Counts how often a worker crashed while it opened its model for a shard: Ray would retry for ever."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._folder, self._file = folder, folder / "shards" / f"{shard:05d}.starts"

    def count(self) -> None:
        """Count one more. Raises StoppedError after `processes.MAX_FUTILE_CRASHES`."""
        before = len(self._file.read_bytes()) if self._file.is_file() else 0
        if before >= MAX_FUTILE_CRASHES:
            self.clear()  # the next run starts from 0
            what = f"{before} workers died one after the other while they opened the model"
            raise StoppedError(what, remedy="See to the machine's memory, and start again", file=self._folder)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(b"." * (before + 1))

    def clear(self) -> None:
        """Reset the count, because the model is open."""
        self._file.unlink(missing_ok=True)


class _Actor:
    def __init__(self, make: Callable[[Path, Job], Worker], folder: str, job: Job) -> None:
        self._make, self._folder, self._job = make, Path(folder), job
        self._worker: Worker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        said = {"shard": int(row["shard"]), "error": "", "what": "", "remedy": "", "file": ""}
        try:
            # Not in __init__: Ray would wrap an error there in its own, and retry.
            if self._worker is None:
                starts = Starts(self._folder, said["shard"])
                starts.count()
                self._worker = self._make(self._folder, self._job)
                starts.clear()
            pictures = tuple((path, name, size, time_ns) for path, name, size, time_ns in json.loads(row["pictures"]))
            self._worker.do(said["shard"], pictures)
        except SingleshotError as error:
            file = "" if error.file is None else str(error.file)
            return said | {
                "error": type(error).__name__,
                "what": error.message,
                "remedy": error.remedy or "",
                "file": file,
            }
        return said

"""Bulk prediction in worker processes on this machine, each of which is restarted when an image crashes it.

The simplest engine: no cluster and nothing to install. Each process has one shard at a time, and as many threads as
each worker of an ordinary `predict`, so that all of the machine is used and the result is equal bit for bit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from singleshot.child_process import end_with_parent
from singleshot.errors import SingleshotError, StoppedError
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.bulk.in_progress import note
from singleshot.prediction.bulk.shards import Job, Pictures, Worker, read_job
from singleshot.prediction.load import RUNS
from singleshot.prediction.predictor import MOST_WORKERS

MAX_FUTILE_CRASHES = 3
"""Consecutive crashes without progress, such as during start-up, after which the run ends."""
Maker = Callable[[Path, Job], Worker]


@dataclass(frozen=True)
class _Work:
    """A process, the shard that it works on, and the shard's marker when it started."""

    process: Any
    shard: int
    before: str


def run(
    folder: Path, shards: Sequence[int], worker: Maker = Worker, *, workers: int | None = None
) -> Generator[int, None, None]:
    """Process shards of the job in a folder, see `bulk.Engine`.

    Args:
        folder: of the job.
        shards: their numbers.
        worker: creates the worker in each process; importable by name.
        workers: the number of processes; None for as many as fit on the machine.

    Raises StoppedError if workers crash repeatedly without progress.
    """
    job = read_job(folder)
    most = workers or worker_count(Path(job.weights))
    todo, at_work, vain = deque(shards), dict[Connection, _Work](), 0
    try:
        while todo or at_work:
            while todo and len(at_work) < most:
                pipe, process = _started(worker, folder, job.without_pictures())
                at_work[pipe] = _given(pipe, process, folder, job, todo.popleft())
            ready = wait(list(at_work))
            for pipe in [each for each in at_work if each in ready]:
                work = at_work[pipe]
                try:
                    said = pipe.recv()
                except (EOFError, ConnectionError):  # reset, if it crashed before it read the shard
                    work.process.join()
                    del at_work[pipe]
                    todo.appendleft(work.shard)
                    vain = vain + 1 if note(folder, work.shard) == work.before else 0
                    if vain >= MAX_FUTILE_CRASHES:
                        what = f"{vain} workers died one after the other, the last with code {work.process.exitcode}"
                        remedy = "See to the machine's memory, and start again"
                        raise StoppedError(what, remedy=remedy, file=folder) from None
                    continue
                if isinstance(said, tuple):
                    raise said[0](**said[1])
                vain = 0
                if todo:
                    at_work[pipe] = _given(pipe, work.process, folder, job, todo.popleft())
                else:
                    pipe.close()  # which ends it
                    del at_work[pipe]
                yield said
    finally:
        for work in at_work.values():
            work.process.kill()
            work.process.join()


def worker_count(weights: Path) -> int:
    """Return how many processes fit: each has one thread, like a worker of `Detector.worker_counts` on a CPU.

    One on a GPU, which processes one batch at a time, and for exported files, whose runtimes have their own threads.
    """
    alone = torch.cuda.is_available() or weights.suffix.lower() in RUNS
    return 1 if alone else min(default_threads(), MOST_WORKERS)


def _started(worker: Maker, folder: Path, job: Job) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(worker, folder, job, theirs))  # not a daemon: it has a child too
    process.start()
    theirs.close()
    return ours, process


def _given(pipe: Connection, process: Any, folder: Path, job: Job, shard: int) -> _Work:
    before = note(folder, shard)
    with contextlib.suppress(OSError):  # it has just crashed, which the caller notices
        pipe.send((shard, job.shard(shard)))
    return _Work(process, shard, before)


def _serve(make: Maker, folder: Path, job: Job, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends this process
    end_with_parent()
    try:
        worker = make(folder, job)
        try:
            while True:
                shard: tuple[int, Pictures] = pipe.recv()
                pipe.send(worker.do(*shard))
        finally:
            worker.close()
    except SingleshotError as error:
        fields: dict[str, Any] = {"message": error.message, "remedy": error.remedy, "file": error.file}
        pipe.send((type(error), fields))
    except (EOFError, OSError):  # the parent has closed the pipe
        return

"""Bulk work in one process beside this one, which is started again when a picture ends it.

The plainest engine: no cluster, nothing to install, and what a cluster's engine must do is seen at a glance.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from singleshot.errors import SingleshotError, StoppedError
from singleshot.prediction.bulk import TRIES, Job, Worker, read_job

IN_VAIN = 3
"""Deaths without a picture in hand, such as at the start, before it is given up."""


def run(folder: Path, shards: Sequence[int], worker: Callable[[Path], Worker] = Worker) -> Iterator[int]:
    """Do shards of the job in a folder, see `bulk.Engine`; `worker`, importable by name, does them in the process.

    Raises StoppedError where the process dies again and again, whatever picture it has.
    """
    context = multiprocessing.get_context("spawn")
    todo = list(shards)
    job = read_job(folder)
    deaths = 0
    while todo:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve, args=(worker, folder, todo, theirs)
        )  # not a daemon: it has a child too
        process.start()
        theirs.close()
        try:
            while todo:
                said = ours.recv()
                if isinstance(said, tuple):
                    raise said[0](**said[1])
                todo.remove(said)
                yield said
        except EOFError:
            process.join()
            deaths += 1
            if deaths > _most_deaths(job):
                what = f"the worker died {deaths} times, the last with code {process.exitcode}"
                raise StoppedError(what, remedy="See to the machine's memory, and start again", file=folder) from None
        finally:
            process.kill()
            process.join()
            ours.close()


def _most_deaths(job: Job) -> int:
    return TRIES * len(job.pictures) + IN_VAIN


def _serve(make: Callable[[Path], Worker], folder: Path, shards: Sequence[int], pipe: Connection) -> None:
    try:
        worker = make(folder)
        try:
            for number in shards:
                pipe.send(worker.do(number))
        finally:
            worker.close()
    except SingleshotError as error:
        fields: dict[str, Any] = {"what": error.what, "remedy": error.remedy, "file": error.file}
        pipe.send((type(error), fields))

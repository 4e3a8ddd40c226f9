"""Pictures decoded in processes that may die: a decoder that crashes takes one report with it and not the audit.

Each child gets a few pictures at a time and answers one by one, so that after a death the first picture without an
answer is the one at fault; a new child goes on with the next. A child that does not answer is killed. These are plain
pipes and not `workers.py`, because the children then need no PyTorch and are ready in half a second, and because a
death here is a finding and no reason to stop.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from singleshot.data.check import images
from singleshot.data.check.images import PictureReport
from singleshot.decoder_process import READY, DecoderProcess, GivenUpError
from singleshot.errors import Fault

PICTURES_AT_A_TIME = 16


def reports(
    paths: Sequence[Path],
    *,
    processes: int,
    timeout_s: float = 60.0,
    work: Callable[[Path], PictureReport] = images.report,
) -> Iterator[PictureReport]:
    """A report on every picture, as they are done. The processes start with the call, not with the first result.

    Args:
        paths: the pictures.
        processes: how many children; 0 does the work here, where a crash is a crash.
        timeout_s: how long one picture may take.
        work: what to do with a picture; it must be importable by name.

    Raises:
        StoppedError: no child can be started.
    """
    if not processes or not paths:
        return map(work, paths)
    jobs = deque(list(paths[start : start + PICTURES_AT_A_TIME]) for start in range(0, len(paths), PICTURES_AT_A_TIME))
    children = [_Child(work, timeout_s) for _ in range(min(processes, len(jobs)))]
    return _collected(children, jobs, timeout_s)


def _collected(children: list[_Child], jobs: deque[list[Path]], timeout_s: float) -> Iterator[PictureReport]:
    try:
        while jobs or any(child.job for child in children):
            for child in children:
                if not child.job and jobs:
                    child.give(jobs.popleft())
            busy = {child.decoder.pipe: child for child in children if child.job}
            for pipe in connection.wait(list(busy), 1.0):
                child = busy[pipe]  # pyright: ignore[reportArgumentType]
                if child.decoder.ready:
                    yield child.answer()
                else:
                    child.begin()
            for child in children:
                if child.job and child.decoder.overdue():
                    child.begin()  # it has just become ready, or ends the audit
                if child.job and child.decoder.ready and time.monotonic() - child.since > timeout_s:
                    yield child.answer()
    finally:
        for child in children:
            child.decoder.end()


class _Child:
    """A process and the pictures that it has still to answer."""

    def __init__(self, work: Callable[[Path], PictureReport], timeout_s: float) -> None:
        self.decoder = DecoderProcess(_serve, work, timeout_s=timeout_s)
        self.job: list[Path] = []
        self.since = time.monotonic()

    def give(self, job: list[Path]) -> None:
        self.job, self.since = job, time.monotonic()
        self.decoder.ask(job)

    def begin(self) -> None:
        """Take note that the process is ready; its first picture's time begins."""
        self.decoder.await_start()
        self.since = time.monotonic()

    def answer(self) -> PictureReport:
        """What has come through the pipe. Where nothing has, the picture in hand is at fault."""
        path, *rest = self.job
        try:
            report = self.decoder.receive(0.0)
        except GivenUpError as given_up:
            self.give(rest)
            what = f"{given_up.message}. Replace or delete it."
            return PictureReport(path, None, faults=(Fault(path, None, given_up.kind, "fatal", what),))
        self.job, self.since = rest, time.monotonic()
        return report


def _serve(pipe: Any, work: Callable[[Path], PictureReport]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends us
    pipe.send(READY)
    try:
        while True:
            for path in pipe.recv():
                pipe.send(work(path))
    except (EOFError, OSError):  # the parent is gone or wants no more
        return

"""Pictures decoded in processes that may die: a decoder that crashes takes one report with it and not the audit.

A decoder is C code that is fed with strangers' bytes. Each child gets a few pictures at a time and answers one by one,
so that after a death the first picture without an answer is the one at fault; a new child goes on with the next. A
child that does not answer is killed. These are plain pipes and not `workers.py`, because the children then need
no PyTorch and are ready in half a second, and because a death here is a finding and no reason to stop.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from singleshot.data.auditing import audit_pictures
from singleshot.data.auditing.audit_pictures import PictureReport
from singleshot.errors import Fault, StoppedError

PICTURES_AT_A_TIME = 16
READY = "ready"


def reports(
    paths: Sequence[Path],
    *,
    processes: int,
    timeout_s: float = 60.0,
    work: Callable[[Path], PictureReport] = audit_pictures.report,
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
    children = [_Child(work) for _ in range(min(processes, len(jobs)))]
    return _collected(children, jobs, timeout_s)


def _collected(children: list[_Child], jobs: deque[list[Path]], timeout_s: float) -> Iterator[PictureReport]:
    try:
        while jobs or any(child.job for child in children):
            for child in children:
                if child.ready and not child.job and jobs:
                    child.give(jobs.popleft())
            waiting = {child.pipe: child for child in children if child.job or not child.ready}
            for pipe in connection.wait(list(waiting), 1.0):
                answer = waiting[pipe].answer()  # pyright: ignore[reportArgumentType]
                if answer is not None:
                    yield answer
            for child in children:
                if child.job and time.monotonic() - child.since > timeout_s:
                    yield child.give_up(f"could not be decoded within {timeout_s:g} s", "stuck-picture")
    finally:
        for child in children:
            child.end()


class _Child:
    """A process and the pictures that it has still to answer."""

    def __init__(self, work: Callable[[Path], PictureReport]) -> None:
        self.work = work
        self.job: list[Path] = []
        self.start()

    def start(self) -> None:
        # Spawned, not forked: a process with PyTorch's threads in it must not be forked.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.work), daemon=True)
        self.process.start()
        other.close()
        self.ready = False

    def give(self, job: list[Path]) -> None:
        self.job, self.since = job, time.monotonic()
        self.pipe.send(job)

    def answer(self) -> PictureReport | None:
        """What came through the pipe; a child that died is replaced and its picture reported."""
        try:
            said: Any = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(1.0)
            code = self.process.exitcode or 0
            if not self.ready:
                what = f"a process that decodes pictures could not start (code {code})"
                remedy = 'Keep your script\'s calls under `if __name__ == "__main__":`'
                raise StoppedError(what, remedy=remedy) from None
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"code {code}"
            return self.give_up(f"crashed the decoder ({name})", "decoder-crash")
        if not self.ready:
            self.ready = True
            return None
        self.job.pop(0)
        self.since = time.monotonic()
        return said

    def give_up(self, what: str, kind: str) -> PictureReport:
        """Report the picture in hand, and go on with the next one in a new process."""
        path, *rest = self.job
        self.end()
        self.start()
        if self.pipe.recv() == READY:
            self.ready = True
        self.job = []
        if rest:
            self.give(rest)
        return PictureReport(path, None, faults=(Fault(path, None, kind, "fatal", f"{what}. Replace or delete it."),))

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _serve(pipe: Any, work: Callable[[Path], PictureReport]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends us
    pipe.send(READY)
    try:
        while True:
            for path in pipe.recv():
                pipe.send(work(path))
    except (EOFError, OSError):  # the parent is gone or wants no more
        return

"""Process tasks in worker processes, in order, without ever hanging.

PyTorch's DataLoader transports tasks and results; this module adds what it lacks. A dead worker is noticed within
seconds (under `forkserver` DataLoader would wait for its whole timeout, or for ever without one), a stuck worker after
`timeout_s`, and both raise a StoppedError that names the file at work. Workers stay alive from one run to the next,
use one core each, see no GPU, and do not touch PyTorch's global random state.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import cv2
import torch
from torch import Tensor
from torch.utils import data as torch_data

from singleshot.child_process import GUARD, end_with_parent, leave_signals_to_parent
from singleshot.data.load.memory import remove_leftovers
from singleshot.errors import ConfigError, SingleshotError, StoppedError

Task = TypeVar("Task")
Result = TypeVar("Result")
Begin = Callable[[int], None]
StartMethod = Literal["forkserver", "spawn", "fork"]

POLL_S = 1.0
"""How long a dead worker may go unnoticed."""

_PID, _ITEM, _SINCE = range(3)


class Workers(Generic[Task, Result]):
    """Processes that turn tasks into results; with `workers=0` the caller's own process does it.

    Args:
        work: processes a task. It is sent to the workers once, so it must be picklable (except under `fork`). It
            calls its second argument with the index of each item that it begins, for the message if that one kills it.
        workers: the number of processes.
        file_of: returns the file of an item's index.
        start_method: `forkserver` (the default where there is one), `spawn` or `fork`. With the last two, PyTorch may
            report a death at any line of the main thread, as a RuntimeError; and `fork` is unsafe once the process
            has threads or has used CUDA.
        timeout_s: time limit of one result.
        prefetch: results that each worker may compute ahead.
        pin_memory: copy results into page-locked memory by their own `pin_memory()`; ignored without CUDA.

    Raises:
        ConfigError: a number below its minimum, or a start method that this system does not have.
    """

    def __init__(
        self,
        work: Callable[[Task, Begin], Result],
        *,
        workers: int,
        file_of: Callable[[int], Path],
        start_method: StartMethod | None = None,
        timeout_s: float = 120.0,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        known = multiprocessing.get_all_start_methods()
        if workers < 0 or prefetch < 1 or not timeout_s > 0:
            what = f"workers {workers}, prefetch {prefetch}, timeout_s {timeout_s}"
            raise ConfigError(what, remedy="Give 0 or more workers, a prefetch of 1 or more, a timeout above 0")
        if start_method is not None and start_method not in known:
            raise ConfigError(f"start method {start_method!r} is unknown here", remedy=f"Use {' or '.join(known)}")
        self._work, self._file_of, self._workers = work, file_of, workers
        self._method = start_method or ("forkserver" if "forkserver" in known else "spawn")
        self._timeout_s, self._prefetch = timeout_s, prefetch
        self._pin_memory = pin_memory and torch.cuda.is_available()
        self._schedule: _Schedule[Task] = _Schedule()
        self._loader: torch_data.DataLoader[Result] | None = None
        self._iterator: Any = None
        self._processes: list[BaseProcess] = []
        self._board = torch.empty((0, 3), dtype=torch.float64)
        self._results: Generator[Result, None, None] | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results in the order of the tasks. One run at a time; leaving one early ends the processes.

        Raises:
            StoppedError: a worker died, or returned nothing for `timeout_s`. The processes have ended then, and the
                next run starts new ones.
            RuntimeError: a later run has begun.
        """
        if self._results is not None:
            self._results.close()
        results = self._results = self._in_processes(tasks) if self._workers else self._in_this_process(tasks)
        try:
            for result in results:
                yield result
                if results is not self._results:
                    raise RuntimeError("another run of the same workers has begun; this one cannot go on")
        finally:
            results.close()

    def close(self) -> None:
        """End the processes. A later run starts new ones."""
        if self._iterator is not None:
            # DataLoader does this when it is garbage-collected, which an exception in flight delays. It must precede
            # any kill of ours: until then DataLoader turns a worker's death into an exception.
            self._iterator._shutdown_workers()
        self._loader = self._iterator = None
        for process in self._processes:
            if process.is_alive():
                process.kill()  # a stopped process (SIGSTOP) receives no other signal
            process.join(POLL_S)  # not for ever: a process that waits for a dead disk cannot even be killed
        remove_leftovers(process.pid for process in self._processes if not process.is_alive())
        self._processes = []

    def _in_this_process(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        for task in tasks:
            result: Any = self._work(task, lambda _item: None)
            yield result.pin_memory() if self._pin_memory else result

    def _in_processes(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        self._schedule.tasks = tasks
        finished = False
        try:
            self._start()
            for _ in tasks:
                yield self._next()
            finished = True
        finally:
            if not finished:
                self.close()

    def _start(self) -> None:
        if self._loader is not None:
            try:
                self._iterator = iter(self._loader)
                return
            except RuntimeError:  # a worker died while idle, or does not respond: start new ones
                self.close()
        self._board = torch.full((self._workers, 3), -1.0, dtype=torch.float64).share_memory_()
        context = multiprocessing.get_context(self._method)
        if self._method == "forkserver":
            context.set_forkserver_preload(["singleshot.data.load.loader"])  # the imports take seconds
        before = set(multiprocessing.active_children())
        with warnings.catch_warnings():
            # More workers than cores is the user's choice: workers may wait for a disk or a network.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            self._loader = torch_data.DataLoader(
                _Calls(self._work, self._board),
                batch_size=None,
                sampler=self._schedule,
                num_workers=self._workers,
                collate_fn=_unchanged,
                pin_memory=self._pin_memory,
                timeout=POLL_S,
                worker_init_fn=_prepare,
                multiprocessing_context=context,
                generator=torch.Generator(),  # otherwise each run draws a seed from the global generator
                prefetch_factor=self._prefetch,
                persistent_workers=True,
            )
            self._iterator = iter(self._loader)
        self._processes = list(set(multiprocessing.active_children()) - before)

    def _next(self) -> Result:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return next(self._iterator)
            except Exception as error:
                # The processes themselves tell a dead worker from a slow one. One that died while it sent a result
                # shows as a broken connection first, and as dead a moment later.
                silent = isinstance(error, RuntimeError) and str(error).startswith("DataLoader timed out")
                connection.wait([process.sentinel for process in self._processes], 0.0 if silent else POLL_S)
                dead = [process for process in self._processes if not process.is_alive()]
                if dead:
                    raise self._died(dead[0]) from error
                if not silent:
                    raise
                if time.monotonic() > deadline:
                    longest = min(self._busy(), key=lambda row: row[_SINCE], default=None)
                    file = None if longest is None else self._file_of(int(longest[_ITEM]))
                    self._kill_busy()
                    message = f"the data workers returned nothing for {self._timeout_s:g} s"
                    remedy = "Check that the disk answers, and resume"
                    raise StoppedError(message, remedy=remedy, file=file) from error

    def _died(self, process: BaseProcess) -> SingleshotError:
        code = process.exitcode or 0
        if code > 0 and process.pid not in {int(row[_PID]) for row in self._board.tolist()}:
            return StoppedError(f"a process that loads data could not start (code {code})", remedy=GUARD)
        reason = _DEATHS.get(-code) or (f"died of signal {-code}" if code < 0 else f"ended with code {code}")
        file = next((self._file_of(int(row[_ITEM])) for row in self._busy() if row[_PID] == process.pid), None)
        remedy = "Use fewer --workers or a smaller batch, and resume"
        if -code == signal.SIGSEGV and file is not None:
            remedy = "Take this picture out, and resume"
        return StoppedError(f"a data worker {reason}", remedy=remedy, file=file)

    def _kill_busy(self) -> None:
        # DataLoader's own shutdown waits ten seconds for each worker that does not respond.
        busy = {row[_PID] for row in self._busy()}
        for process in self._processes:
            if process.pid in busy:
                try:
                    process.kill()
                    process.join(POLL_S)
                except RuntimeError:  # DataLoader raises once for a death that it sees (not under forkserver)
                    continue

    def _busy(self) -> list[list[float]]:
        return [row for row in self._board.tolist() if row[_ITEM] >= 0]


class _Calls(torch_data.Dataset[Result], Generic[Task, Result]):
    """The work as DataLoader's dataset: a task takes the place of an index."""

    def __init__(self, work: Callable[[Task, Begin], Result], board: Tensor) -> None:
        self._work, self._board = work, board

    def __getitem__(self, task: Task) -> Result:
        info = torch_data.get_worker_info()
        row = self._board.numpy()[0 if info is None else info.id]
        row[_PID] = os.getpid()

        def begin(item: int) -> None:
            row[_SINCE] = time.monotonic()
            row[_ITEM] = item

        result = self._work(task, begin)
        row[_ITEM] = -1
        return result


class _Schedule(torch_data.Sampler[Task]):
    """The tasks of the next run; replaced between runs, so that the workers stay alive."""

    def __init__(self) -> None:
        self.tasks: Sequence[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


_DEATHS = {
    int(signal.SIGSEGV): "crashed (SIGSEGV)",
    9: "was killed (likely out of memory)",  # SIGKILL, which Windows does not know by name
    7: "died of a bus error (likely out of shared memory)",  # SIGBUS, likewise
}


def _prepare(_worker_id: int) -> None:
    leave_signals_to_parent()  # it may finish its step first, for which it needs this worker
    end_with_parent(lambda: remove_leftovers([os.getpid()]))  # DataLoader watches the forkserver instead
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a worker that initialised CUDA would take 500 MB of the GPU
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _unchanged(result: Result) -> Result:
    return result

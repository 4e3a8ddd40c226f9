"""Signals that end a run: the first lets the step finish and be saved, the second ends at once.

SIGTERM is what clusters send before they take a machine away, SIGHUP what a dropped connection sends, SIGINT is Ctrl-C.
A handler may run between any two instructions, so it only records the signal. The loop checks for it after each step;
where nothing can be left half done (waiting for data, validation) the handler interrupts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


class Interrupted(BaseException):
    """Raised by the handler where the loop is interruptible. Not an Exception: no library may swallow it."""


class StopSignals:
    """Records stop signals while it is entered; in the main thread only, because Python allows handlers only there.

    A hang-up or a Ctrl-C that the process ignores, as under `nohup`, is still ignored.

    Args:
        launched: whether this is one of several ranks. An error there often means that another rank died, upon which
            the launcher sends SIGTERM to all: it is ignored from then on, so that `Heartbeat` can name that rank.
    """

    def __init__(self, *, launched: bool = False) -> None:
        self.received: int | None = None
        self._launched = launched
        self._interruptible = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in STOPPING}
            # What is ignored stays so: a hang-up by `nohup`, Ctrl-C in a script's background job. Not SIGTERM, which
            # tells of a machine's end: a job's script may ignore it for itself, and we would inherit that.
            deaf = {number for number in STOPPING if before[number] is signal.SIG_IGN} - {signal.SIGTERM}
            self._before = {number: each for number, each in before.items() if number not in deaf}
            for number in self._before:
                signal.signal(number, self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            unheard = number == signal.SIGTERM and self._launched and isinstance(error, Exception)
            back = signal.SIG_DFL if handler is None else handler  # None: it was not Python's, which cannot put it back
            signal.signal(number, signal.SIG_IGN if unheard else back)

    def _first(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        for each in self._before:  # a second signal ends at once
            signal.signal(each, signal.SIG_DFL)
        if self._interruptible:
            raise Interrupted

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While inside, a signal raises `Interrupted` at once; so does one that was received before."""
        self._interruptible = True  # first, so that no signal falls between the question and the wait
        try:
            if self.received is not None:
                raise Interrupted
            yield
        finally:
            self._interruptible = False

"""Rules of a child process: leave signals to the parent, end when the parent has ended, and never run the script."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

from singleshot.errors import StoppedError

GUARD = 'Put your script\'s calls under `if __name__ == "__main__":`'
"""The remedy where a child process, which imports the script that started it, would run that script again."""


def leave_signals_to_parent() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP: Ctrl-C and launchers signal a whole group, and the parent decides."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def end_with_parent(last: Callable[[], None] = lambda: None) -> None:
    """From now on, end this process at once when its parent ends, for whatever reason.

    Args:
        last: called before the end, in a thread that is not the main one.

    A process that was not started by `multiprocessing` has no such parent and is not ended.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            last()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def refuse_unguarded(work: str) -> None:
    """Raise StoppedError in a child process that is still importing its parent's script, which calls us without guard.

    Args:
        work: what the script called, for the message.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise StoppedError(f"a child process imported this script, which calls {work} again", remedy=GUARD)

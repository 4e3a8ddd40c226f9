"""What a process owes the one that started it: to leave signals to it, and to end when it is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable


def leave_signals_to_parent() -> None:
    """Ignore what ends programs: Ctrl-C and launchers signal a whole group, and the parent may want to finish first."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def end_with_parent(last: Callable[[], None] = lambda: None) -> None:
    """From now on, end this process at once when its parent is gone, whatever killed that.

    Args:
        last: is called before the end, in a thread that is not the main one.

    A process that nobody started by `multiprocessing` has no such parent, and lives on.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            last()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

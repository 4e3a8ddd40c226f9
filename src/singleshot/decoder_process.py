"""A process that decodes strangers' pictures, and may die of one: the death is an answer, and a new process goes on.

A decoder is C code that is fed with whatever people have. Here are the pipe to such a child, its start, its silence
and its end; what it does with a picture, and who is asked next after a death, is its users' affair.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from typing import Any

from singleshot.errors import StoppedError

START_S = 60.0
READY = "ready"
"""What the child says before anything else."""


class GivenUpError(Exception):
    """The process died, or said nothing for too long, over the picture that it had in hand.

    Args:
        message: what happened, to be read after the image's name.
        kind: `decoder-crash` or `stuck-picture`.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.message, self.kind = message, kind


class DecoderProcess:
    """A child and the pipe to it. It starts at once.

    Args:
        serve: what the child does, `serve(pipe, work)`: it says READY, and then answers what it is asked, in order;
            it must be importable by name.
        work: handed to `serve`; it must be importable by name too.
        timeout_s: how long one answer may take.

    A script that uses this needs `if __name__ == "__main__":` around its calls, as all that starts processes does.
    """

    def __init__(self, serve: Callable[[Any, Any], None], work: Any, *, timeout_s: float = 60.0) -> None:
        self._serve, self._work, self._timeout_s = serve, work, timeout_s
        self._ended = False
        self._start()

    def ask(self, what: Any) -> None:
        """Send what is asked. Nothing is waited for, not even that the child has started."""
        with contextlib.suppress(OSError):  # it has just died; the answer that does not come will tell
            self.pipe.send(what)

    def await_start(self) -> None:
        """Wait until the child is ready. Raises StoppedError where it is not, `START_S` after it was started."""
        if self.ready:
            return
        try:
            left_s = max(self._started + START_S - time.monotonic(), 0.0)
            started = self.pipe.poll(left_s) and self.pipe.recv() == READY
        except (EOFError, OSError):
            what = f"a process that decodes pictures could not start ({self._cause_of_death()})"
            raise StoppedError(what, remedy='Keep your script\'s calls under `if __name__ == "__main__":`') from None
        if not started:
            raise StoppedError(f"a process that decodes pictures could not start in {START_S:g} s")
        self.ready = True

    def receive(self, wait_s: float | None = None, *, into: memoryview | None = None) -> Any:
        """The next answer.

        Args:
            wait_s: how long it is waited for; None: `timeout_s`.
            into: bytes are expected, and put here.

        Raises:
            GivenUpError: there is none, and there will be none. A new process has taken the old one's place by then,
                and was asked nothing yet.
            StoppedError: no child can be started, or `end` was called meanwhile.
        """
        self.await_start()
        try:
            if self.pipe.poll(self._timeout_s if wait_s is None else wait_s):
                return self.pipe.recv() if into is None else self.pipe.recv_bytes_into(into)
            given_up = GivenUpError(f"could not be decoded within {self._timeout_s:g} s", "stuck-picture")
        except (EOFError, OSError):
            given_up = GivenUpError(f"crashed the decoder ({self._cause_of_death()})", "decoder-crash")
        if self._ended:
            raise StoppedError("the process that decodes pictures was ended") from None
        self.restart()
        raise given_up

    def restart(self) -> None:
        """End the child and start another, which was asked nothing."""
        self._stop()
        self._start()

    def end(self) -> None:
        """End the child, whatever it does, and for good."""
        self._ended = True
        self._stop()

    def overdue(self) -> bool:
        """Whether it should have been ready by now."""
        return not self.ready and time.monotonic() - self._started > START_S

    def _stop(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        # Spawned, not forked: a process with PyTorch's threads in it must not be forked.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=self._serve, args=(other, self._work), daemon=True)
        self._process.start()
        self._started = time.monotonic()
        other.close()
        self.ready = False

    def _cause_of_death(self) -> str:
        self._process.join(1.0)
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if -code in signal.valid_signals() else f"code {code}"

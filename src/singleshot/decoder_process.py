"""A process that decodes images of unknown origin: where one crashes it, that is an answer and a new process starts.

Decoders are C code and receive arbitrary files. This module has the pipe to such a child, its start, time-out and end.
What the child does with an image, and what happens to the requests after a crash, is up to the callers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from typing import Any

from singleshot.child_process import GUARD
from singleshot.errors import StoppedError

START_S = 60.0
READY = "ready"
"""The first message of the child."""


class GivenUpError(Exception):
    """The process crashed on an image, or did not answer in time.

    Args:
        message: continues a sentence that starts with the image's name.
        kind: `decoder-crash` or `stuck-picture`.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.message, self.kind = message, kind


class DecoderProcess:
    """A child process and the pipe to it. It starts at once.

    Args:
        serve: the child's function, `serve(pipe, work)`: it sends READY, then answers requests in order. It must be
            importable by name.
        work: the second argument of `serve`; it must be picklable.
        timeout_s: time limit of one answer.

    As with everything that starts processes, a script needs `if __name__ == "__main__":` around its calls.
    """

    def __init__(self, serve: Callable[[Any, Any], None], work: Any, *, timeout_s: float = 60.0) -> None:
        self._serve, self._work, self._timeout_s = serve, work, timeout_s
        self._ended = False
        self._start()

    def ask(self, request: Any) -> None:
        """Send a request, without waiting for anything, not even for the child's start."""
        with contextlib.suppress(OSError):  # it has just crashed: `receive` will report that
            self.pipe.send(request)

    def await_start(self) -> None:
        """Wait until the child is ready. Raises StoppedError if it is not ready `START_S` after its start."""
        if self.ready:
            return
        try:
            left_s = max(self._started + START_S - time.monotonic(), 0.0)
            started = self.pipe.poll(left_s) and self.pipe.recv() == READY
        except (EOFError, OSError):
            message = f"a process that decodes images could not start ({self._cause_of_death()})"
            raise StoppedError(message, remedy=GUARD) from None
        if not started:
            raise StoppedError(f"a process that decodes images could not start in {START_S:g} s")
        self.ready = True

    def receive(self, wait_s: float | None = None, *, into: memoryview | None = None) -> Any:
        """Return the next answer.

        Args:
            wait_s: time limit; None: `timeout_s`.
            into: receives the bytes of the answer.

        Raises:
            GivenUpError: the child crashed or did not answer in time. A new one has been started and has no requests.
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
            raise StoppedError("the process that decodes images was ended") from None
        self.restart()
        raise given_up

    def restart(self) -> None:
        """End the child and start another, without requests."""
        self._stop()
        self._start()

    def end(self) -> None:
        """End the child at once and start no other."""
        self._ended = True
        self._stop()

    def overdue(self) -> bool:
        """Return whether the time limit for its start has passed."""
        return not self.ready and time.monotonic() - self._started > START_S

    def _stop(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        # Spawned, not forked: a process that runs PyTorch's threads must not be forked.
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
